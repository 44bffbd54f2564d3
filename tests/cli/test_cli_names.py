"""Names, files and columns on the command line: what is said once, recorded, and found again by an audit."""

from __future__ import annotations

import codecs
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from commands import WEIGHTS, Outcome, assert_refused, read, run_cli
from pictures_on_disk import picture, png, write_parquet
from trained_once import TINY
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import checkpoint_bytes
from unlearnkit.models.metadata import ModelCard

NFD = "cafe\u0301"
NAMES = (NFD, "dog", "owl")
TRAIN = ("train", "--model", TINY, "--epochs", 1, "--device", "cpu", "--image-size", 8)


def folder_of(root: Path, names: tuple[str, ...] = NAMES, count: int = 4) -> Path:
    for side in ("train", "test"):
        for k, name in enumerate(names):
            (root / side / name).mkdir(parents=True)
            for i in range(count):
                picture(k, i).save(root / side / name / f"{i}.png")
    return root


def weights_of(path: Path, classes: tuple[str, ...]) -> Path:
    card = ModelCard(
        model=TINY,
        classes=classes,
        forgotten=(),
        shape=(3, 8, 8),
        preprocessing=Preprocessing(size=8, channels=3).for_pictures(),
    )
    path.write_bytes(checkpoint_bytes(build_model(TINY, num_classes=len(classes), in_channels=3), card))
    return path


def test_what_is_not_read_is_said_once_and_recorded(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data")
    (data / "train" / "dog" / "notes.txt").write_text("a dog")
    (data / "train" / "dog" / "._0.png").write_bytes(b"\0\5\x16\7")
    done = run_cli(*TRAIN, "--data", f"imagefolder:{data}", "--out", tmp_path / "out")
    assert done.code == 0, done
    assert done.err.count("note: 2 files were not read: 1 .txt, 1 hidden.") == 1
    assert read(tmp_path / "out", "config.json")["data_remarks"] == ["2 files were not read: 1 .txt, 1 hidden."]
    quiet = run_cli(*TRAIN, "--data", f"imagefolder:{data}", "--out", tmp_path / "again", "--quiet")
    assert quiet == Outcome(0, "", "")


@pytest.mark.parametrize("asked", [NFD, "caf\u00e9"])
def test_a_class_is_forgotten_in_whatever_form_it_is_asked_for(asked: str, tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data")
    (tmp_path / "classes.txt").write_bytes(codecs.BOM_UTF8 + "\r\n".join(("owl", "caf\u00e9", "dog")).encode())
    card = weights_of(tmp_path / "w.safetensors", ("owl", NFD, "dog"))
    done = run_cli(
        "forget", "--weights", card, "--data", f"imagefolder:{data}", "--forget", asked, "--method", "head-mask",
        "--classes", tmp_path / "classes.txt", "--no-audit", "--quiet", "--device", "cpu", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done == Outcome(0, "", "")
    request = read(tmp_path / "out", "request.json")
    assert (request["forget"], request["forget_ids"]) == (["caf\u00e9"], [1])


def test_a_wide_model_and_few_folders_print_counts(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data", ("class 3", "class 70", "class 200"))
    shutil.rmtree(data / "train" / "class 70")
    (data / "train" / "class 70").mkdir()  # kept empty on purpose
    weights = weights_of(tmp_path / "w.safetensors", tuple(f"class {k}" for k in range(300)))
    done = run_cli(
        "forget", "--weights", weights, "--data", f"imagefolder:{data}", "--forget", "class 70", "--method", "finetune",
        "--set", "recipe.epochs=1", "--no-audit", "--device", "cpu", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 0, done
    assert "note: Of the 300 classes 297 have no image in " in done.err
    assert "note: Of the 300 classes 1 has test images and no training images in " in done.err
    assert "no training samples of class 0, class 1, class 2, class 4, class 5 and 292 more, so nothing" in done.out
    assert len(done.out + done.err) < 3000
    run_cli("report", tmp_path / "out", "--quiet")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "class 5, 292 more" in page


@pytest.mark.slow
def test_a_column_that_was_chosen_is_recorded_and_found_again(tmp_path: Path) -> None:
    pictures = [picture(k, i) for k in range(3) for i in range(4)]
    images, ids = [png(np.asarray(each)) for each in pictures], [k for k in range(3) for _ in range(4)]
    (tmp_path / "data").mkdir()
    for side in ("train", "test"):
        path = tmp_path / "data" / f"{side}.parquet"
        write_parquet(path, images, ids, None)
        table = pq.read_table(path)
        table = table.append_column("kind", table.column("label").cast("string")).drop_columns("label")
        pq.write_table(table, path)
    source = f"parquet:{tmp_path / 'data'}"
    assert_refused(run_cli(*TRAIN, "--data", source, "--out", tmp_path / "x"), "class labels", "kind", "--label-column")
    done = run_cli(*TRAIN, "--data", source, "--label-column", "kind", "--out", tmp_path / "model")
    assert done.code == 0, done
    assert "3 classes are in the order of their names ('0', '1', '2')" in done.err
    done = run_cli(
        "forget", "--weights", tmp_path / "model" / WEIGHTS, "--data", source, "--label-column", "kind",
        "--forget", "1", "--method", "head-mask", "--no-audit", "--quiet", "--device", "cpu", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done == Outcome(0, "", "")
    config = read(tmp_path / "out", "config.json")
    assert (config["image_column"], config["label_column"]) == (None, "kind")
    audited = run_cli("audit", tmp_path / "out", "--quick", "--quiet", "--device", "cpu")
    assert audited.code == 0, audited
