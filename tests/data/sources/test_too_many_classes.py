"""More classes than a list may have are refused in one sentence, by every source, before anything is made for each."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pictures_on_disk import png
from unlearnkit import ImageData, ImageSet, load_data
from unlearnkit.data import from_batches, from_datasets
from unlearnkit.data.class_lists import MOST_CLASSES
from unlearnkit.errors import DataError

IMAGES = torch.zeros((3, 1, 2, 2), dtype=torch.uint8)


def table(folder: Path, labels: Any, names: int = 0) -> str:
    picture = pa.array([png(np.zeros((2, 2, 3), dtype=np.uint8))] * len(labels), pa.binary())
    rows = pa.table({"image": picture, "label": labels})
    if names:
        label = {"_type": "ClassLabel", "names": [str(k) for k in range(names)]}
        rows = rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": {"label": label}}})})
    for side in ("train", "test"):
        pq.write_table(rows, folder / f"{side}.parquet")
    return f"parquet:{folder}"


def pairs(*labels: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(IMAGES[: len(labels)], torch.tensor(labels))]


CASES: dict[str, Callable[[Path], object]] = {
    "labels of 2**40": lambda folder: load_data(table(folder, pa.array([0, 1, 2**40]))),
    "ten million labels": lambda folder: load_data(table(folder, pa.array([0, 1, 10_000_000]))),
    "ten million names": lambda folder: load_data(table(folder, pa.array([0, 1, 1]), names=MOST_CLASSES + 1)),
    "text": lambda folder: load_data(table(folder, pa.array([str(k) for k in range(MOST_CLASSES + 1)]))),
    "a list": lambda folder: load_data(
        table(folder, pa.array([0, 1, 2])), classes=tuple(str(k) for k in range(MOST_CLASSES + 1))
    ),
    "batches": lambda _: from_batches(pairs(0, 1, 2**40), pairs(0)),
    "a dataset": lambda _: from_datasets([(IMAGES[0], 2**40)], train_labels=[2**40]),
    "a source of another package": lambda _: ImageData(
        source="theirs",
        classes=tuple(map(str, range(MOST_CLASSES + 1))),
        train=ImageSet.from_tensor(IMAGES, torch.tensor([0, 1, 2])),
        test=ImageSet.from_tensor(IMAGES, torch.tensor([0, 1, 2])),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_too_many_classes_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the largest number is checked as it is; of lists, smaller ones do
    if "2**40" not in name and "million labels" not in name and name not in ("batches", "a dataset"):
        monkeypatch.setattr("unlearnkit.data.class_lists.MOST_CLASSES", 50)
        monkeypatch.setitem(globals(), "MOST_CLASSES", 50)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"Expected at most [0-9,]+ classes, but .* stand for [0-9,]+; number the"):
            CASES[name](tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_as_many_as_allowed_are_taken(tmp_path: Path) -> None:
    assert len(load_data(table(tmp_path, pa.array([0, 1, MOST_CLASSES - 1]))).classes) == MOST_CLASSES
