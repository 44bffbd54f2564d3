"""Writes the first training rows of Parquet data to a folder of their own, for suites that train on part of a set."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unlearnkit.data.sources.parquet import files_of_sides
from unlearnkit.disk.staging import put, staged
from unlearnkit.errors import DataError, reason


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
    files = files_of_sides(Path(source.partition(":")[2]))
    stats = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in sum(files.values(), ())]
    name = hashlib.sha256(repr((count, stats)).encode()).hexdigest()[:16]
    folder = place.absolute() / name
    if folder.is_dir():
        return f"parquet:{folder}"
    try:
        tables = {side: pa.concat_tables(pq.read_table(path) for path in paths) for side, paths in files.items()}
        if tables["train"].num_rows < count:
            raise DataError(
                f"Expected at least {count} training rows in {source}, as the suite takes so many of them, but it has "
                f"{tables['train'].num_rows}; lower samples, or leave it out."
            )
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
