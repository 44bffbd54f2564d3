"""`parquet:DIR`: train.parquet and test.parquet in the Hugging Face image convention.

Column `image` is a struct of `bytes` (an encoded image) and `path` (its name); column `label` is an integer. Class
names are read from the schema metadata (key `huggingface`, a `ClassLabel` feature); without it they are the ids.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from unlearnkit.data.images import ImageData, ImageSet, Shape
from unlearnkit.errors import DataError

# What Pillow raises on damaged bytes, by experiment with random ones.
UNDECODABLE = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    NotImplementedError,
    LookupError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def load_parquet(directory: str, *, image_size: int | None = None) -> ImageData:
    """Return the data in `directory`; images are RGB, and decoded only when they are read.

    Args:
        directory: folder with train.parquet and test.parquet.
        image_size: resize every image to this height and width (bilinear); without it all must have one size.

    Raises:
        DataError: a file is missing, empty or corrupt, a column is missing, or a label is out of range.
    """
    folder = Path(directory)
    tables = {side: _read(folder / f"{side}.parquet") for side in ("train", "test")}
    named = {side: _class_names(table) for side, table in tables.items()}
    names = named["train"] or named["test"]
    if named["train"] and named["test"] and named["train"] != named["test"]:
        raise DataError(
            f"Expected the same class names in train.parquet and test.parquet of {folder}, but they differ; "
            "write both with one class list."
        )
    twice = [name for name in names or () if (names or ()).count(name) > 1]
    if twice:
        raise DataError(
            f"Expected distinct class names in {folder}, but {twice[0]!r} stands for more than one class; "
            "write the files with distinct names."
        )
    labels = {side: _labels(table, folder / f"{side}.parquet") for side, table in tables.items()}
    if names is None:
        count = 1 + max(int(side_labels.max()) for side_labels in labels.values())
        names = tuple(str(k) for k in range(count))
    for side, side_labels in labels.items():
        bad = side_labels[(side_labels < 0) | (side_labels >= len(names))]
        if len(bad):
            raise DataError(
                f"Expected labels from 0 to {len(names) - 1} in {folder / f'{side}.parquet'}, but got {int(bad[0])}; "
                "check the label column and the class names of the file."
            )
    sets = {}
    for side, table in tables.items():
        decoder = _Decoder(table, str(folder / f"{side}.parquet"), image_size)
        sets[side] = ImageSet(labels[side], decoder.shape_of, decoder.decode)
    return ImageData(
        source=f"parquet:{folder.absolute()}",
        classes=names,
        train=sets["train"],
        test=sets["test"],
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        augment="crop_flip",
        image_size=image_size,
    )


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise DataError(
            f"Expected the file {path}, but there is none; parquet:DIR needs train.parquet and test.parquet."
        )
    try:
        table = pq.read_table(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"Expected a Parquet file at {path}, but it cannot be read ({_first_line(error)}); write it anew."
        ) from error
    missing = [name for name in ("image", "label") if name not in table.column_names]
    if missing:
        raise DataError(
            f"Expected the columns 'image' and 'label' in {path}, but got {', '.join(table.column_names) or 'none'}; "
            "write it in the Hugging Face image convention."
        )
    if table.num_rows == 0:
        raise DataError(f"Expected samples in {path}, but it has no rows; write it anew.")
    kind = table.schema.field("image").type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise DataError(
            f"Expected column 'image' of {path} to be a struct of 'bytes' and 'path', but got "
            f"{kind}; write it in the Hugging Face image convention."
        )
    return table


def _class_names(table: pa.Table) -> tuple[str, ...] | None:
    raw = (table.schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return None
    try:
        feature: Any = json.loads(raw)["info"]["features"]["label"]
    except (ValueError, KeyError, TypeError):
        return None
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(str(name) for name in names) if names else None


def _labels(table: pa.Table, path: Path) -> Tensor:
    column = table.column("label")
    if not pa.types.is_integer(column.type) or column.null_count:
        what = "missing values" if pa.types.is_integer(column.type) else str(column.type)
        raise DataError(f"Expected integer labels in {path}, but got {what}; write the label column as int64.")
    return torch.from_numpy(column.to_numpy().astype(np.int64))


class _Decoder:
    """Decodes rows of one table to uint8 RGB (n, 3, H, W)."""

    def __init__(self, table: pa.Table, path: str, image_size: int | None) -> None:
        self._column = table.column("image")
        self._path = path
        self._image_size = image_size

    def shape_of(self, row: int) -> Shape:
        """(3, H, W) of a row, from the image's header alone (its pixels are not decoded)."""
        if self._image_size is not None:
            return 3, self._image_size, self._image_size
        width, height = self._open(row).size
        return 3, height, width

    def decode(self, rows: Sequence[int], shape: Shape) -> Tensor:
        _, height, width = shape
        out = np.empty((len(rows), height, width, 3), dtype=np.uint8)
        for i, row in enumerate(rows):
            image = self._open(row)
            try:
                rgb = image.convert("RGB")
            except UNDECODABLE as error:
                raise self._broken(row, _first_line(error)) from error
            if self._image_size is not None:
                rgb = rgb.resize((width, height), Image.Resampling.BILINEAR)
            elif rgb.size != (width, height):
                raise DataError(
                    f"Expected images of {width}x{height} pixels, but {self._name(row)} in {self._path} has "
                    f"{rgb.size[0]}x{rgb.size[1]}; give --image-size to resize them all."
                )
            out[i] = np.asarray(rgb)
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def _open(self, row: int) -> Image.Image:
        raw = self._column[row].as_py() or {}
        if not raw.get("bytes"):
            raise self._broken(row, "it has no bytes")
        try:
            return Image.open(io.BytesIO(raw["bytes"]))
        except UnidentifiedImageError as error:
            raise self._broken(row, "not an image format that Pillow reads") from error
        except UNDECODABLE as error:
            raise self._broken(row, _first_line(error)) from error

    def _broken(self, row: int, reason: str) -> DataError:
        return DataError(
            f"Expected an image, but {self._name(row)} in {self._path} does not decode ({reason}); "
            "replace or remove it."
        )

    def _name(self, row: int) -> str:
        raw = self._column[row].as_py() or {}
        return f"{raw.get('path')!r} (row {row})" if raw.get("path") else f"row {row}"


def _first_line(error: Exception) -> str:
    text = (str(error) or type(error).__name__).splitlines()[0]
    return text if len(text) <= 120 else text[:117] + "..."
