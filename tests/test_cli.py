"""The command line: every command, and every bad request as one sentence, exit code 2 and nothing written."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from conftest import Outcome, png, run_cli, write_parquet
from unlearnkit.errors import ConfigError
from unlearnkit.methods import METHODS
from unlearnkit.models import SmallCNN, build_model
from unlearnkit.models.checkpoint import METADATA_KEY, ModelCard, checkpoint_bytes, read_checkpoint
from unlearnkit.steps.demo import demo_run
from unlearnkit.steps.verify import verify_run

SMALL = ("noise.steps=2", "noise.batch_size=8", "retain_per_class=4", "search=none")
FAST = ("--device", "cpu", *(arg for setting in SMALL for arg in ("--set", setting)))
WEIGHTS = "model.safetensors"
ARTEFACTS = {
    "README.md",
    "request.json",
    "config.json",
    "access.json",
    "cost.json",
    "manifest.json",
    WEIGHTS,
    "history.json",
}
DRAWN = {f"embedding-{name}.png" for name in ("original", "unlearned", "retrained")}
DRAWN |= {f"attention-{i}.png" for i in (1, 2, 3)}  # a forgotten class and two retained ones


def tree(folder: Path) -> dict[str, str | None]:
    """Every path under a folder, hidden ones too, with the hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def forget(*args: object, weights: Path, data: str = "digits", out: Path) -> Outcome:
    return run_cli("forget", "--weights", weights, "--data", data, "--out", out, *FAST, *args)


def assert_refused(outcome: Outcome, *words: str) -> None:
    """One sentence on standard error that holds the words, nothing on standard output, exit code 2."""
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("unlearnkit: "), outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.rstrip().endswith((".", "?")), outcome.err
    assert "Traceback" not in outcome.err
    assert all(word in outcome.err for word in words), outcome.err


@pytest.fixture(scope="session")
def weights(digits_run: Path) -> Path:
    return digits_run / WEIGHTS


