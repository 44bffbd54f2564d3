"""Reads what Parquet files and image folders say of their rows: file names, and columns of metadata.

An image folder says it in `metadata.csv`, in the folder of a side or in the one above: a column `file_name` with paths
relative to that folder, as Hugging Face `datasets` has it, and any others.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from unlearnkit.class_names import in_one_form
from unlearnkit.data.sources.columns import Columns, class_names, features_of
from unlearnkit.disk.files import read_regular
from unlearnkit.errors import DataError

METADATA, FILE_NAME = "metadata.csv", "file_name"


class ParquetTable:
    """Columns of the rows of some Parquet files.

    Args:
        read: name of a column -> that column of all rows.
        schema: of the files.
        used: the columns of images and labels.
        title: what messages call the files.
    """

    def __init__(self, read: Callable[[str], pa.ChunkedArray], schema: pa.Schema, used: Columns, title: str) -> None:
        self._read, self._schema, self._used, self._title = read, schema, used, title

    @property
    def columns(self) -> tuple[str, ...]:
        """All flat columns but those of images and labels."""
        flat = [f.name for f in self._schema if not pa.types.is_nested(f.type) and not pa.types.is_binary(f.type)]
        return tuple(name for name in flat if name not in (self._used.image, self._used.label))

    def column(self, name: str) -> list[str | None]:
        """Return a column as text."""
        names = class_names(features_of(self._schema).get(name), self._title)
        values = self._read(name).to_pylist()
        if names is not None:
            return [names[v] if isinstance(v, int) and 0 <= v < len(names) else None for v in values]
        return [None if v is None else in_one_form(str(v)) for v in values]

    def file_names(self) -> list[str | None]:
        """Return `path` of the image column, where it has one."""
        column = self._read(self._used.image)
        if not pa.types.is_struct(column.type) or column.type.get_field_index("path") < 0:
            return [None] * len(column)
        paths = [path for chunk in column.chunks for path in chunk.field("path").to_pylist()]
        return [path or None for path in paths]


class FolderTable:
    """Paths of the images of one side, and the columns of `metadata.csv`.

    Args:
        root: of the whole data set.
        paths: of the images, in the order of the rows.
    """

    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        self._root, self._paths = root, paths

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `metadata.csv` but that of file names; none without such a file."""
        names = {name for row in self._metadata.values() for name in row}
        return tuple(sorted(names - {FILE_NAME}))

    def column(self, name: str) -> list[str | None]:
        """Return a column; None for images that the file does not name."""
        return [self._metadata.get(path, {}).get(name) for path in map(os.path.abspath, self._paths)]

    def file_names(self) -> list[str | None]:
        """Return the paths relative to the root."""
        return [Path(os.path.relpath(path, self._root)).as_posix() for path in self._paths]

    @cached_property
    def _metadata(self) -> Mapping[str, Mapping[str, str]]:
        """Absolute path of an image -> its values by column."""
        tops = {Path(os.path.relpath(path, self._root)).parts[0] for path in self._paths}
        found: dict[str, Mapping[str, str]] = {}
        for folder in (self._root, *(self._root / top for top in sorted(tops))):
            if (folder / METADATA).is_file():
                for row in _rows(folder / METADATA):
                    found[os.path.abspath(folder / row[FILE_NAME])] = row
        return found


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a metadata file by column."""
    try:
        table = list(csv.reader(io.StringIO(read_regular(path).decode("utf-8-sig"), newline="")))
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"Expected a table in {path}, but it cannot be read ({error}); write it as CSV.") from error
    header = [in_one_form(name.strip()) for name in table[0]] if table else []
    if FILE_NAME not in header:
        raise DataError(
            f"Expected a column {FILE_NAME!r} in {path}, which says what image a row is of, but it has "
            f"{', '.join(map(repr, header)) or 'none'}; add it."
        )
    return [dict(zip(header, map(in_one_form, row), strict=False)) for row in table[1:] if len(row) == len(header)]
