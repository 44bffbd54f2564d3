"""Writes a small Parquet data set with columns besides pictures and labels: who is shown, and finer classes."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES, FINE = ("ant", "bee", "cat"), ("red", "wood", "honey", "tabby")
PER_CLASS = 12  # training rows of each class: row r is of class r % 3


def pixels_of(number: int, size: int = 8) -> np.ndarray:
    """A picture of its own for each number, brighter from class to class."""
    random = np.random.default_rng(number)
    return (random.integers(0, 120, (size, size, 3)) + 60 * (number % 3)).astype(np.uint8)


def encoded(pixels: np.ndarray) -> bytes:
    """Encode as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def write_people(folder: Path, *, order: Sequence[int] | None = None, same: dict[int, int] | None = None) -> Path:
    """Write train.parquet (36 rows) and test.parquet (12 rows).

    Row r is of class r % 3 and of person `p{r % 6}`; every second ant is a red one, which `fine` says. Files are called
    `train-{r}.png` and `test-{r}.png`.

    Args:
        folder: where; it is made.
        order: of the training rows; default: by number.
        same: training rows that show the picture of another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for side, rows, first in (("train", list(order or range(3 * PER_CLASS)), 0), ("test", list(range(12)), 1000)):
        numbers = [(same or {}).get(row, row) if side == "train" else first - first % 3 + row for row in rows]
        image = pa.array(
            [
                {"bytes": encoded(pixels_of(n)), "path": f"{side}-{row}.png"}
                for n, row in zip(numbers, rows, strict=True)
            ],
            type=pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        )
        fine = [0 if row % 6 == 0 else row % 3 + 1 for row in rows]
        table = pa.table(
            {
                "image": image,
                "label": pa.array([row % 3 for row in rows], type=pa.int64()),
                "fine": pa.array(fine, type=pa.int64()),
                "person": [f"p{row % 6}" for row in rows],
                "taken": pa.array([2000 + row for row in rows], type=pa.int64()),
            }
        )
        features = {
            "image": {"_type": "Image"},
            "label": {"names": list(CLASSES), "_type": "ClassLabel"},
            "fine": {"names": list(FINE), "_type": "ClassLabel"},
        }
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(table.replace_schema_metadata(metadata), folder / f"{side}.parquet")
    return folder
