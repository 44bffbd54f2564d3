"""Bad requests, and bad options: one sentence, exit code 2, and nothing written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from commands import WEIGHTS, assert_refused, forget, run_cli, tree
from pictures_on_disk import png, write_parquet
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import checkpoint_bytes
from unlearnkit.models.metadata import ModelCard


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param([], ["at least one class to forget", "--forget CLASS"], id="no class"),
        pytest.param(["--forget", "three"], ["'three'", "the classes are '0', '1'"], id="unknown class"),
        pytest.param(["--forget", "33"], ["0 to 9", "33"], id="id beyond the last"),
        pytest.param(["--forget", "10"], ["0 to 9", "got 10"], id="id one too high"),
        pytest.param(["--forget", "-1"], ["0 to 9", "got -1"], id="negative id"),
        pytest.param(["--forget", "--5"], ["'--5'"], id="two signs"),
        pytest.param(["--forget", ""], ["''"], id="empty class"),
        pytest.param(["--forget", "3", "--forget", "3"], ["'3'", "twice"], id="a class twice"),
        pytest.param([x for k in range(10) for x in ("--forget", k)], ["none of the 10 classes"], id="all classes"),
        pytest.param(["--forget", "3", "--already-forgotten", "3"], ["'3' is already forgotten"], id="already given"),
        pytest.param(["--forget", "3", "--already-forgotten", "x"], ["'x'"], id="unknown earlier class"),
        pytest.param(["--forget", "3", "--set", "noise.steps=0"], ["'noise.steps'", "'0'", "greater"], id="steps 0"),
        pytest.param(["--forget", "3", "--set", "impair.lr=-1"], ["'impair.lr'", "'-1'", "greater"], id="lr -1"),
        pytest.param(["--forget", "3", "--set", "noise.penalty=-1"], ["'noise.penalty'", "'-1'"], id="penalty -1"),
        pytest.param(["--forget", "3", "--set", "repair.epochs=0"], ["'repair.epochs'", "'0'"], id="epochs 0"),
        pytest.param(["--forget", "3", "--set", "noise.batch_size=0"], ["'noise.batch_size'"], id="batch size 0"),
        pytest.param(["--forget", "3", "--set", "noise.steps=two"], ["'noise.steps'", "'two'"], id="text for a number"),
        pytest.param(["--forget", "3", "--set", "repair.lr=nan"], ["'repair.lr'", "finite"], id="lr nan"),
        pytest.param(["--forget", "3", "--set", "noise.stepz=1"], ["'noise.stepz'", "noise.steps"], id="misspelt"),
        pytest.param(["--forget", "3", "--set", "noise.steps"], ["NAME=VALUE", "'noise.steps'"], id="no value"),
        pytest.param(
            ["--forget", "3", "--set", "retain_per_class=100000"],
            ["retain_per_class", "at most", "100000"],
            id="more retained samples than there are",
        ),
        pytest.param(["--forget", "3", "--method", "unsyr"], ["unsir", "'unsyr'"], id="unknown method"),
        pytest.param(["--forget", "3", "--preset", "papers"], ["default, paper", "'papers'"], id="unknown preset"),
        pytest.param(["--forget", "3", "--device", "gpu"], ["'gpu'", "cuda:N", "leave --device"], id="unknown device"),
        pytest.param(["--forget", "3", "--device", "meta"], ["'meta'", "leave --device"], id="a device without data"),
        pytest.param(["--forget", "3", "--seed", "-1"], ["0 to 2147483647", "-1"], id="negative seed"),
        pytest.param(["--forget", "3", "--seed", str(2**70)], ["0 to 2147483647"], id="huge seed"),
        pytest.param(["--forget", "3", "--mean", "grey"], ["--mean", "'grey'"], id="mean is text"),
        pytest.param(["--forget", "3", "--mean", "0.1,0.2"], ["1 value for mean", "got 2"], id="two means"),
        pytest.param(["--forget", "3", "--mean", "nan"], ["finite", "mean", "nan"], id="mean nan"),
        pytest.param(["--forget", "3", "--std", "0"], ["positive", "std", "0.0"], id="std 0"),
        pytest.param(
            ["--forget", "3", "--image-size", "9"],
            ["8 for digits", "9; leave that out (--image-size and", "or image_size in a suite"],
            id="size of digits",
        ),
        pytest.param(["--forget", "3", "--data", "cifar"], ["digits, parquet", "'cifar'"], id="unknown source"),
        pytest.param(["--forget", "3", "--data", "parquet:/none"], ["/none/train.parquet"], id="no such folder"),
        pytest.param(["--forget", "3", "--weights", "{tmp}/none"], ["{tmp}/none", "there is none"], id="no weights"),
        pytest.param(["--forget", "3", "--weights", "{tmp}"], ["a folder"], id="weights are a folder"),
        pytest.param(
            ["--forget", "3", "--model", "allcnn"],
            ["missing: features.9.weight", "of another shape: features.0.weight", "--model"],
            id="weights of another model",
        ),
        pytest.param(["--forget", "3", "--model", "smal-cnn"], ["did you mean 'small-cnn'"], id="unknown model"),
        pytest.param(["--forget", "3", "--model", "no_such:f"], ["no_such:f", "cannot be imported"], id="no factory"),
        pytest.param(["--forget", "3", "--model", "torchvision:resnet18"], ["3 channels"], id="channels"),
        pytest.param(["--forget", "3", "--retrained", "{tmp}/none"], ["{tmp}/none"], id="no retrained weights"),
        pytest.param(["--forget", "3", "--out", "{tmp}/file"], ["{tmp}/file exists", "--overwrite"], id="out a file"),
        pytest.param(
            ["--forget", "3", "--out", "{tmp}/file", "--overwrite"], ["something else"], id="overwrite a file"
        ),
        pytest.param(["--forget", "3", "--out", "{tmp}/folder"], ["exists", "--overwrite"], id="out exists"),
        pytest.param(
            ["--forget", "3", "--out", "{tmp}/folder", "--overwrite"],
            ["earlier run folder", "something else"],
            id="overwrite what is no run",
        ),
        pytest.param(["--forget", "3", "--out", "{tmp}/file/x"], ["Not a directory"], id="parent a file"),
        pytest.param(["--forget", "3", "--out", "/proc/run"], ["/proc refuses it"], id="parent read-only"),
    ],
)
def test_a_bad_request_to_forget_writes_nothing(
    weights: Path, tmp_path: Path, args: list[object], words: list[str]
) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("years of work")
    before = tree(tmp_path)
    filled = [str(arg).format(tmp=tmp_path) for arg in args]
    outcome = forget(*filled, weights=weights, out=tmp_path / "out")
    assert_refused(outcome, *(word.format(tmp=tmp_path) for word in words))
    assert tree(tmp_path) == before


def test_a_misspelt_class_name_is_answered_with_the_close_one(tmp_path: Path) -> None:
    names = ("airplane", "automobile", "bird")
    images = [png(np.full((8, 8, 3), 80 * k, dtype=np.uint8)) for k in range(3)]
    for side in ("train", "test"):
        write_parquet(tmp_path / f"{side}.parquet", images * 4, [0, 1, 2] * 4, names)
    path = tmp_path / "w.safetensors"
    fed = Preprocessing(mean=(0.5,), std=(0.3,), channels=3)
    card = ModelCard(model="small-cnn", classes=names, forgotten=(), shape=(3, 8, 8), preprocessing=fed)
    path.write_bytes(checkpoint_bytes(SmallCNN(3, 3), card))
    for args in (["--forget", "airplan"], ["--forget", "bird", "--already-forgotten", "airplan"]):
        outcome = forget(*args, weights=path, data=f"parquet:{tmp_path}", out=tmp_path / "out")
        assert_refused(outcome, "'airplan'", "did you mean 'airplane'?")
    outcome = forget("--forget", "bird", "--forget", "2", weights=path, data=f"parquet:{tmp_path}", out=tmp_path / "o")
    assert_refused(outcome, "'bird' (id 2) is named twice")
    assert {p.name for p in tmp_path.iterdir()} == {"train.parquet", "test.parquet", "w.safetensors"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["train"], "--model"),
        (["train", "--model", "small-cnn", "--data", "digits"], "--out"),
        (["forget", "--forget", "3"], "--out"),
        (["forget", "--forget", "3", "--out", "x"], "--data"),
        (["forget", "--seed", "x"], "--seed"),
        (["forget", "--precision", "fp8"], "--precision"),
        (["forget", "--image-size", "0"], "--image-size"),
        (["report"], "argument"),
        (["report", "x", "--language", "fr"], "(en, zh)"),
        (["export", "x"], "--out"),
        (["forgive"], "forgive"),
        (["forget", "--frget", "3"], "--frget"),
    ],
)
def test_a_usage_error_exits_with_2(args: list[str], words: str) -> None:
    outcome = run_cli(*args)
    assert outcome.code == 2
    assert outcome.out == ""
    assert words in outcome.err


def test_audit_needs_a_folder_or_two_weights_files(weights: Path, audited: Path, tmp_path: Path) -> None:
    assert_refused(run_cli("audit"), "--original, --unlearned", "missing")
    assert_refused(run_cli("audit", "--original", weights, "--unlearned", weights, "--data", "digits"), "missing")
    assert_refused(run_cli("audit", audited, "--forget", "3"), "--forget")
    assert_refused(run_cli("audit", audited, "--mean", "0"), "--mean")
    pair = ["--original", weights, "--unlearned", weights, "--data", "digits", "--out", tmp_path / "out"]
    assert_refused(run_cli("audit", *pair), "at least one class")
    assert_refused(run_cli("audit", *pair, "--forget", "3", "--seed", "-1"), "seed")
    assert_refused(run_cli("audit", *pair, "--forget", "3", "--seed", 2**70), "seed")
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("command", ["audit", "report", "verify"])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, command: str) -> None:
    (tmp_path / "folder").mkdir()
    assert_refused(run_cli(command, tmp_path / "folder"), ".json", "there is none")
    assert_refused(run_cli(command, tmp_path / "nothing"), ".json", "there is none")
    assert set(tree(tmp_path)) == {"folder"}


def test_audit_refuses_a_folder_of_another_command(narrow_run: Path) -> None:
    before = tree(narrow_run)
    assert_refused(run_cli("audit", narrow_run), "made by `forget`", "made by `train`")
    assert tree(narrow_run) == before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--epochs", "0"], ["'epochs'", "got '0'"]),
        (["--set", "lr=-1"], ["'lr'", "'-1'"]),
        (["--set", "rate=1"], ["'rate'"]),
        (["--exclude", "11"], ["0 to 9", "11"]),
        (["--exclude", "3", "--exclude", "3"], ["twice"]),
        ([x for k in range(10) for x in ("--exclude", k)], ["retained classes"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--init", "/no/weights"], ["/no/weights"]),
        (["--model", "small"], ["small-cnn"]),
    ],
)
def test_a_bad_request_to_train_writes_nothing(tmp_path: Path, args: list[object], words: list[str]) -> None:
    given = ["--model", "small-cnn", "--data", "digits", "--out", tmp_path / "out"]
    assert_refused(run_cli("train", *given, *args), *words)
    assert tree(tmp_path) == {}


def test_an_input_inside_the_output_folder_is_refused(narrow_run: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(narrow_run, tmp_path / "own"))
    before = tree(tmp_path)
    refused = forget("--forget", 3, "--overwrite", weights=own / WEIGHTS, out=own)
    assert_refused(refused, "apart from the inputs", "choose another folder")
    assert_refused(run_cli("export", own, "--out", own, "--overwrite"), "apart from the inputs")
    assert tree(tmp_path) == before


def test_without_an_audit_its_options_are_refused(weights: Path, tmp_path: Path) -> None:
    for option in (["--quick"], ["--retrained", weights], ["--shadow", weights], ["--audit-data", "digits"]):
        refused = forget("--forget", 3, "--no-audit", *option, weights=weights, out=tmp_path / "out")
        assert_refused(refused, "--no-audit alone")
    assert tree(tmp_path) == {}
