"""Takes the first training rows of Parquet data, for suites that train on part of a set: copies them, or plans so."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unlearnkit.data import ImageData
from unlearnkit.data.row_table import RowTable
from unlearnkit.data.sources.parquet import files_of_sides
from unlearnkit.disk.staging import put, staged
from unlearnkit.errors import DataError, reason
from unlearnkit.split import Side

COPIES = "data"  # folder of a comparison that holds the copies
NAME = re.compile(r"[0-9a-f]{16}")  # of a copy


def first_rows(source: str, count: int, place: Path) -> str:
    """Return the source of the first `count` training rows and all test rows, which is written unless it is there.

    Pictures are copied as they are encoded, and every column with them. The folder's name changes with the files that
    it is made from.

    Args:
        source: `parquet:DIR`.
        count: training rows.
        place: folder that gets the new one.

    Raises:
        DataError: the data cannot be read, has fewer rows, or cannot be written again.
    """
    files = _files(source)
    folder = place.absolute() / _name(files, count)
    if folder.is_dir():
        return f"parquet:{folder}"
    try:
        tables = {side: pa.concat_tables(pq.read_table(path) for path in paths) for side, paths in files.items()}
        _check(source, count, tables["train"].num_rows)
        place.mkdir(parents=True, exist_ok=True)
        with staged(folder) as staging:
            pq.write_table(tables["train"].slice(0, count), staging / "train.parquet")
            pq.write_table(tables["test"], staging / "test.parquet")
            put(staging, folder)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"Expected to be able to copy the first rows of {source} to {folder}, but got: {reason(error)}; check both."
        ) from error
    return f"parquet:{folder}"


def place_of(source: str, count: int, place: Path) -> str:
    """Return the source that `first_rows` gives; nothing is written.

    Raises:
        DataError: there are no such files.
    """
    return f"parquet:{place.absolute() / _name(_files(source), count)}"


def first_of(images: ImageData, count: int) -> ImageData:
    """Return data with its first `count` training rows and all test rows, as their copy has it; no picture is read.

    Raises:
        DataError: it has fewer.
    """
    labels = images.labels("train")
    _check(images.source, count, len(labels))
    tables: dict[Side, RowTable] = dict(images.tables)
    if "train" in tables:
        tables["train"] = _FirstOf(tables["train"], count)
    return replace(images, train=images.train.relabelled(labels[:count]), tables=tables)


def called(source: str) -> str:
    """Return what a source is called: a copy of first rows by its name, which is the same in all folders."""
    folder = Path(source.partition(":")[2])
    return folder.name if folder.parent.name == COPIES and NAME.fullmatch(folder.name) else source


@dataclass(frozen=True)
class _FirstOf:
    """The first rows of a table."""

    table: RowTable
    count: int

    @property
    def columns(self) -> tuple[str, ...]:
        return self.table.columns

    def column(self, name: str) -> Sequence[str | None]:
        return self.table.column(name)[: self.count]

    def file_names(self) -> Sequence[str | None]:
        return self.table.file_names()[: self.count]


def _files(source: str) -> dict[str, tuple[Path, ...]]:
    return files_of_sides(Path(source.partition(":")[2]))


def _name(files: Mapping[str, tuple[Path, ...]], count: int) -> str:
    stats = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in sum(files.values(), ())]
    return hashlib.sha256(repr((count, stats)).encode()).hexdigest()[:16]


def _check(source: str, count: int, there: int) -> None:
    if there < count:
        raise DataError(
            f"Expected at least {count} training rows in {source}, as the suite takes so many of them, but it has "
            f"{there}; lower samples, or leave it out."
        )
