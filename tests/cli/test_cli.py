"""What `train`, `forget`, `export` and `methods` write and print, also in a process of their own."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

import forked
from commands import ARTEFACTS, FAST, WEIGHTS, Outcome, assert_refused, forget, read, run_cli, tree
from trained_once import NARROW
from unlearnkit.cli import main
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.methods.registry import CONDITIONAL, METHODS
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.models.metadata import ModelCard


@pytest.mark.parametrize(("on_path", "said"), [(None, "'/a place/bin/unlearnkit' forget"), ("/x", "unlearnkit forget")])
def test_the_command_that_the_demo_names_next_can_be_copied(
    on_path: str | None, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("unlearnkit.steps.demo.demo_run", lambda *_, **__: {"out": "x", "next": "unlearnkit forget"})
    monkeypatch.setattr(shutil, "which", lambda _: on_path)
    monkeypatch.setattr(sys, "argv", ["/a place/bin/unlearnkit", "demo"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capsys.readouterr().out.splitlines()[-1] == said


def test_train_writes_a_run_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / ("a long name " * 8).strip()
    done = run_cli(
        "train", "--model", "small-cnn", "--data", "digits", "--out", out, "--epochs", 1, "--exclude", 3,
        "--exclude", 5, "--seed", 4, "--device", "cpu",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert f"written to {out}\n" in done.out
    assert done.err.startswith("images: 8 x 8 pixels (default)")
    assert "\ntrain: " in done.err
    assert {p.name for p in out.iterdir()} == ARTEFACTS - {"request.json"}
    card = read_checkpoint(out / WEIGHTS).card
    assert card == ModelCard(
        model="small-cnn", classes=tuple("0123456789"), forgotten=("3", "5"), shape=(1, 8, 8),
        preprocessing=Preprocessing(mean=(0.3,), std=(0.4,), channels=1),
    )  # fmt: skip
    parts = read(out, "access.json")["parts"]
    assert {"3", "5"} == parts["excluded_train"].keys()
    assert not {"3", "5"} & parts["retain_train"].keys()
    assert not any(c["decoded"] for c in parts["excluded_train"].values())


def test_training_goes_on_from_weights_and_from_what_they_forgot(narrow_retrained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_cli(
        "train", "--model", NARROW, "--data", "digits", "--out", out, "--epochs", 1, "--exclude", 5, "--quiet",
        "--init", narrow_retrained / WEIGHTS, "--set", "lr=1e-9", "--device", "cpu",
    )  # fmt: skip
    assert done == Outcome(0, "", "")
    before, after = read_checkpoint(narrow_retrained / WEIGHTS), read_checkpoint(out / WEIGHTS)
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


@pytest.mark.slow
def test_the_same_command_gives_the_same_weights(weights: Path, without_3: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        done = forget("--forget", 3, "--no-audit", "-q", "--seed", seed, weights=weights, out=tmp_path / str(seed))
        assert done == Outcome(0, "", "")
    paths = (without_3, tmp_path / "0" / WEIGHTS, tmp_path / "1" / WEIGHTS)
    first, again, other = (read_checkpoint(path).state["head.weight"] for path in paths)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_that_fails_leaves_nothing_and_exits_with_1(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = ["--set", "impair.lr=1000", "--set", "impair.optimizer=sgd", "--set", "impair.epochs=30"]
    done = forget("--forget", 3, "--no-audit", "--quiet", *settings, weights=weights, out=out)
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("unlearnkit: ")
    assert "Lower the learning rate" in done.err
    assert tree(tmp_path) == {}


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
        network = build_model(NARROW, num_classes=classes, in_channels=1)
        checkpoint.load_into(network)
        networks.append(network.eval())
    images = torch.randn((20, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, got = networks[0](images), networks[1](images)
    torch.testing.assert_close(got, expected[:, [0, 1, 2, 4, 5, 6, 7, 8, 9]])


def test_export_refuses_weights_that_forgot_nothing(narrow_run: Path, tmp_path: Path) -> None:
    assert_refused(run_cli("export", narrow_run, "--out", tmp_path / "out"), "records none", "`forget`")
    assert_refused(run_cli("export", tmp_path / "none", "--out", tmp_path / "out"), "there is none")
    assert tree(tmp_path) == {}


def test_the_page_of_methods_is_what_the_command_prints() -> None:
    page = Path(__file__).parents[2] / "docs" / "methods.md"
    outcome = run_cli("methods", "--cards")
    assert outcome.code == 0
    assert outcome.out == page.read_text(encoding="utf-8"), "run: unlearnkit methods --cards > docs/methods.md"


def test_methods_are_listed_for_people_and_machines() -> None:
    shown = run_cli("methods")
    assert shown.code == 0
    assert "noise.steps=" not in shown.out  # the settings of all of them would hide the rest
    assert "unlearnkit methods NAME" in shown.out
    described = json.loads(run_cli("methods", "--json").out)
    assert [method["name"] for method in described] == [*METHODS, *CONDITIONAL]
    assert described[0]["name"] == "auto"
    assert "forget_train" not in described[0]["reads"]
    for method in described:
        facts = (f"reads: {', '.join(method['reads']) or 'nothing'}", f"costs: {method['cost']}")
        assert all(fact in shown.out for fact in facts), method["name"]
    controls = [method["name"] for method in described if method["control"]]
    assert controls == [name for name, kind in (METHODS | CONDITIONAL).items() if kind.control]
    assert {"original", "head-mask"} <= set(controls)
    (unsir,) = (method for method in described if method["name"] == "unsir")
    names = {setting["name"] for setting in unsir["settings"]}
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


@pytest.mark.slow
@pytest.mark.xdist_group(forked.GROUP)
def test_without_a_terminal_progress_is_plain_lines(weights: Path, tmp_path: Path) -> None:
    done = forked.run(
        "unlearnkit", "forget", "--weights", weights, "--data", "digits", "--forget", 3, "--no-audit", *FAST,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stderr
    lines = done.stderr.splitlines()
    assert "noise: 2 steps" in lines
    assert any(line.startswith("impair: done in ") for line in lines)
    assert f"written to {tmp_path / 'out'}" in done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.xdist_group(forked.GROUP)
def test_the_process_says_what_is_wrong_and_exits_with_2(weights: Path, tmp_path: Path) -> None:
    """That imports alone say nothing is held where a fresh interpreter does them, in test_imports.py."""
    done = forked.run(
        "unlearnkit", "forget", "--weights", weights, "--data", "digits", "--forget", "33", "--out", tmp_path / "out"
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "unlearnkit: Expected a class id from 0 to 9, but got 33; the model has 10 classes.\n"
    assert tree(tmp_path) == {}


@pytest.mark.slow
def test_a_cost_file_of_another_tool_is_left_alone(narrow_run: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    shutil.copy(narrow_run / WEIGHTS, foreign / WEIGHTS)
    (foreign / "cost.json").write_text('{"euros": 7}')
    assert forget("--forget", 3, "--quick", "--quiet", weights=foreign / WEIGHTS, out=tmp_path / "out").code == 0
