"""`--overwrite` deletes what a manifest of ours lists and nothing else, and never an input of the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import FAST, WEIGHTS, assert_refused, run_cli, tree

TRAIN = ("--model", "small-cnn", "--epochs", 1, "--device", "cpu", "--quiet", "--overwrite")
FORGET = ("--forget", "3", "--no-audit", "--quiet", "--overwrite", *FAST)


@pytest.fixture
def run(digits_run: Path, tmp_path: Path) -> Path:
    """A run folder that may be overwritten."""
    return Path(shutil.copytree(digits_run, tmp_path / "run"))


def test_training_data_in_the_folder_is_not_deleted(
    run: Path, tmp_path: Path, parquet_folder: Callable[..., Path]
) -> None:
    data = shutil.move(parquet_folder(), run / "data")
    before = tree(tmp_path)
    assert_refused(run_cli("train", "--data", f"parquet:{data}", "--out", run, *TRAIN), str(data), "inside")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["notes.txt", "more/notes.txt", ".hidden", "empty/"])
def test_a_folder_that_holds_anything_else_is_refused(name: str, run: Path) -> None:
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).mkdir() if name.endswith("/") else (run / name).write_text("mine")
    before = tree(run)
    outcome = run_cli("train", "--data", "digits", "--out", run, *TRAIN)
    assert_refused(outcome, "earlier run folder", name.strip("/"), "which its manifest does not list")
    assert tree(run) == before


def test_a_link_in_the_folder_is_not_followed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (run / "mine").symlink_to(tmp_path / "mine")
    assert_refused(run_cli("train", "--data", "digits", "--out", run, *TRAIN), "mine", "does not list")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "option", ["--weights", "--retrained", "--shadow", "--data", "--audit-data", "--model", "--classes"]
)
def test_no_input_of_a_command_is_overwritten(option: str, run: Path, weights: Path, tmp_path: Path) -> None:
    """Each input lies in the folder, under a name that the manifest lists."""
    (tmp_path / "linked").symlink_to(run)
    values = {
        "--weights": tmp_path / "linked" / WEIGHTS,  # a link on the way does not hide it
        "--retrained": run / WEIGHTS,
        "--shadow": run / WEIGHTS,
        "--data": f"imagefolder:{run}",
        "--audit-data": f"torchvision:CIFAR10:{run}",
        "--model": f"transformers:{run}",
        "--classes": run / "request.txt",
    }
    if option == "--classes":
        (run / "request.txt").write_text("cat\ndog\n")
    given = {"--weights": weights, "--data": "digits"} | {option: values[option]}
    forget = [arg for arg in FORGET if option not in ("--retrained", "--shadow", "--audit-data") or arg != "--no-audit"]
    before = tree(tmp_path)
    outcome = run_cli("forget", *(word for pair in given.items() for word in pair), "--out", run, *forget)
    assert_refused(outcome, "apart from the inputs", "is inside")
    assert tree(tmp_path) == before


def test_an_earlier_run_is_replaced(run: Path) -> None:
    (run / "old.txt").unlink(missing_ok=True)
    assert run_cli("train", "--data", "digits", "--out", run, *TRAIN).code == 0
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_a_manifest_cannot_list_the_rest_of_a_disk(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["artefacts"]["../mine"] = "0" * 64
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert_refused(run_cli("train", "--data", "digits", "--out", run, *TRAIN), "name of a file in", "../mine")
    assert (tmp_path / "mine").read_text() == "mine"
