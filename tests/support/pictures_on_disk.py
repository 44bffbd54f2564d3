"""Writes small pictures as PNG, and Parquet files of them in the Hugging Face image convention."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE = 32  # pixels, of `picture`


def png(pixels: np.ndarray) -> bytes:
    """Encode uint8 pixels (H, W, 3) or (H, W) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def picture(class_id: int, number: int) -> Image.Image:
    """Noise, brighter from class to class."""
    random = np.random.default_rng(100 * class_id + number)
    pixels = random.integers(0, 90, (SIDE, SIDE, 3)) + 40 * class_id
    return Image.fromarray(pixels.astype(np.uint8))


def write_parquet(path: Path, images: Sequence[bytes], labels: Sequence[int], names: Sequence[str] | None) -> None:
    """Write one file in the Hugging Face image convention."""
    image = pa.array(
        [{"bytes": raw, "path": f"image-{i}.png"} for i, raw in enumerate(images)],
        type=pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    table = pa.table({"image": image, "label": pa.array(labels, type=pa.int64())})
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