@pytest.fixture(scope="session")
def audited(digits_run: Path, digits_retrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a forget with its audit; tests that change it take a copy."""
    out = tmp_path_factory.mktemp("cli") / "unlearned"
    done = forget(
        "--forget", "3", "--retrained", digits_retrained / WEIGHTS, "--quiet",
        weights=digits_run / WEIGHTS, out=out,
    )  # fmt: skip
    assert done == Outcome(0, "", "")
    return out


@pytest.fixture
def copied(audited: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(audited, tmp_path / "copy"))


# --- bad requests to `forget`


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
        pytest.param(["--forget", "3", "--image-size", "9"], ["8 for digits", "9"], id="size of digits"),
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
    card = ModelCard(
        model="small-cnn", classes=names, forgotten=(), shape=(3, 8, 8), image_size=None, mean=(0.5,), std=(0.3,)
    )
    path.write_bytes(checkpoint_bytes(SmallCNN(3, 3), card))
    for args in (["--forget", "airplan"], ["--forget", "bird", "--already-forgotten", "airplan"]):
        outcome = forget(*args, weights=path, data=f"parquet:{tmp_path}", out=tmp_path / "out")
        assert_refused(outcome, "'airplan'", "did you mean 'airplane'?")
    outcome = forget("--forget", "bird", "--forget", "2", weights=path, data=f"parquet:{tmp_path}", out=tmp_path / "o")
    assert_refused(outcome, "'bird' (id 2) is named twice")
    assert {p.name for p in tmp_path.iterdir()} == {"train.parquet", "test.parquet", "w.safetensors"}


# --- bad weights


def _truncated(path: Path, whole: bytes) -> None:
    path.write_bytes(whole[: len(whole) // 2])


def _pickle(path: Path, whole: bytes) -> None:
    torch.save(SmallCNN(10).state_dict(), path)


def _empty(path: Path, whole: bytes) -> None:
    path.write_bytes(b"")


def _without_a_key(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)
    checkpoint = read_checkpoint(path)
    assert checkpoint.card is not None
    model = torch.nn.ParameterDict(
        {k.replace(".", "_"): v for k, v in checkpoint.state.items() if v.is_floating_point()}
    )
    path.write_bytes(checkpoint_bytes(model, checkpoint.card))


def _with_metadata(text: str) -> Callable[[Path, bytes], None]:
    def change(path: Path, whole: bytes) -> None:
        path.write_bytes(whole)
        save_file(read_checkpoint(path).state, path, metadata={METADATA_KEY: text})

    return change


def _without_card(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)
    save_file(read_checkpoint(path).state, path)


def _import_path(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)
    checkpoint = read_checkpoint(path)
    assert checkpoint.card is not None
    card = ModelCard(**{**checkpoint.card.__dict__, "model": "evil_module_of_a_stranger:make"})
    model = SmallCNN(10)
    checkpoint.load_into(model)
    path.write_bytes(checkpoint_bytes(model, card))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(_truncated, ["complete safetensors file"], id="truncated"),
        pytest.param(_pickle, ["complete safetensors file", "save_file"], id="pickle"),
        pytest.param(_empty, ["complete safetensors file"], id="empty"),
        pytest.param(_without_a_key, ["missing: features.0.weight", "unexpected: "], id="other keys"),
        pytest.param(_with_metadata("{"), ["model card", "damaged"], id="card is no JSON"),
        pytest.param(_with_metadata("{}"), ["model card", "damaged"], id="card is empty"),
        pytest.param(_without_card, ["does not record one", "--model NAME"], id="no card"),
        pytest.param(_import_path, ["--model evil_module_of_a_stranger:make", "neither is done"], id="import path"),
    ],
)
def test_bad_weights_are_refused(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path, bytes], None],
    words: list[str],
) -> None:
    (tmp_path / "evil_module_of_a_stranger.py").write_text("raise SystemExit('it was run')")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "w.safetensors"
    change(path, weights.read_bytes())
    before = tree(tmp_path)
    for args in (["--forget", "3"], ["--forget", "3", "--no-audit", "--quiet"]):
        assert_refused(forget(*args, weights=path, out=tmp_path / "out"), *words)
    assert_refused(
        run_cli("audit", "--original", path, "--unlearned", weights, "--data", "digits", "--forget", 3,
                "--out", tmp_path / "out"),
        *words,
    )  # fmt: skip
    assert "evil_module_of_a_stranger" not in sys.modules
    assert tree(tmp_path) == before


FACTORIES = """
from unlearnkit.models import SmallCNN
def stubborn(num_classes):
    return SmallCNN(7)
def plain(num_classes):
    return SmallCNN(num_classes)
def text(num_classes):
    return "a model"
def other(classes):
    return SmallCNN(classes)
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "factories_for_the_cli.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return "factories_for_the_cli"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stubborn", ["Expected 10 outputs", "the model has 7"]),
        ("text", ["torch.nn.Module, but got str"]),
        ("other", ["take num_classes="]),
        ("absent", ["cannot be imported", "absent"]),
    ],
)
@pytest.mark.parametrize("command", ["forget", "train"])
def test_a_factory_that_does_not_fit_is_refused(
    weights: Path, tmp_path: Path, factories: str, command: str, name: str, words: list[str]
) -> None:
    given = ["--data", "digits", "--out", tmp_path / "out", "--model", f"{factories}:{name}", "--device", "cpu"]
    more = ["--weights", weights, "--forget", "3"] if command == "forget" else []
    assert_refused(run_cli(command, *given, *more), *words)
    assert set(tree(tmp_path)) == {f"{factories}.py"}


def test_a_factory_of_the_caller_works_when_it_is_named(weights: Path, tmp_path: Path, factories: str) -> None:
    name = f"{factories}:plain"
    first = forget("--forget", 3, "--no-audit", "--quiet", "--model", name, weights=weights, out=tmp_path / "a")
    assert first.code == 0, first.err
    made = tmp_path / "a" / WEIGHTS
    assert_refused(forget("--forget", 4, weights=made, out=tmp_path / "b"), f"--model {name}")
    second = forget("--forget", 4, "--no-audit", "--quiet", "--model", name, weights=made, out=tmp_path / "b")
    assert second.code == 0, second.err


# --- bad data


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
        pytest.param(_change_table(lambda t: t.drop_columns("label")), ["'image' and 'label'"], id="no labels"),
        pytest.param(_change_table(lambda t: t.drop_columns("image")), ["'image' and 'label'"], id="no images"),
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
        "train", "--model", "small-cnn", "--data", f"parquet:{folder}", "--out", tmp_path / "out", "--epochs", 1,
        "--quiet", "--device", "cpu",
    )  # fmt: skip
    assert_refused(outcome, *words)
    assert tree(tmp_path) == before


def _train(folder: Path, out: Path, *args: object) -> Path:
    done = run_cli(
        "train", "--model", "small-cnn", "--data", f"parquet:{folder}", "--out", out, "--epochs", 1, "--quiet",
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


# --- usage errors


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["train"], "--model"),
        (["train", "--model", "small-cnn", "--data", "digits"], "--out"),
        (["forget", "--forget", "3"], "--weights"),
        (["forget", "--seed", "x"], "--seed"),
        (["forget", "--precision", "fp8"], "--precision"),
        (["forget", "--image-size", "0"], "--image-size"),
        (["report"], "argument"),
        (["report", "x", "--language", "fr"], "'en', 'zh'"),
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
    assert_refused(run_cli("audit", audited, "--data", "digits"), "--data")
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


