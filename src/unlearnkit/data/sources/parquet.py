"""Loads `parquet:DIR`: train and test files in the Hugging Face image convention, read with pyarrow without a copy.

In DIR or DIR/data stand `train.parquet` or shards `train-*.parquet`, and `test...` alike (`validation...` is taken
where there is no test). Column `image` is a struct of `bytes` (an encoded image) and `path` (its name); column `label`
is an integer. Class names are read from the schema metadata (key `huggingface`, a `ClassLabel` feature); without it
they are the ids.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from unlearnkit.data.images import ImageData
from unlearnkit.data.sources.decode import ImageOptions, first_line, picture_set
from unlearnkit.data.storage import free_bytes, gigabytes
from unlearnkit.errors import DataError


def load_parquet(directory: str, options: ImageOptions) -> ImageData:
    """Return the data in `directory`; images are decoded only when they are read.

    The encoded images are held in memory. Where worker processes are spawned and not forked (macOS, Windows), each
    holds its own copy.

    Raises:
        DataError: a file is missing, empty, corrupt or too large, a column is missing, or a label is out of range.
    """
    folder = Path(directory)
    files = {"train": _files(folder, ("train",)), "test": _files(folder, ("test", "validation"))}
    _check_memory(folder, [path for side in files.values() for path in side])
    names = _names(folder, files)
    labels = {side: torch.cat([_labels(path) for path in paths]) for side, paths in files.items()}
    if names is None:
        count = 1 + max(int(side_labels.max()) for side_labels in labels.values())
        names = tuple(str(k) for k in range(count))
    for side, side_labels in labels.items():
        bad = side_labels[(side_labels < 0) | (side_labels >= len(names))]
        if len(bad):
            raise DataError(
                f"Expected labels from 0 to {len(names) - 1} in {_title(files[side])}, but got {int(bad[0])}; "
                "check the label column and the class names of the file."
            )
    return ImageData(
        source=f"parquet:{folder.absolute()}",
        classes=names,
        train=picture_set(labels["train"], ParquetImages(files["train"]), options),
        test=picture_set(labels["test"], ParquetImages(files["test"]), options),
        augment="crop_flip",
        preprocessing=options.preprocessing.for_pictures(),
    )


class ParquetImages:
    """Encoded images of the rows of some files; a copy in another process reads the files again."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        self._column = _column(self._files)

    def __getstate__(self) -> tuple[Path, ...]:
        return self._files

    def __setstate__(self, files: tuple[Path, ...]) -> None:
        self._files, self._column = files, _column(files)

    def open(self, row: int) -> Image.Image:
        """Open the bytes of a row as a picture."""
        raw = self._column[row].as_py() or {}
        if not raw.get("bytes"):
            raise ValueError("it has no bytes")
        return Image.open(io.BytesIO(raw["bytes"]))

    def name(self, row: int) -> str:
        """Return the name of a row in the file, where it has one, and its number."""
        path = (self._column[row].as_py() or {}).get("path")
        return f"{f'{path!r} (row {row})' if path else f'row {row}'} in {_title(self._files)}"


def _files(folder: Path, stems: Sequence[str]) -> tuple[Path, ...]:
    """Return the file, or the shards, of the first of `stems` that exists."""
    for stem in stems:
        for place in (folder, folder / "data"):
            single, shards = place / f"{stem}.parquet", sorted(place.glob(f"{stem}-*.parquet"))
            if single.is_file() and shards:
                raise DataError(
                    f"Expected either {single} or shards, but got {shards[0].name} too; remove one of them."
                )
            if single.is_file():
                return (single,)
            if shards:
                total = re.search(r"-of-(\d+)$", shards[0].stem)
                if total and int(total[1]) != len(shards):
                    raise DataError(
                        f"Expected {int(total[1])} files like {shards[0]}, but got {len(shards)}; fetch the others."
                    )
                return tuple(shards)
    raise DataError(
        f"Expected the file {folder / f'{stems[0]}.parquet'}, but there is none; "
        "parquet:DIR needs train.parquet and test.parquet."
    )


def _title(files: Sequence[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _schema(path: Path) -> pa.Schema:
    try:
        schema, rows = pq.read_schema(path), pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    if not {"image", "label"} <= set(schema.names):
        raise DataError(
            f"Expected the columns 'image' and 'label' in {path}, but got "
            f"{', '.join(schema.names) or 'none'}; "
            "write it in the Hugging Face image convention."
        )
    if rows == 0:
        raise DataError(f"Expected samples in {path}, but it has no rows; write it anew.")
    kind = schema.field("image").type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise DataError(
            f"Expected column 'image' of {path} to be a struct of 'bytes' and 'path', but got "
            f"{kind}; write it in the Hugging Face image convention."
        )
    return schema


def _names(folder: Path, files: dict[str, tuple[Path, ...]]) -> tuple[str, ...] | None:
    """Return the class names that all files agree on, or None where no file has any."""
    schemas = [_schema(path) for paths in files.values() for path in paths]
    found = {names for schema in schemas if (names := _class_names(schema)) is not None}
    if len(found) > 1:
        raise DataError(
            f"Expected the same class names in the train and test files of {folder}, but they differ; "
            "write all with one class list."
        )
    names = found.pop() if found else None
    twice = [name for name in names or () if (names or ()).count(name) > 1]
    if twice:
        raise DataError(
            f"Expected distinct class names in {folder}, but {twice[0]!r} stands for more than one class; "
            "write the files with distinct names."
        )
    return names


def _class_names(schema: pa.Schema) -> tuple[str, ...] | None:
    raw = (schema.metadata or {}).get(b"huggingface")
    if raw is None:
        return None
    try:
        feature: Any = json.loads(raw)["info"]["features"]["label"]
    except (ValueError, KeyError, TypeError):
        return None
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(str(name) for name in names) if names else None


def _check_memory(folder: Path, files: Sequence[Path]) -> None:
    size, free = sum(path.stat().st_size for path in files), free_bytes(torch.device("cpu"))
    if size > free:
        raise DataError(
            f"Expected the files of {folder} to fit into memory, but they take {gigabytes(size)} and "
            f"{gigabytes(free)} are free; read them from disk with hf:{folder}."
        )


def _labels(path: Path) -> Tensor:
    column = _read(path, "label")
    if not pa.types.is_integer(column.type) or column.null_count:
        found = "missing values" if pa.types.is_integer(column.type) else str(column.type)
        raise DataError(f"Expected integer labels in {path}, but got {found}; write the label column as int64.")
    return torch.from_numpy(column.to_numpy().astype(np.int64))


def _column(files: Sequence[Path]) -> pa.ChunkedArray:
    columns = [_read(path, "image") for path in files]
    for path, column in zip(files, columns, strict=True):
        if column.type != columns[0].type:
            raise DataError(
                f"Expected column 'image' of one type, but {path} has {column.type} and {files[0]} "
                f"{columns[0].type}; write all shards alike."
            )
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], type=columns[0].type)


def _read(path: Path, column: str) -> pa.ChunkedArray:
    try:
        return pq.read_table(path, columns=[column], memory_map=True).column(column)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"Expected a Parquet file at {path}, but it cannot be read ({first_line(error)}); write it anew.")
