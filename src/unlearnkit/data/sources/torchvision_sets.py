"""Loads `torchvision:NAME:ROOT`: data sets of torchvision on disk that know their labels without decoding images.

Those that torchvision holds in memory as pixels (CIFAR, MNIST, SVHN, STL10) are there from the start, forgotten rows
included; for them `decoded` counts what was handed out.
"""

from __future__ import annotations

import pickle  # nosec B403  # the name of its error alone
from typing import Any, NamedTuple

from PIL import Image

from unlearnkit.data.images import ImageData, ImageSet
from unlearnkit.data.sources.decode import ImageOptions, first_line, picture_set
from unlearnkit.data.sources.formats import without_programs
from unlearnkit.data.sources.labels import checked_labels, known_labels
from unlearnkit.errors import DataError


class Kind(NamedTuple):
    """How a data set of torchvision is constructed.

    Args:
        train, test: arguments that select the side.
        mirror: whether a mirrored image is still of its class; digits and signs are not.
        people: whether it is of people in part: a class of theirs, or people who hold what the class is about.
    """

    train: dict[str, Any]
    test: dict[str, Any]
    mirror: bool = True
    people: bool = False


_BY_TRAIN = ({"train": True}, {"train": False})
_BY_SPLIT = ({"split": "train"}, {"split": "test"})
_TRAINVAL = ({"split": "trainval"}, {"split": "test"})
KINDS: dict[str, Kind] = {
    "CIFAR10": Kind(*_BY_TRAIN),
    "CIFAR100": Kind(*_BY_TRAIN, people=True),  # baby, boy, girl, man, woman
    "MNIST": Kind(*_BY_TRAIN, mirror=False),
    "FashionMNIST": Kind(*_BY_TRAIN),
    "KMNIST": Kind(*_BY_TRAIN, mirror=False),
    "EMNIST": Kind({"split": "balanced", "train": True}, {"split": "balanced", "train": False}, mirror=False),
    "USPS": Kind(*_BY_TRAIN, mirror=False),
    "SVHN": Kind(*_BY_SPLIT, mirror=False),
    "STL10": Kind(*_BY_SPLIT),
    "GTSRB": Kind(*_BY_SPLIT, mirror=False),
    "Flowers102": Kind(*_BY_SPLIT),
    "DTD": Kind(*_BY_SPLIT, people=True),  # freckled, wrinkled
    "Food101": Kind(*_BY_SPLIT),
    "StanfordCars": Kind(*_BY_SPLIT),
    "OxfordIIITPet": Kind(*_TRAINVAL),
    "FGVCAircraft": Kind(*_TRAINVAL),
    "Imagenette": Kind({"split": "train"}, {"split": "val"}, people=True),  # anglers with their tench
}


def load_torchvision(rest: str, options: ImageOptions) -> ImageData:
    """Return the data set NAME whose files are under ROOT; `rest` is NAME:ROOT.

    Raises:
        DataError: NAME is none of `KINDS`, or its files are not there.
    """
    name, _, root = rest.partition(":")
    if name not in KINDS:
        raise DataError(
            f"Expected torchvision:NAME:ROOT with NAME one of {', '.join(KINDS)}, but got {name!r}; use hf:."
        )
    if not root:
        raise DataError(f"Expected torchvision:{name}:ROOT, but ROOT is missing; name the folder that holds its files.")
    kind = KINDS[name]
    train, test = (_open(name, root, arguments) for arguments in (kind.train, kind.test))
    labels = [checked_labels(known_labels(side), len(side), f"torchvision:{name}") for side in (train, test)]
    known = tuple(str(each) for each in getattr(train, "classes", ()) or ())
    names = known or tuple(str(k) for k in range(1 + max(int(ids.max()) for ids in labels)))

    def image_set(side: int, dataset: Any, title: str) -> ImageSet:
        return picture_set(labels[side], TorchvisionImages(dataset, f"the {title} data of {name}"), options)

    return ImageData(
        source=f"torchvision:{rest}",
        classes=names,
        train=image_set(0, train, "train"),
        test=image_set(1, test, "test"),
        augment="crop_flip" if kind.mirror else "none",
        personal=kind.people,
        preprocessing=options.preprocessing.for_pictures(),
        named=bool(known),
    )


class TorchvisionImages:
    """Pictures of a torchvision data set without transforms."""

    def __init__(self, dataset: Any, title: str) -> None:
        self._dataset, self._title = dataset, title

    def open(self, row: int) -> Image.Image:
        """Return the picture of a row."""
        with without_programs():  # torchvision opens its files itself, as any format that Pillow knows
            picture = self._dataset[row][0]
        assert isinstance(picture, Image.Image), "without transforms the items are pictures"
        return picture

    def name(self, row: int) -> str:
        """Return the number of a row."""
        return f"row {row} in {self._title}"


def _open(name: str, root: str, arguments: dict[str, Any]) -> Any:
    import torchvision

    call = f"torchvision.datasets.{name}({root!r}, {', '.join(f'{k}={v!r}' for k, v in arguments.items())}"
    try:
        return getattr(torchvision.datasets, name)(root, download=False, **arguments)
    except ModuleNotFoundError as error:
        raise DataError(
            f"Expected the package {error.name} for torchvision:{name}, but it is not installed; pip install it."
        ) from error
    except (RuntimeError, OSError, ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(
            f"Expected the files of {name} under {root}, but they cannot be read ({first_line(error)}); download them "
            f'with: python -c "import torchvision; {call}, download=True)".'
        ) from error
