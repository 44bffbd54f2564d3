"""The command `tune`: what it writes and prints, and what it refuses."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from canonical import CPU
from commands import Outcome, run_cli
from trained_once import NARROW
from unlearnkit.data.sources.registry import load_data
from unlearnkit.methods.registry import METHODS, make_method
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part, split_for
from unlearnkit.steps.opening import open_model


def tuning(*args: object, weights: Path, out: Path) -> Outcome:
    return run_cli(
        "tune", "--weights", weights / "model.safetensors", "--data", "digits", "--forget", "3", "--out", out,
        "--device", "cpu", *args,
    )  # fmt: skip


SHORT = ("--method", "finetune", "--trials", "3", "--set", "recipe.epochs=1", "--set", "retain_per_class=10")


@pytest.mark.slow
def test_the_command_writes_a_folder_and_names_the_command_that_forgets(narrow_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    done = tuning(*SHORT, "--seed", "4", "--json", "-q", weights=narrow_run, out=out)
    assert done.code == 0, done.err
    result = json.loads(done.out)
    files = {"settings.json", "trials.json", "config.json", "access.json", "cost.json", "manifest.json"}
    assert {path.name for path in out.iterdir()} == files
    chosen = json.loads((out / "settings.json").read_text())
    tried = json.loads((out / "trials.json").read_text())
    assert tried["signal"] == "remade"
    assert len(tried["trials"]) == 3
    assert tried["trials"] == result["trials"]
    assert json.loads((out / "access.json").read_text())["forget_samples_read"] == 0
    fixed = ["recipe.epochs=1", "retain_per_class=10"]
    found = [*fixed, "search=none", *tried["trials"][tried["best"]]["settings"]]
    assert chosen["settings"] == found == result["settings"]
    assert not any(setting.startswith("recipe.epochs") for trial in tried["trials"] for setting in trial["settings"])
    space = json.loads((out / "config.json").read_text())["space"]
    assert space.keys() == METHODS["finetune"]().space().keys() - {"recipe.epochs"}

    assert shlex.split(result["command"]) == chosen["command"]
    program, *words = chosen["command"]
    assert program == "unlearnkit"
    forgot = run_cli(*words, "--no-audit", "-q")
    assert forgot.code == 0, forgot.err
    config = json.loads((tmp_path / "tuned-forgotten" / "config.json").read_text())
    assert config["settings"] == make_method("finetune", settings=chosen["settings"]).model_dump()
    assert config["seed"] == 4
    # the model that the command makes is the one that was judged
    images = load_data("digits")
    rows = split_for(ForgetRequest(classes=("3",)), images)[Part.RETAIN_VAL]
    images.fix_shape(int(rows[0]))
    model = open_model(NARROW, read_checkpoint(tmp_path / "tuned-forgotten" / "model.safetensors"), images)
    predicted = model(images.normalise(images.train.images(rows, CPU.device))).argmax(dim=1)
    accuracy = float((predicted == images.labels("train")[rows]).double().mean())
    best = tried["trials"][tried["best"]]
    assert accuracy == pytest.approx(best["retained"])
    cost = json.loads((tmp_path / "tuned-forgotten" / "cost.json").read_text())["total"]
    assert cost["samples_backward"] == best["cost"]["samples_backward"]


@pytest.mark.slow
def test_the_same_seed_writes_the_same_trials_and_a_person_can_read_them(narrow_run: Path, tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        done = tuning(*SHORT, "--look-at-forgotten", weights=narrow_run, out=tmp_path / name)
        assert done.code == 0, done.err
        trials = json.loads((tmp_path / name / "trials.json").read_text())
        for trial in trials["trials"]:
            trial["cost"] = {key: trial["cost"][key] for key in ("samples_forward", "samples_backward")}
        found.append(trials)
        assert "as given" in done.out
        assert "unlearnkit forget --weights" in done.out
        assert "read by the method and its tuning: 1" in done.out  # some hundred and forty digits
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param(["--method", "retrain"], ["Retrain", "no setting to tune"], id="nothing to tune"),
        pytest.param(["--method", "unsyr"], ["'unsyr'"], id="unknown method"),
        pytest.param(["--trials", "1"], ["two trials", "got 1"], id="one trial"),
        pytest.param(["--method", "unsir", "--set", "impair.lr=-1"], ["'impair.lr'"], id="a setting out of range"),
        pytest.param(["--forget", "11"], ["11"], id="unknown class"),
        pytest.param(["--seed", "-1"], ["seed", "-1"], id="seed"),
    ],
)
def test_bad_requests_are_one_sentence_and_nothing_is_written(
    narrow_run: Path, tmp_path: Path, args: list[str], words: list[str]
) -> None:
    done = tuning(*args, weights=narrow_run, out=tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert all(word in done.err for word in words), done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.iterdir())


def test_without_optuna_the_extra_is_named(narrow_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = tuning(weights=narrow_run, out=tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert "pip install 'unlearnkit[tune]'" in done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_of_a_method_that_searches_switches_that_off(narrow_run: Path, tmp_path: Path) -> None:
    brief = ("--method", "unsir", "--trials", "2", "--set", "noise=none", "--set", "retain_per_class=10")
    done = tuning(*brief, "--json", "-q", weights=narrow_run, out=tmp_path / "tuned")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["settings"][:3] == ["noise=none", "retain_per_class=10", "search=none"]
    assert "--set search=none" in result["command"]
