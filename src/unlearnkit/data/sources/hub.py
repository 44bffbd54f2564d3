"""Loads `hf:NAME`, `hf:NAME:CONFIG` or `hf:DIR`: a data set of the Hugging Face Hub, or a folder, through `datasets`.

`datasets` copies files into its cache (HF_HOME), those of classes to forget included, and they stay there; `parquet:`
and `imagefolder:` copy nothing. Images are opened only when they are read.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from unlearnkit.data.images import ImageData, ImageSet
from unlearnkit.data.sources.decode import ImageOptions, first_line, picture_set
from unlearnkit.data.sources.hold_out import held_out
from unlearnkit.errors import DataError

if TYPE_CHECKING:
    import datasets

TESTS = ("test", "validation")
INTEGER_LABELS = ("label", "labels", "fine_label", "class", "target")


def load_hub(rest: str, options: ImageOptions) -> ImageData:
    """Return a data set; its test data is the split `test`, else `validation`, else a fifth of every class.

    A test split whose labels are all -1, as in competitions, is passed over. The label column is the `ClassLabel`
    one (of several `label`, then `fine_label`), else one of integers called label, labels, fine_label, class, target.

    Raises:
        DataError: `datasets` is not installed, the data set cannot be had, or its columns do not fit.
    """
    splits = _load(rest)
    if "train" not in splits:
        raise DataError(f"Expected a split 'train' in hf:{rest}, but got {', '.join(splits)}; name another data set.")
    train = splits["train"]
    image, label = _image_column(train, rest), _label_column(train, rest)
    names = _class_names(train, label)
    sides = {"train": train}
    for name in TESTS:
        if name in splits and not bool((_labels(splits[name], label, rest) == -1).all()):
            sides["test"] = splits[name]
            break
    labels = {side: _labels(rows, label, rest) for side, rows in sides.items()}
    if names is None:
        names = tuple(str(k) for k in range(1 + max(int(ids.max()) for ids in labels.values())))
    if "test" not in sides:
        mark = held_out(labels["train"], names)
        sides = {side: train.select(np.flatnonzero(m.numpy())) for side, m in (("train", ~mark), ("test", mark))}
        labels = {"train": labels["train"][~mark], "test": labels["train"][mark]}

    def image_set(side: str) -> ImageSet:
        pictures = HubImages(sides[side], image, f"the {side} data of hf:{rest}")
        return picture_set(labels[side], pictures, options)

    return ImageData(
        source=f"hf:{rest}",
        classes=names,
        train=image_set("train"),
        test=image_set("test"),
        augment="crop_flip",
        preprocessing=options.preprocessing.for_pictures(),
    )


class HubImages:
    """Encoded images of one split."""

    def __init__(self, rows: datasets.Dataset, column: str, title: str) -> None:
        from datasets import Image as Feature

        self._rows = rows.select_columns([column]).cast_column(column, Feature(decode=False))
        self._column, self._title = column, title

    def open(self, row: int) -> Image.Image:
        """Open the bytes or the file of a row as a picture."""
        raw = self._rows[row][self._column] or {}
        if raw.get("bytes"):
            return Image.open(io.BytesIO(raw["bytes"]))
        if not raw.get("path"):
            raise ValueError("it has no bytes")
        return Image.open(raw["path"])

    def name(self, row: int) -> str:
        """Return the file name of a row, where it has one, and its number."""
        path = (self._rows[row][self._column] or {}).get("path")
        return f"{f'{path!r} (row {row})' if path else f'row {row}'} in {self._title}"


def _load(rest: str) -> dict[str, Any]:
    """Return all splits of a data set by name."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"Expected the package datasets for hf:{rest}, but it is not installed; pip install 'unlearnkit[hf]'."
        ) from error
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    name, _, config = (rest, "", "") if Path(rest).is_dir() else rest.partition(":")
    try:
        return dict(datasets.load_dataset(name, config or None))
    except ConnectionError as error:
        raise DataError(
            f"Expected to reach {name!r} on the Hugging Face Hub, but this machine is offline and has no copy; "
            "download it where there is a network and point HF_HOME at its cache, or give a folder as hf:DIR."
        ) from error
    except DatasetNotFoundError as error:
        raise DataError(
            f"Expected a data set {name!r} on the Hugging Face Hub, but there is none or it is not open to you; "
            "check the name, or log in with `hf auth login`."
        ) from error
    except RuntimeError as error:
        if "scripts" not in str(error):
            raise
        raise DataError(
            f"Expected image files or Parquet in hf:{rest}, but it is a script ({first_line(error)}), and code of "
            "others is not run; name a Parquet version of it."
        ) from error
    except (DatasetsError, OSError, ValueError, TypeError, pa.ArrowException) as error:
        raise DataError(
            f"Expected a data set of images at hf:{rest}, but it cannot be read ({first_line(error)}); check the name "
            "and the configuration, hf:NAME:CONFIG."
        ) from error


def _image_column(rows: datasets.Dataset, rest: str) -> str:
    from datasets import Image as Feature

    found = [name for name, feature in rows.features.items() if isinstance(feature, Feature)]
    if len(found) > 1 and "image" in found:
        return "image"
    if len(found) != 1:
        raise DataError(
            f"Expected one column of images in hf:{rest}, but got {', '.join(found) or 'none'} among "
            f"{', '.join(rows.features)}; rename the one to use to 'image'."
        )
    return str(found[0])


def _label_column(rows: datasets.Dataset, rest: str) -> str:
    from datasets import ClassLabel, Value

    found = [name for name, feature in rows.features.items() if isinstance(feature, ClassLabel)]
    if len(found) > 1:
        found = [name for name in ("label", "fine_label") if name in found][:1] or found
    elif not found:
        integers = {name for name, f in rows.features.items() if isinstance(f, Value) and "int" in f.dtype}
        found = [name for name in INTEGER_LABELS if name in integers][:1]
    if len(found) != 1:
        raise DataError(
            f"Expected one column of class labels in hf:{rest}, but got {', '.join(found) or 'none'} among "
            f"{', '.join(rows.features)}; call it 'label' and make it a ClassLabel."
        )
    return str(found[0])


def _class_names(rows: datasets.Dataset, label: str) -> tuple[str, ...] | None:
    names = getattr(rows.features[label], "names", None)
    return tuple(names) if names else None


def _labels(rows: datasets.Dataset, label: str, rest: str) -> Tensor:
    column = rows.select_columns([label]).with_format("arrow")[:].column(label)
    if column.null_count or not len(column):
        found = "missing ones" if len(column) else "no rows"
        raise DataError(f"Expected labels in hf:{rest}, but got {found}; give a data set with a label in every row.")
    return torch.from_numpy(column.to_numpy().astype(np.int64))