def test_audit_refuses_a_folder_of_another_command(digits_run: Path) -> None:
    before = tree(digits_run)
    assert_refused(run_cli("audit", digits_run), "made by `forget`", "made by `train`")
    assert tree(digits_run) == before


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


# --- what the commands write and print


def test_train_writes_a_run_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / ("a long name " * 8).strip()
    done = run_cli(
        "train", "--model", "small-cnn", "--data", "digits", "--out", out, "--epochs", 1, "--exclude", 3,
        "--exclude", 5, "--seed", 4, "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert f"written to {out}\n" in done.out
    assert done.err.startswith("train: ")
    assert {p.name for p in out.iterdir()} == ARTEFACTS - {"request.json"}
    card = read_checkpoint(out / WEIGHTS).card
    assert card == ModelCard(
        model="small-cnn", classes=tuple("0123456789"), forgotten=("3", "5"), shape=(1, 8, 8), image_size=None,
        mean=(0.3,), std=(0.4,),
    )  # fmt: skip
    parts = read(out, "access.json")["parts"]
    assert {"3", "5"} == parts["excluded_train"].keys()
    assert not {"3", "5"} & parts["retain_train"].keys()
    assert not any(c["decoded"] for c in parts["excluded_train"].values())


def test_training_goes_on_from_weights_and_from_what_they_forgot(digits_retrained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_cli(
        "train", "--model", "small-cnn", "--data", "digits", "--out", out, "--epochs", 1, "--exclude", 5, "--quiet",
        "--init", digits_retrained / WEIGHTS, "--set", "lr=1e-9", "--device", "cpu",
    )  # fmt: skip
    assert done == Outcome(0, "", "")
    before, after = read_checkpoint(digits_retrained / WEIGHTS), read_checkpoint(out / WEIGHTS)
    torch.testing.assert_close(after.state["head.weight"], before.state["head.weight"], rtol=0, atol=1e-5)
    assert after.card is not None
    assert after.card.forgotten == ("3", "5")
    assert read(out, "access.json")["parts"]["excluded_train"].keys() == {"3", "5"}


def test_forget_without_audit_writes_a_run_and_reads_nothing_forgotten(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    original = weights.read_bytes()
    done = forget("--forget", "3", "--forget", 7, "--no-audit", "--json", weights=weights, out=out)
    assert done.code == 0, done.err
    assert {p.name for p in out.iterdir()} == ARTEFACTS | {"pictures.json", "noise-3.png", "noise-7.png"}
    result = json.loads(done.out)
    assert result["forget"] == ["3", "7"]
    assert result["out"] == str(out)
    access = read(out, "access.json")
    assert result["access"] == access
    assert access["forget_samples_read"] == access["forget_samples_decoded"] == 0
    assert read(out, "request.json")["forget_ids"] == [3, 7]
    assert read(out, "config.json")["settings"]["noise"]["steps"] == 2
    manifest = read(out, "manifest.json")
    assert manifest["inputs"] == {str(weights): hashlib.sha256(original).hexdigest()}
    assert manifest["command"][:2] == ["unlearnkit", "forget"]
    for name, digest in manifest["artefacts"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert weights.read_bytes() == original


def test_the_same_command_gives_the_same_weights(weights: Path, without_3: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        done = forget("--forget", 3, "--no-audit", "-q", "--seed", seed, weights=weights, out=tmp_path / str(seed))
        assert done == Outcome(0, "", "")
    paths = (without_3, tmp_path / "0" / WEIGHTS, tmp_path / "1" / WEIGHTS)
    first, again, other = (read_checkpoint(path).state["head.weight"] for path in paths)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_overwrite_replaces_an_earlier_run_and_nothing_else(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = ("--no-audit", "--quiet")
    assert forget("--forget", 3, *args, weights=weights, out=out).code == 0
    before = tree(tmp_path)
    assert_refused(forget("--forget", 4, *args, weights=weights, out=out), "--overwrite")
    assert_refused(forget("--forget", 44, *args, "--overwrite", weights=weights, out=out), "44")
    assert tree(tmp_path) == before
    assert forget("--forget", 4, *args, "--overwrite", weights=weights, out=out).code == 0
    assert read(out, "request.json")["forget"] == ["4"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_run_that_fails_leaves_nothing_and_exits_with_1(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = ["--set", "impair.lr=1000", "--set", "impair.optimizer=sgd", "--set", "impair.epochs=30"]
    done = forget("--forget", 3, "--no-audit", "--quiet", *settings, weights=weights, out=out)
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("unlearnkit: ")
    assert "Lower the learning rate" in done.err
    assert tree(tmp_path) == {}


def test_forget_goes_on_to_the_audit_and_the_report(audited: Path) -> None:
    made = {"audit.json", "report.html", "pictures.json", "noise-3.png"} | DRAWN
    assert {p.name for p in audited.iterdir()} == ARTEFACTS | made
    audit = read(audited, "audit.json")
    models = {(r["model"], r["part"]) for r in audit["readings"] if r["metric"] == "accuracy"}
    assert {(m, "forget_test") for m in ("original", "unlearned", "retrained")} <= models
    assert audit["verdict"]["status"] in ("pass", "fail", "unknown")
    assert len(audit["retrained"]) == 1
    access = read(audited, "access.json")
    assert access["forget_samples_read"] == 0
    assert access["forget_samples_read_by_audit"] > 0
    for name, digest in read(audited, "manifest.json")["artefacts"].items():
        assert hashlib.sha256((audited / name).read_bytes()).hexdigest() == digest


def test_audit_of_a_folder_writes_audit_and_report_again(copied: Path, digits_retrained: Path) -> None:
    before = read(copied, "audit.json"), read(copied, "access.json")
    (copied / "audit.json").unlink()
    (copied / "report.html").unlink()
    done = run_cli("audit", copied, "--retrained", digits_retrained / WEIGHTS, "--device", "cpu", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["audit"]["verdict"] == before[0]["verdict"]
    again = read(copied, "audit.json")
    values = [[(r["metric"], r["model"], r["part"], r["value"]) for r in a["readings"]] for a in (before[0], again)]
    assert values[0] == values[1]
    assert (copied / "report.html").is_file()
    access = read(copied, "access.json")
    assert access["forget_samples_read"] == 0
    assert access["parts"]["retain_train"] == before[1]["parts"]["retain_train"]
    manifest = read(copied, "manifest.json")["artefacts"]
    assert manifest["audit.json"] == hashlib.sha256((copied / "audit.json").read_bytes()).hexdigest()


def test_audit_refuses_weights_that_changed_since(copied: Path, tmp_path: Path, weights: Path) -> None:
    moved = tmp_path / "w.safetensors"
    shutil.copy(weights, moved)
    out = tmp_path / "out"
    assert forget("--forget", 3, "--no-audit", "--quiet", weights=moved, out=out).code == 0
    checkpoint = read_checkpoint(moved)
    assert checkpoint.card is not None
    moved.write_bytes(checkpoint_bytes(SmallCNN(10), checkpoint.card))
    before = tree(out)
    assert_refused(run_cli("audit", out), str(moved), "has changed since", "--original")
    moved.unlink()
    assert_refused(run_cli("audit", out), str(moved), "there is none")
    assert tree(out) == before


def test_strict_audit_exits_with_3_unless_it_passes(copied: Path) -> None:
    done = run_cli("audit", copied, "--strict", "--quiet", "--device", "cpu")
    status = read(copied, "audit.json")["verdict"]["status"]
    assert status != "pass"
    assert done == Outcome(3, "", "")


def test_strict_audit_exits_with_0_when_it_passes(audited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = {"readings": [], "verdict": {"status": "pass", "why": "stubbed"}}
    monkeypatch.setattr("unlearnkit.steps.audit.audit_folder", lambda *_args, **_options: verdict)
    assert run_cli("audit", audited, "--strict", "--quiet") == Outcome(0, "", "")


def test_audit_of_two_weights_files_needs_no_run(
    weights: Path, audited: Path, digits_retrained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run_cli(
        "audit", "--original", weights, "--unlearned", audited / WEIGHTS, "--retrained", digits_retrained / WEIGHTS,
        "--data", "digits", "--forget", "3", "--out", out, "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert {p.name for p in out.iterdir()} == {
        "request.json", "config.json", "access.json", "audit.json", "manifest.json", "report.html", "pictures.json",
        *DRAWN,
    }  # fmt: skip
    assert "verdict: " in done.out
    assert f"written to {out}\n" in done.out

    def accuracies(folder: Path) -> list[float]:
        return [r["value"] for r in read(folder, "audit.json")["readings"] if r["metric"] == "accuracy"]

    assert accuracies(out) == accuracies(audited)
    assert set(read(out, "manifest.json")["inputs"]) == {str(weights), str(audited / WEIGHTS)}


def test_report_writes_the_page_and_prints_its_path(copied: Path) -> None:
    (copied / "report.html").unlink()
    done = run_cli("report", copied)
    assert done == Outcome(0, f"{copied / 'report.html'}\n", "")
    page = (copied / "report.html").read_bytes()
    assert read(copied, "manifest.json")["artefacts"]["report.html"] == hashlib.sha256(page).hexdigest()
    assert run_cli("report", copied, "--quiet") == Outcome(0, "", "")


def language_of(folder: Path) -> str:
    page = (folder / "report.html").read_text(encoding="utf-8")
    found = re.search('<html lang="(.*?)">', page)
    assert found is not None
    return found[1]


def test_the_language_of_a_report_stays_until_another_is_chosen(copied: Path) -> None:
    assert language_of(copied) == "en"
    for args, language in (
        (["report", "--language", "zh"], "zh-Hans"),
        (["report"], "zh-Hans"),
        (["audit", "--quick", "--device", "cpu"], "zh-Hans"),
        (["report", "--language", "en"], "en"),
        (["report"], "en"),
        (["audit", "--quick", "--device", "cpu", "--language", "zh"], "zh-Hans"),
    ):
        done = run_cli(args[0], copied, *args[1:], "--quiet")
        assert done == Outcome(0, "", "")
        assert language_of(copied) == language
    manifest = read(copied, "manifest.json") | {"language": "fr"}
    (copied / "manifest.json").write_text(json.dumps(manifest))
    before = tree(copied)
    assert_refused(run_cli("report", copied), "languages (en, zh)", "'fr'", "--language")
    assert tree(copied) == before


def test_forget_remembers_the_language_for_the_audit(weights: Path, tmp_path: Path) -> None:
    done = forget("--forget", "3", "--no-audit", "--language", "zh", "--quiet", weights=weights, out=tmp_path / "out")
    assert done == Outcome(0, "", "")
    assert run_cli("report", tmp_path / "out", "--quiet").code == 0
    assert language_of(tmp_path / "out") == "zh-Hans"
    with pytest.raises(ConfigError, match="en, zh"):
        demo_run(out=tmp_path / "demo", language="fr")
    assert not (tmp_path / "demo").exists()


def test_export_keeps_the_remaining_logits(audited: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    done = run_cli("export", audited, "--out", out, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["removed"] == ["3"]
    large, small = read_checkpoint(audited / WEIGHTS), read_checkpoint(out / WEIGHTS)
    assert small.card is not None
    assert small.card.classes == tuple("012456789")
    assert small.card.forgotten == ()
    networks = []
    for checkpoint, classes in ((large, 10), (small, 9)):
        network = build_model("small-cnn", num_classes=classes, in_channels=1)
        checkpoint.load_into(network)
        networks.append(network.eval())
    images = torch.randn((20, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, got = networks[0](images), networks[1](images)
    torch.testing.assert_close(got, expected[:, [0, 1, 2, 4, 5, 6, 7, 8, 9]])


def test_export_refuses_weights_that_forgot_nothing(digits_run: Path, tmp_path: Path) -> None:
    assert_refused(run_cli("export", digits_run, "--out", tmp_path / "out"), "records none", "`forget`")
    assert_refused(run_cli("export", tmp_path / "none", "--out", tmp_path / "out"), "there is none")
    assert tree(tmp_path) == {}


def test_the_page_of_methods_is_what_the_command_prints() -> None:
    page = Path(__file__).parent.parent / "docs" / "methods.md"
    outcome = run_cli("methods", "--cards")
    assert outcome.code == 0
    assert outcome.out == page.read_text(encoding="utf-8"), "run: unlearnkit methods --cards > docs/methods.md"


def test_methods_are_listed_for_people_and_machines() -> None:
    shown = run_cli("methods")
    assert shown.code == 0
    assert "noise.steps=" not in shown.out  # the settings of all of them would hide the rest
    assert "unlearnkit methods NAME" in shown.out
    described = json.loads(run_cli("methods", "--json").out)
    assert [method["name"] for method in described] == list(METHODS)
    assert described[0]["name"] == "unsir"
    assert "forget_train" not in described[0]["reads"]
    for method in described:
        facts = (f"reads: {', '.join(method['reads']) or 'nothing'}", f"costs: {method['cost']}")
        assert all(fact in shown.out for fact in facts), method["name"]
    assert [method["name"] for method in described if method["control"]] == ["original", "head-mask"]
    names = {setting["name"] for setting in described[0]["settings"]}
    assert {
        "retain_per_class",
        "noise.batch_size",
        "noise.steps",
        "noise.lr",
        "noise.penalty",
        "noise.repeats",
    } <= names
    assert {f"{stage}.{name}" for stage in ("impair", "repair") for name in ("lr", "epochs", "batch_size")} <= names


def test_settings_and_cards_are_shown_of_the_methods_that_are_named() -> None:
    described = json.loads(run_cli("methods", "scrub", "delete", "--json").out)
    assert [method["name"] for method in described] == ["scrub", "delete"]
    shown = run_cli("methods", "scrub", "delete")
    assert "unsir" not in shown.out
    words = shown.out.split()
    for method in described:
        assert f"presets: {', '.join(method['presets'])}" in shown.out
        for setting in method["settings"]:
            assert f"{setting['name']}={setting['value']}" in words, setting["name"]
    card = run_cli("methods", "delete", "--cards")
    assert "## delete" in card.out
    assert "## scrub" not in card.out
    assert_refused(run_cli("methods", "scrubb"), "'scrubb'", "scrub", "choose one of them")


def test_json_stands_alone_on_standard_output(weights: Path, tmp_path: Path) -> None:
    done = forget("--forget", 3, "--no-audit", "--json", "--quiet", weights=weights, out=tmp_path / "out")
    assert done.err == ""
    assert json.loads(done.out)["cost"]["seconds"] > 0


# --- requests one after another


@pytest.fixture(scope="session")
def without_3(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "without 3"
    assert forget("--forget", 3, "--no-audit", "--quiet", weights=digits_run / WEIGHTS, out=out).code == 0
    return out / WEIGHTS


def test_a_second_request_keeps_the_first_class_out_of_every_part(without_3: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = forget("--forget", 7, "--quiet", weights=without_3, out=out)
    assert done.code == 0, done.err
    card = read_checkpoint(out / WEIGHTS).card
    assert card is not None
    assert set(card.forgotten) == {"3", "7"}
    request = read(out, "request.json")
    assert (request["forget"], request["already_forgotten"]) == (["7"], ["3"])
    parts = read(out, "access.json")["parts"]
    assert parts["forget_train"].keys() == {"7"}
    for side in ("train", "test"):
        gone = parts[f"excluded_{side}"]
        assert gone.keys() == {"3"}
        assert (gone["3"]["read_by_method"], gone["3"]["read_by_audit"], gone["3"]["decoded"]) == (0, 0, 0)
        assert gone["3"]["samples"] > 0
    assert not any("3" in classes for part, classes in parts.items() if not part.startswith("excluded"))


@pytest.mark.parametrize("name", ["3", "03"])
def test_a_class_cannot_be_forgotten_twice(without_3: Path, tmp_path: Path, name: str) -> None:
    outcome = forget("--forget", name, weights=without_3, out=tmp_path / "out")
    assert_refused(outcome, "'3' is already forgotten")
    rest = [x for k in range(10) if k != 3 for x in ("--forget", k)]
    assert_refused(forget(*rest, weights=without_3, out=tmp_path / "out"), "none of the 10 classes")
    assert tree(tmp_path) == {}


def test_naming_a_recorded_class_again_as_already_forgotten_does_no_harm(without_3: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = ("--forget", 7, "--already-forgotten", 3, "--already-forgotten", 5, "--no-audit", "--quiet")
    assert forget(*args, weights=without_3, out=out).code == 0
    assert read(out, "request.json")["already_forgotten"] == ["3", "5"]


def test_audit_of_two_files_leaves_out_what_the_original_forgot(without_3: Path, audited: Path, tmp_path: Path) -> None:
    pair = ["--original", without_3, "--unlearned", audited / WEIGHTS, "--data", "digits", "--out", tmp_path / "out"]
    assert_refused(run_cli("audit", *pair, "--forget", 3), "'3' is already forgotten")
    done = run_cli("audit", *pair, "--forget", 7, "--quiet", "--device", "cpu")
    assert done == Outcome(0, "", "")
    assert read(tmp_path / "out", "request.json")["already_forgotten"] == ["3"]
    assert read(tmp_path / "out", "access.json")["parts"]["excluded_test"]["3"]["read_by_audit"] == 0


# --- the real process


def process(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unlearnkit", *(str(arg) for arg in args)], capture_output=True, text=True, timeout=120
    )


def test_in_a_pipe_progress_is_plain_lines(weights: Path, tmp_path: Path) -> None:
    done = process(
        "forget", "--weights", weights, "--data", "digits", "--forget", 3, "--no-audit", *FAST,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert "noise: 2 steps" in lines
    assert any(line.startswith("impair: done in ") for line in lines)
    assert f"written to {tmp_path / 'out'}" in done.stdout.splitlines()


def test_the_process_says_what_is_wrong_and_exits_with_2(weights: Path, tmp_path: Path) -> None:
    done = process("forget", "--weights", weights, "--data", "digits", "--forget", "33", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "unlearnkit: Expected a class id from 0 to 9, but got 33; the model has 10 classes.\n"
    assert tree(tmp_path) == {}


# --- found in review


def test_an_audit_of_two_files_does_not_claim_what_the_method_read(
    weights: Path, audited: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pair = ("--original", weights, "--unlearned", audited / WEIGHTS)
    done = run_cli("audit", *pair, "--data", "digits", "--forget", "3", "--out", out, "--device", "cpu", "--quiet")
    assert done == Outcome(0, "", "")
    access = read(out, "access.json")
    assert access["forget_samples_read"] is None
    assert access["parts"]["forget_test"]["3"]["read_by_method"] is None
    assert access["parts"]["forget_test"]["3"]["read_by_audit"] == 36
    assert (out / "report.html").is_file()


def test_an_input_inside_the_output_folder_is_refused(digits_run: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(digits_run, tmp_path / "own"))
    before = tree(tmp_path)
    refused = forget("--forget", 3, "--overwrite", weights=own / WEIGHTS, out=own)
    assert_refused(refused, "apart from the inputs", "choose another folder")
    assert_refused(run_cli("export", own, "--out", own, "--overwrite"), "apart from the inputs")
    assert tree(tmp_path) == before


def test_retrained_weights_must_lack_just_the_forgotten_classes(
    weights: Path, digits_retrained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for reference, words in ((weights, "none"), (digits_retrained / WEIGHTS, "'3'")):
        refused = forget("--forget", 5, "--retrained", reference, weights=weights, out=out)
        assert_refused(refused, "retrained without '5'", words, "--exclude 5")
    assert tree(tmp_path) == {}


def moved(weights: Path, out: Path, seed: int) -> Path:
    """The same weights file with every tensor a little moved."""
    state, generator = load_file(weights), torch.Generator().manual_seed(seed)
    state |= {key: v + 0.01 * torch.randn(v.shape, generator=generator) for key, v in state.items() if v.ndim}
    with safe_open(weights, framework="pt") as file:
        save_file(state, out, metadata=file.metadata())
    return out


@pytest.fixture
def pair(weights: Path, audited: Path) -> tuple[object, ...]:
    told = ("--data", "digits", "--quick", "--device", "cpu")
    return ("audit", "--original", weights, "--unlearned", audited / WEIGHTS, *told)


def test_shadows_are_an_attackers_and_are_told_apart(
    pair: tuple[object, ...], audited: Path, digits_retrained: Path, tmp_path: Path
) -> None:
    retrained = [moved(digits_retrained / WEIGHTS, tmp_path / f"r{i}.safetensors", i) for i in range(3)]
    shadows = [moved(audited / WEIGHTS, tmp_path / f"s{i}.safetensors", 3 + i) for i in range(2)]
    judges = [arg for path in retrained for arg in ("--retrained", path)]
    judges += [arg for path in shadows for arg in ("--shadow", path)]
    out = tmp_path / "out"
    done = run_cli(*pair, "--forget", "3", *judges, "--out", out)
    assert done.code == 0, done.err
    content = read(out, "audit.json")
    assert [Path(each["path"]).name for each in content["shadows"]] == ["s0.safetensors", "s1.safetensors"]
    values = {(r["model"], r["replicate"]): r for r in content["readings"] if r["metric"] == "membership_u_lira"}
    assert set(values) == {("unlearned", 0), ("retrained", 0), ("retrained", 1), ("retrained", 2)}
    assert values["unlearned", 0]["value"] > 0.8 > 0.5 > max(values["retrained", i]["value"] for i in range(3))
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Taken for unlearned, by U-LiRA" in page
    assert "s1.safetensors" in page
    named = {file["name"]: file["state"] for file in verify_run(out)["files"]}
    assert named[str(shadows[1])] == "matches"


def test_models_to_judge_by_are_what_they_are_given_as(
    pair: tuple[object, ...], audited: Path, digits_retrained: Path, tmp_path: Path
) -> None:
    first = moved(digits_retrained / WEIGHTS, tmp_path / "first.safetensors", 0)
    other = Path(shutil.copytree(audited, tmp_path / "other"))  # a run of the same method on the same original
    moved(audited / WEIGHTS, other / WEIGHTS, 1)
    before = tree(tmp_path)

    def refused(*options: object, forget: int = 3) -> Outcome:
        return run_cli(*pair, "--forget", forget, *options, "--out", tmp_path / "out")

    twice = refused("--retrained", first, "--shadow", first)
    assert_refused(twice, "made separately", f"the same as {first}, another retrained model's")
    assert_refused(refused("--shadow", audited / WEIGHTS), "the unlearned model's")
    advice = "unlearnkit forget --forget 5"
    assert_refused(
        refused("--shadow", first, forget=5), "a shadow model that forgot '5'", "an original of its own", advice
    )
    assert_refused(refused("--retrained", other / WEIGHTS), "was made by `unlearnkit forget` with unsir")
    assert_refused(refused("--shadow", digits_retrained / WEIGHTS), "was made by `unlearnkit train`", "--retrained")
    assert_refused(refused("--shadow", other / WEIGHTS), "was made from that of the model that is audited")
    config = (other / "config.json").read_bytes()
    settings = json.loads(config)["settings"] | {"alpha": 7}
    (other / "config.json").write_text(json.dumps(json.loads(config) | {"settings": settings}))
    changed = run_cli("audit", audited, "--quick", "--shadow", other / WEIGHTS)
    assert_refused(changed, "made as the audited one, by unsir with the same settings")
    (other / "config.json").write_bytes(config)
    assert tree(tmp_path) == before


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
        model="small-cnn",
        classes=names,
        forgotten=(),
        shape=(3, 12, 12),
        image_size=None,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )
    weights.write_bytes(checkpoint_bytes(build_model("small-cnn", num_classes=4, in_channels=3), card))
    told = ("--weights", weights, "--data", f"parquet:{whole}", "--forget", "blue", "--device", "cpu", "--quiet")
    before = tree(tmp_path)
    needs = ("training samples of the retained classes", "which the audit (--no-audit leaves it out) needs")
    assert_refused(run_cli("forget", *told, "--method", "neggrad", "--out", tmp_path / "out"), *needs)
    missing = run_cli("forget", *told, "--no-audit", "--out", tmp_path / "out")
    assert_refused(missing, "retain_train", "unsir", "neggrad, random-label with retain=false, boundary-shrink, delete")
    assert tree(tmp_path) == before
    done = run_cli("forget", *told, "--method", "neggrad", "--no-audit", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert read(tmp_path / "out", "access.json")["parts"]["forget_train"]["blue"]["read_by_method"] > 0
    assert_refused(run_cli("audit", tmp_path / "out", "--device", "cpu"), "which the audit needs")


def test_without_an_audit_its_options_are_refused(weights: Path, tmp_path: Path) -> None:
    for option in (["--quick"], ["--retrained", weights], ["--shadow", weights], ["--audit-data", "digits"]):
        refused = forget("--forget", 3, "--no-audit", *option, weights=weights, out=tmp_path / "out")
        assert_refused(refused, "--no-audit alone")
    assert tree(tmp_path) == {}


def test_weights_made_for_another_normalisation_are_refused(weights: Path, tmp_path: Path) -> None:
    refused = forget("--forget", 3, "--mean", "0.7", weights=weights, out=tmp_path / "out")
    assert_refused(refused, "(0.7,)", "leave --mean and --std out")


def test_a_later_audit_does_not_forget_what_an_earlier_one_read(copied: Path) -> None:
    access = read(copied, "access.json")
    access["parts"]["forget_train"]["3"]["read_by_audit"] = 999
    access["parts"]["forget_train"]["gone since"] = {
        "samples": 5, "read_by_method": 0, "read_by_audit": 5, "decoded": 5
    }  # fmt: skip
    (copied / "access.json").write_text(json.dumps(access), encoding="utf-8")
    assert run_cli("audit", copied, "--device", "cpu", "--quiet").code == 0
    joined = read(copied, "access.json")
    assert joined["parts"]["forget_train"]["3"]["read_by_audit"] == 999
    assert joined["parts"]["forget_train"]["gone since"]["decoded"] == 5
    assert joined["forget_samples_read_by_audit"] == 999 + 36 + 5
    assert joined["forget_samples_read"] == 0


def test_a_cost_file_of_another_tool_is_left_alone(digits_run: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    shutil.copy(digits_run / WEIGHTS, foreign / WEIGHTS)
    (foreign / "cost.json").write_text('{"euros": 7}')
    assert forget("--forget", 3, "--quiet", weights=foreign / WEIGHTS, out=tmp_path / "out").code == 0
