"""Makes ImageData from Python objects: a torch Dataset with its own transform, or batches from any loader.

Shapes: n images, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset

from unlearnkit.data.images import ImageData, ImageSet
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.data.sources.decode import as_uint8, first_line
from unlearnkit.data.sources.hold_out import held_out
from unlearnkit.data.sources.labels import checked_labels, known_labels
from unlearnkit.data.stream import Shape
from unlearnkit.errors import DataError


def from_datasets(
    train: Any,
    test: Any = None,
    *,
    classes: Sequence[str] | None = None,
    train_labels: Any = None,
    test_labels: Any = None,
    mean: tuple[float, ...] = (0.0,),
    std: tuple[float, ...] = (1.0,),
    cache: bool = False,
    workers: int = 0,
    augment: str = "none",
    name: str = "datasets",
) -> ImageData:
    """Return the data of map-style torch datasets; an item (image, label) is read only when it is needed.

    An image is a float tensor (C, H, W) as the model takes it, or a uint8 tensor (C, H, W), a uint8 array (H, W, C) or
    a PIL image, which are divided by 255. Labels must be known without reading an item: given as an argument, or
    listed by the dataset (`known_labels`). Of a DataLoader its `.dataset` is taken; its order and batches are not.

    Args:
        train, test: datasets, `Subset`s of them or DataLoaders; without `test`, a fifth of every class is held out.
        classes: class names; default: `train.classes`, else the ids.
        train_labels, test_labels: (n,) integers, where the dataset does not list them.
        mean, std: applied to the pixels besides; by default they change nothing.
        cache: keep what was read in memory, so that a random transform is drawn once for each image. Otherwise items
            are asked for anew at each read, and a random transform (of `random`, numpy or torch) is seeded for each.
        workers: processes that read ahead where `cache` is off. The dataset must pickle where these are spawned.
        augment: `none` or `crop_flip`, on top of the transform.
        name: what the data is called in reports.

    Raises:
        DataError: labels are not known, not integers or out of range, or a dataset has no length.
    """
    train = _map_style(train, "train")
    ids = _labels(train, train_labels, "train")
    names = _class_names(train, classes)
    if test is None:
        if test_labels is not None:
            raise DataError("Expected a test dataset beside test_labels, but got none; give both or neither.")
        mark = held_out(ids, names or tuple(str(k) for k in range(1 + int(ids.max()))))
        if not mark.any():
            raise DataError("Expected a class with two images or more, but every class has one; give test data too.")
        test, test_ids = Subset(train, torch.nonzero(mark).flatten().tolist()), ids[mark]
        train, ids = Subset(train, torch.nonzero(~mark).flatten().tolist()), ids[~mark]
    else:
        test = _map_style(test, "test")
        test_ids = _labels(test, test_labels, "test")

    def image_set(dataset: Any, labels: Tensor, title: str) -> ImageSet:
        items = DatasetItems(dataset, labels, f"the {title} dataset")
        return ImageSet(
            labels,
            items.shape_of,
            items.decode,
            dtype=None,
            storage="memory" if cache else "stream",
            workers=workers,
            random=not cache,
        )

    return ImageData(
        source=name,
        classes=names or tuple(str(k) for k in range(1 + max(int(ids.max()), int(test_ids.max())))),
        named=bool(names),
        train=image_set(train, ids, "train"),
        test=image_set(test, test_ids, "test"),
        preprocessing=Preprocessing(mean=mean, std=std),
        augment=augment,
    )


def from_batches(
    train: Iterable[tuple[Tensor, Tensor]],
    test: Iterable[tuple[Tensor, Tensor]] | None = None,
    *,
    classes: Sequence[str] | None = None,
    mean: tuple[float, ...] = (0.0,),
    std: tuple[float, ...] = (1.0,),
    augment: str = "none",
    name: str = "batches",
) -> ImageData:
    """Return data read once from iterables of batches (images (n, C, H, W), labels (n,)), and kept in memory.

    This suits a DataLoader over an `IterableDataset`, or any loader of one's own. It reads every sample, those of the
    classes to forget too, before anything else happens: "samples read" and "decoded" then count what the method and the
    audit were handed, not what the loader touched. Where that matters use `from_datasets`.

    Args:
        train, test: the batches; without `test`, a fifth of every class is held out.
        classes: class names; default: the ids.
        mean, std: applied to the pixels (uint8 ones divided by 255); by default they change nothing more.
        augment: `none` or `crop_flip`.
        name: what the data is called in reports.

    Raises:
        DataError: a batch is no pair of images and integer labels, or there are none.
    """
    images, labels = _read_all(train, "train")
    names = tuple(classes) if classes is not None else None
    if test is None:
        mark = held_out(labels, names or tuple(str(k) for k in range(1 + int(labels.max()))))
        if not mark.any():
            raise DataError("Expected a class with two images or more, but every class has one; give test data too.")
        sides = [(images[~mark], labels[~mark]), (images[mark], labels[mark])]
    else:
        sides = [(images, labels), _read_all(test, "test")]
    return ImageData(
        source=name,
        classes=names or tuple(str(k) for k in range(1 + max(int(ids.max()) for _, ids in sides))),
        named=bool(names),
        train=ImageSet.from_tensor(*sides[0]),
        test=ImageSet.from_tensor(*sides[1]),
        preprocessing=Preprocessing(mean=mean, std=std),
        augment=augment,
    )


class DatasetItems:
    """Pixels of the items of a map-style dataset."""

    def __init__(self, dataset: Any, labels: Tensor, title: str) -> None:
        self._dataset, self._labels, self._title = dataset, labels, title

    def shape_of(self, row: int) -> Shape:
        """Return the shape (C, H, W) of an item, which is read for that."""
        channels, height, width = self._pixels(row).shape
        return channels, height, width

    def decode(self, rows: Sequence[int], shape: Shape) -> Tensor:
        """Return the pixels (n, C, H, W) of items, uint8 or float32.

        Raises:
            DataError: an item cannot be read, is no image, or is not like the others.
        """
        images = [self._pixels(row) for row in rows]
        for row, image in zip(rows, images, strict=True):
            if image.shape != shape or image.dtype != images[0].dtype:
                raise DataError(
                    f"Expected images of shape {shape} and {images[0].dtype}, but item {row} of {self._title} has "
                    f"{tuple(image.shape)} and {image.dtype}; let the transform give all one shape."
                )
        return torch.stack(images)

    def _pixels(self, row: int) -> Tensor:
        try:
            item = self._dataset[row]
        except Exception as error:  # the caller's own code may raise anything
            raise DataError(
                f"Expected item {row} of {self._title}, but reading it raised {type(error).__name__} "
                f"({first_line(error)}); repair the dataset or its transform."
            ) from error
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise DataError(
                f"Expected items (image, label), but item {row} of {self._title} is a {type(item).__name__}; "
                "wrap the dataset in one that returns such pairs."
            )
        self._check_label(row, item[1])
        return _as_tensor(item[0], f"item {row} of {self._title}")

    def _check_label(self, row: int, label: Any) -> None:
        number = label.tolist() if isinstance(label, Tensor | np.generic | np.ndarray) else label
        if isinstance(number, int | float) and number != int(self._labels[row]):
            raise DataError(
                f"Expected label {int(self._labels[row])} of item {row} of {self._title}, as its list of labels says, "
                f"but the item has {number}; give the labels in the order of the items."
            )


def _as_tensor(image: Any, title: str) -> Tensor:
    """Return one image as uint8 or float32 (C, H, W)."""
    if isinstance(image, Image.Image):
        if image.mode in ("I", "F"):
            raise DataError(f"Expected 8-bit images, but {title} has Pillow's mode {image.mode!r}; convert it first.")
        image = np.asarray(as_uint8(image, 1 if image.mode in ("1", "L", "LA") or image.mode[0] == "I" else 3))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise DataError(
                f"Expected a uint8 array (H, W, C) or a tensor, but {title} is an array of {image.dtype} "
                f"{image.shape}; let the transform give float tensors (C, H, W)."
            )
        image = torch.from_numpy(np.array(image)).reshape(*image.shape[:2], -1).permute(2, 0, 1)
    if (
        not isinstance(image, Tensor)
        or image.dim() != 3
        or not (image.dtype == torch.uint8 or image.is_floating_point())
    ):
        what = f"{image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise DataError(
            f"Expected an image tensor (C, H, W), float or uint8, but {title} is {what}; "
            "add torchvision.transforms.ToTensor() to the transform."
        )
    return image if image.dtype == torch.uint8 else image.float()


def _map_style(dataset: Any, title: str) -> Any:
    dataset = dataset.dataset if isinstance(dataset, DataLoader) else dataset
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(
            f"Expected a {title} dataset with a length and items by number, but got {type(dataset).__name__}; "
            "pass data that can only be iterated to from_batches."
        )
    return dataset


def _labels(dataset: Any, given: Any, title: str) -> Tensor:
    labels = known_labels(dataset) if given is None else given
    if labels is None:
        raise DataError(
            f"Expected the labels of the {title} dataset, but {type(dataset).__name__} has neither `targets` nor "
            f"`labels`, and reading them item by item would read the images to forget; give {title}_labels=."
        )
    return checked_labels(labels, len(dataset), f"the {title} dataset")


def _class_names(dataset: Any, given: Sequence[str] | None) -> tuple[str, ...] | None:
    while given is None and isinstance(dataset, Subset):
        dataset = dataset.dataset
    names = getattr(dataset, "classes", None) if given is None else given
    return tuple(str(name) for name in names) if names is not None else None


def _read_all(batches: Iterable[Any], title: str) -> tuple[Tensor, Tensor]:
    images, labels = [], []
    for number, batch in enumerate(batches):
        if not (
            isinstance(batch, tuple | list) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)
        ):
            raise DataError(
                f"Expected batches (images, labels) of tensors, but {title} batch {number} is a "
                f"{type(batch).__name__}; let the loader yield such pairs."
            )
        images.append(batch[0].detach().cpu())
        labels.append(checked_labels(batch[1], len(batch[0]), f"{title} batch {number}"))
        if images[-1].shape[1:] != images[0].shape[1:] or images[-1].dtype != images[0].dtype:
            raise DataError(
                f"Expected {title} batches of {images[0].dtype} {tuple(images[0].shape[1:])}, but batch {number} has "
                f"{images[-1].dtype} {tuple(images[-1].shape[1:])}; give all images one shape."
            )
    if not images:
        raise DataError(f"Expected {title} batches, but there are none; give a fresh iterable, not one that has ended.")
    return torch.cat(images), torch.cat(labels)
