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
from PIL import Image

from unlearnkit.data.images import ImageData, ImageSet
from unlearnkit.data.sources.columns import find_columns
from unlearnkit.data.sources.decode import ImageOptions, first_line, picture_set
from unlearnkit.data.sources.formats import open_picture
from unlearnkit.data.sources.hold_out import held_out
from unlearnkit.data.sources.label_column import read_labels, unlabelled
from unlearnkit.errors import DataError

if TYPE_CHECKING:
    import datasets

TESTS = ("test", "validation")


def load_hub(rest: str, options: ImageOptions) -> ImageData:
    """Return a data set; its test data is the split `test`, else `validation`, else a fifth of every class.

    A test split without labels (all are -1, or missing), as in competitions, is passed over. Which columns are
    read, `columns` says.

    Raises:
        DataError: `datasets` is not installed, the data set cannot be had, or its columns do not fit.
    """
    splits = _load(rest)
    if "train" not in splits:
        raise DataError(f"Expected a split 'train' in hf:{rest}, but got {', '.join(splits)}; name another data set.")
    train = splits["train"]
    columns = find_columns(
        train.features.arrow_schema, f"hf:{rest}", image=options.image_column, label=options.label_column
    )
    sides, found = {"train": train}, {"train": _labels(train, columns.label)}
    for name in TESTS:
        if name in splits and not unlabelled(column := _labels(splits[name], columns.label)):
            sides["test"], found["test"] = splits[name], column
            break
    titles = {side: f"the {side} data of hf:{rest}" for side in ("train", "test")}
    read = read_labels(found, columns.names, titles, listing=options.classes is not None)
    labels = read.ids
    if "test" not in sides:
        mark = held_out(labels["train"], read.classes)
        sides = {side: train.select(np.flatnonzero(m.numpy())) for side, m in (("train", ~mark), ("test", mark))}
        labels = {"train": labels["train"][~mark], "test": labels["train"][mark]}

    def image_set(side: str) -> ImageSet:
        return picture_set(labels[side], HubImages(sides[side], columns.image, titles[side]), options)

    return ImageData(
        source=f"hf:{rest}",
        classes=read.classes,
        train=image_set("train"),
        test=image_set("test"),
        augment="crop_flip",
        preprocessing=options.preprocessing.for_pictures(),
        named=read.named,
        remarks=(*columns.remarks, *read.remarks),
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
            return open_picture(io.BytesIO(raw["bytes"]))
        if not raw.get("path"):
            raise ValueError("it has no bytes")
        return open_picture(raw["path"])

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
        return dict(datasets.load_dataset(name, config or None))  # nosec B615  # the user names it; no code in it is run
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


def _labels(rows: datasets.Dataset, label: str) -> pa.ChunkedArray:
    return rows.select_columns([label]).with_format("arrow")[:].column(label)
