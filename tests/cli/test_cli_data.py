"""Broken data, other image sizes, and images that must not be looked at or are gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands import WEIGHTS, Outcome, assert_refused, forget, read, run_cli, tree
from pictures_on_disk import png, write_parquet
from trained_once import TINY
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import checkpoint_bytes, read_checkpoint
from unlearnkit.models.metadata import ModelCard


def _change_table(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        table = pq.read_table(folder / "train.parquet")
        pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), folder / "train.parquet")

    return apply


def _set_label(value: int | None) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        labels = [value, *table.column("label").to_pylist()[1:]]
        return table.set_column(1, "label", pa.array(labels, type=pa.int64()))

    return change


def _set_image(table: pa.Table, row: int, raw: bytes) -> pa.Table:
    images = table.column("image").to_pylist()
    images[row]["bytes"] = raw
    return table.set_column(0, "image", pa.array(images, type=table.schema.field("image").type))


def _corrupt_retained(table: pa.Table) -> pa.Table:
    row = table.column("label").to_pylist().index(2)
    return _set_image(table, row, b"this is no image")


def _one_larger(table: pa.Table) -> pa.Table:
    return _set_image(table, 5, png(np.zeros((20, 30, 3), dtype=np.uint8)))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(_change_table(lambda t: t.slice(0, 0)), ["train.parquet", "has no rows"], id="empty"),
        pytest.param(lambda d: (d / "train.parquet").write_bytes(b"junk"), ["cannot be read"], id="corrupt"),
        pytest.param(lambda d: (d / "test.parquet").unlink(), ["test.parquet", "there is none"], id="no test file"),
        pytest.param(
            _change_table(lambda t: t.drop_columns("label")),
            ["column of class labels", "none among image"],
            id="no labels",
        ),
        pytest.param(
            _change_table(lambda t: t.drop_columns("image")), ["column of images", "none among label"], id="no images"
        ),
        pytest.param(_change_table(_set_label(4)), ["labels from 0 to 3", "got 4"], id="label too high"),
        pytest.param(_change_table(_set_label(-1)), ["labels from 0 to 3", "got -1"], id="negative label"),
        pytest.param(_change_table(_set_label(None)), ["integer labels", "missing values"], id="null label"),
        pytest.param(_change_table(_corrupt_retained), ["'image-", "does not decode", "replace"], id="no image"),
        pytest.param(_change_table(_one_larger), ["30x20", "--image-size"], id="mixed sizes"),
    ],
)
def test_bad_data_is_refused(
    parquet_folder: Callable[..., Path], tmp_path: Path, damage: Callable[[Path], None], words: list[str]
) -> None:
    folder = parquet_folder(per_class=8)
    damage(folder)
    before = tree(tmp_path)
    outcome = run_cli(
        "train", "--model", TINY, "--data", f"parquet:{folder}", "--out", tmp_path / "out", "--epochs", 1,
        "--quiet", "--device", "cpu",
    )  # fmt: skip
    assert_refused(outcome, *words)
    assert tree(tmp_path) == before


def _train(folder: Path, out: Path, *args: object) -> Path:
    done = run_cli(
        "train", "--model", TINY, "--data", f"parquet:{folder}", "--out", out, "--epochs", 1, "--quiet",
        "--device", "cpu", *args,
    )  # fmt: skip
    assert done == Outcome(0, "", "")
    return out / WEIGHTS


def test_with_an_image_size_mixed_sizes_work_and_the_weights_remember_it(
    parquet_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = parquet_folder(per_class=8)
    _change_table(_one_larger)(folder)
    made = _train(folder, tmp_path / "original", "--image-size", 10)
    card = read_checkpoint(made).card
    assert card is not None
    assert card.shape == (3, 10, 10)
    done = forget(
        "--forget", "red", "--no-audit", "--quiet", weights=made, data=f"parquet:{folder}", out=tmp_path / "out"
    )
    assert done.code == 0, done.err
    assert read(tmp_path / "out", "config.json")["shape"] == [3, 10, 10]


def test_images_of_another_size_than_the_weights_were_made_from_are_refused(
    parquet_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = parquet_folder(per_class=8)
    made = _train(folder, tmp_path / "original")
    shutil.rmtree(folder)
    other = parquet_folder(per_class=8, size=14)
    args = ("--forget", "red", "--no-audit", "--quiet")
    outcome = forget(*args, weights=made, data=f"parquet:{other}", out=tmp_path / "out")
    assert_refused(outcome, "(3, 12, 12)", "(3, 14, 14)", "--image-size 12")
    done = forget(*args, "--image-size", 12, weights=made, data=f"parquet:{other}", out=tmp_path / "out")
    assert done.code == 0, done.err


def test_images_of_forgotten_classes_are_never_looked_at(parquet_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = parquet_folder(per_class=12)
    made = _train(folder, tmp_path / "original")
    for side in ("train", "test"):
        table = pq.read_table(folder / f"{side}.parquet")
        rows = table.to_pylist()
        rows.sort(key=lambda row: row["label"] != 0)  # red first, so that row 0 is one to forget
        images = [b"\x89PNG broken" if row["label"] == 0 else row["image"]["bytes"] for row in rows]
        write_parquet(
            folder / f"{side}.parquet", images, [row["label"] for row in rows], ("red", "green", "blue", "grey")
        )
    done = forget(
        "--forget", "red", "--no-audit", "--quiet", weights=made, data=f"parquet:{folder}", out=tmp_path / "out"
    )
    assert done == Outcome(0, "", "")
    access = read(tmp_path / "out", "access.json")
    for part, samples in (("forget_train", 12), ("forget_test", 3)):
        assert access["parts"][part] == {
            "red": {"samples": samples, "read_by_method": 0, "read_by_audit": 0, "decoded": 0}
        }
    assert access["forget_samples_read"] == access["forget_samples_decoded"] == 0
    assert access["parts"]["retain_train"]["green"]["read_by_method"] > 0


@pytest.mark.slow
def test_a_class_whose_data_is_gone_can_be_forgotten(parquet_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = parquet_folder(per_class=8)
    made = _train(folder, tmp_path / "original")
    for side in ("train", "test"):
        rows = [row for row in pq.read_table(folder / f"{side}.parquet").to_pylist() if row["label"] != 1]
        labels = [{0: 2, 2: 0, 3: 1}[row["label"]] for row in rows]  # another order of the names, too
        write_parquet(folder / f"{side}.parquet", [r["image"]["bytes"] for r in rows], labels, ("blue", "grey", "red"))
    done = forget("--forget", "green", "--quiet", weights=made, data=f"parquet:{folder}", out=tmp_path / "out")
    assert done.code == 0, done.err
    assert read(tmp_path / "out", "request.json") == {
        "forget": ["green"],
        "forget_ids": [1],
        "already_forgotten": [],
        "classes": ["red", "green", "blue", "grey"],
    }
    parts = read(tmp_path / "out", "access.json")["parts"]
    assert parts["forget_train"] == {}
    assert parts["retain_test"].keys() == {"red", "blue", "grey"}


def test_without_retained_data_a_method_that_reads_none_runs_and_the_audit_says_what_it_needs(
    parquet_folder: Callable[..., Path], tmp_path: Path
) -> None:
    whole = parquet_folder()
    for side in ("train", "test"):
        rows = pq.read_table(whole / f"{side}.parquet")
        pq.write_table(rows.filter(pa.compute.equal(rows["label"], 2)), whole / f"{side}.parquet")
    weights = tmp_path / "weights.safetensors"
    names = ("red", "green", "blue", "grey")
    card = ModelCard(
        model=TINY,
        classes=names,
        forgotten=(),
        shape=(3, 12, 12),
        preprocessing=Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3, channels=3),
    )
    weights.write_bytes(checkpoint_bytes(build_model(TINY, num_classes=4, in_channels=3), card))
    told = ("--weights", weights, "--data", f"parquet:{whole}", "--forget", "blue", "--device", "cpu", "--quiet")
    before = tree(tmp_path)
    needs = ("training samples of the retained classes", "which the audit (--no-audit leaves it out) needs")
    assert_refused(run_cli("forget", *told, "--method", "neggrad", "--out", tmp_path / "out"), *needs)
    missing = run_cli("forget", *told, "--no-audit", "--out", tmp_path / "out")
    assert_refused(missing, "retain_train", "auto", "neggrad, random-label with retain=false, boundary-shrink, delete")
    assert tree(tmp_path) == before
    done = run_cli("forget", *told, "--method", "neggrad", "--no-audit", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert read(tmp_path / "out", "access.json")["parts"]["forget_train"]["blue"]["read_by_method"] > 0
    assert_refused(run_cli("audit", tmp_path / "out", "--device", "cpu"), "which the audit needs")
