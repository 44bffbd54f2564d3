"""Loads `parquet:DIR`: train and test files in the Hugging Face image convention, read with pyarrow without a copy.

In DIR or DIR/data stand `train.parquet` or shards `train-*.parquet`, and `test...` alike (`validation...` is taken
where there is no test). Column `image` is a struct of `bytes` (an encoded image) and `path` (its name), or binary;
column `label` is an integer or text; `columns` says which others serve. Class names are read from the schema metadata
(key `huggingface`, a `ClassLabel` feature); without it they are the labels.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from unlearnkit.data.images import ImageData, ImageSet
from unlearnkit.data.sources.columns import Columns, find_columns
from unlearnkit.data.sources.decode import ImageOptions, first_line, picture_set
from unlearnkit.data.sources.formats import open_picture
from unlearnkit.data.sources.label_column import read_labels
from unlearnkit.data.sources.tables import ParquetTable
from unlearnkit.data.storage import free_bytes, gigabytes
from unlearnkit.disk.files import open_regular
from unlearnkit.errors import DataError


def load_parquet(directory: str, options: ImageOptions) -> ImageData:
    """Return the data in `directory`; images are decoded only when they are read.

    The encoded images are held in memory. Where worker processes are spawned and not forked (macOS, Windows), each
    holds its own copy.

    Raises:
        DataError: a file is missing, empty, corrupt or too large, a column is missing, or a label is out of range.
    """
    folder = Path(directory)
    files = files_of_sides(folder)
    _check_memory(folder, [path for side in files.values() for path in side])
    columns = _columns(folder, files, options)
    found = {side: _joined(paths, columns.label) for side, paths in files.items()}
    titles = {side: _title(paths) for side, paths in files.items()}
    labels = read_labels(found, columns.names, titles, listing=options.classes is not None)

    def pictures(side: str) -> ImageSet:
        return picture_set(labels.ids[side], ParquetImages(files[side], columns.image), options)

    return ImageData(
        source=f"parquet:{folder.absolute()}",
        classes=labels.classes,
        train=pictures("train"),
        test=pictures("test"),
        augment="crop_flip",
        preprocessing=options.preprocessing.for_pictures(),
        named=labels.named,
        remarks=(*columns.remarks, *labels.remarks),
        tables={
            "train": ParquetTable(
                partial(_joined, files["train"]), _schema(files["train"][0]), columns, titles["train"]
            ),
            "test": ParquetTable(partial(_joined, files["test"]), _schema(files["test"][0]), columns, titles["test"]),
        },
    )


class ParquetImages:
    """Encoded images of the rows of some files; a copy in another process reads the files again."""

    def __init__(self, files: Sequence[Path], image: str) -> None:
        self._files, self._image = tuple(files), image
        self._column = _joined(self._files, image)

    def __getstate__(self) -> tuple[tuple[Path, ...], str]:
        return self._files, self._image

    def __setstate__(self, state: tuple[tuple[Path, ...], str]) -> None:
        self._files, self._image = state
        self._column = _joined(*state)

    def open(self, row: int) -> Image.Image:
        """Open the bytes of a row."""
        raw, _ = self._row(row)
        if not raw:
            raise ValueError("it has no bytes")
        return open_picture(io.BytesIO(raw))

    def name(self, row: int) -> str:
        """Its name in the file, where it has one, and its row."""
        _, path = self._row(row)
        return f"{f'{path!r} (row {row})' if path else f'row {row}'} in {_title(self._files)}"

    def _row(self, row: int) -> tuple[bytes | None, str | None]:
        """The bytes of a row, and the name of its file."""
        value = self._column[row].as_py()
        return (value, None) if isinstance(value, bytes) else ((value or {}).get("bytes"), (value or {}).get("path"))


def files_of_sides(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the files of the training and of the test data in a folder.

    Raises:
        DataError: one is missing, or there are two kinds of them.
    """
    return {"train": _files(folder, ("train",)), "test": _files(folder, ("test", "validation"))}


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
        open_regular(path).close()  # a pipe would be waited for
        schema, rows = pq.read_schema(path), pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    if rows == 0:
        raise DataError(f"Expected samples in {path}, but it has no rows; write it anew.")
    return schema


def _columns(folder: Path, files: dict[str, tuple[Path, ...]], options: ImageOptions) -> Columns:
    """The columns of images and labels, and the class names that the files agree on."""
    found = [
        find_columns(_schema(path), str(path), image=options.image_column, label=options.label_column)
        for paths in files.values()
        for path in paths
    ]
    first = found[0]
    for other in found[1:]:
        if (other.image, other.label) != (first.image, first.label):
            raise DataError(
                f"Expected the same columns in all files of {folder}, but got {first.image!r} and {first.label!r} in "
                f"one and {other.image!r} and {other.label!r} in another; write all alike."
            )
    names = {columns.names for columns in found if columns.names is not None}
    if len(names) > 1:
        raise DataError(
            f"Expected the same class names in the train and test files of {folder}, but they differ; "
            "write all with one class list."
        )
    return replace(first, names=names.pop() if names else None)


def _check_memory(folder: Path, files: Sequence[Path]) -> None:
    size, free = sum(path.stat().st_size for path in files), free_bytes(torch.device("cpu"))
    if size > free:
        raise DataError(
            f"Expected the files of {folder} to fit into memory, but they take {gigabytes(size)} and "
            f"{gigabytes(free)} are free; read them from disk with hf:{folder}."
        )


def _joined(files: Sequence[Path], name: str) -> pa.ChunkedArray:
    """A column of some files as one."""
    columns = [_read(path, name) for path in files]
    for path, column in zip(files, columns, strict=True):
        if column.type != columns[0].type:
            raise DataError(
                f"Expected column {name!r} of one type, but {path} has {column.type} and {files[0]} "
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
