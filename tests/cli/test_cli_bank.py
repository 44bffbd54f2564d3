"""The commands `retrain` and `bank`, and `--references` of `forget` and `audit`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import WEIGHTS, assert_refused, read, run_cli
from trained_once import trained
from unlearnkit.cli.show_bank import show_bank
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.original import original_run
from unlearnkit.steps.reference_bank import folders_of
from unlearnkit.steps.specs import TrainSpec

CPU = ("--device", "cpu")


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return trained(tmp_path / "original")


@pytest.mark.slow
def test_from_the_original_to_a_verdict_without_naming_a_reference(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = tmp_path / "bank"
    monkeypatch.setenv("UNLEARNKIT_BANK", str(bank))
    forget = ("forget", "--weights", original / WEIGHTS, "--data", "digits", "--forget", 3, "--method", "head-mask")
    out = ("--out", tmp_path / "out", "--quick", *CPU)
    assert_refused(run_cli(*forget, *out, "--references", "auto"), "none fits", f"retrain --of {original} --exclude 3`")
    assert not (tmp_path / "out").exists()

    retrain = ("retrain", "--of", original, "--exclude", 3, *CPU)
    done = run_cli(*retrain)
    assert done.code == 0, done.err
    *paths, summary, place = done.out.splitlines()
    assert sorted(paths) == [str(folder / WEIGHTS) for folder in folders_of(bank)]
    assert summary == "retrained without 3: 3, of which 3 now and 0 earlier"
    assert place == f"bank: {bank}"
    again = run_cli(*retrain, "--json")
    assert "training" not in again.err
    result = json.loads(again.out)
    assert [each["path"] for each in result["references"]] == paths
    assert not any(each["trained"] for each in result["references"])

    done = run_cli(*forget, *out, "--references", "auto")
    assert done.code == 0, done.err
    assert "3 retrained" in done.out
    assert [each["path"] for each in read(tmp_path / "out", "audit.json")["retrained"]] == paths
    done = run_cli("audit", tmp_path / "out", "--quick", *CPU, "--references", bank, "--quiet")
    assert (done.code, done.out) == (0, ""), done.err
    assert [each["path"] for each in read(tmp_path / "out", "audit.json")["retrained"]] == paths


def test_the_bank_is_listed_verified_and_pruned(original: Path, tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    at = ("--bank", bank)
    made = run_cli("retrain", "--of", original, "--exclude", 3, "--count", 1, *at, *CPU, "--quiet")
    assert (made.code, made.out, made.err) == (0, "", "")
    (folder,) = folders_of(bank)
    line = f"{folder.name}  small-cnn,width=4 on digits without 3, seed 1"
    for action in ("list", "verify"):
        done = run_cli("bank", action, *at)
        assert (done.code, done.err) == (0, "")
        assert done.out.splitlines() == [line, f"in the bank {bank}: 1"]
    (folder / WEIGHTS).unlink()
    done = run_cli("bank", "verify", *at)
    assert done.code == 1
    assert f"{folder.name}  WRONG  {WEIGHTS} is missing." in done.out
    done = run_cli("bank", "prune", *at)
    assert done.out.splitlines() == [folder.name, f"deleted from the bank {bank}: 1"]
    assert json.loads(run_cli("bank", "list", *at, "--json").out) == {"bank": str(bank), "entries": []}


@pytest.mark.parametrize("action", ["list", "verify", "prune"])
def test_a_bank_that_somebody_named_must_be_there(action: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = f"Expected a reference bank at {tmp_path / 'typo'}, but there is no such folder"
    assert_refused(run_cli("bank", action, "--bank", tmp_path / "typo"), said)
    monkeypatch.setenv("UNLEARNKIT_BANK", str(tmp_path / "typo"))
    assert_refused(run_cli("bank", action), said)
    assert not (tmp_path / "typo").exists()
    monkeypatch.delenv("UNLEARNKIT_BANK")
    monkeypatch.setattr("unlearnkit.steps.reference_bank.default_bank", lambda: tmp_path / "later")
    done = run_cli("bank", action)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(f"the bank {tmp_path / 'later'}: 0\n")


def test_a_line_says_what_a_model_was_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"key": "k", "wrong": None, "model": "m", "data": "d", "excluded": [], "rows": False, "seed": 0}
    found = [entry, entry | {"rows": True}, entry | {"excluded": ["3", "5"]}, entry | {"excluded": ["3"], "rows": True}]
    show_bank({"bank": "b", "entries": found})
    assert capsys.readouterr().out.splitlines()[:-1] == [
        "k  m on d, all classes, seed 0",
        "k  m on d without some rows, seed 0",
        "k  m on d without 3, 5, seed 0",
        "k  m on d without 3 and some rows, seed 0",
    ]


def test_an_original_of_a_bank_knows_all_classes_and_rows_that_lack_are_said(original: Path, tmp_path: Path) -> None:
    at = ("--bank", tmp_path / "bank")
    keys = tmp_path / "rows.csv"
    keys.write_text("row\n4\n9\n")
    done = run_cli("retrain", "--of", original, "--exclude-rows", keys, "--count", 1, *at, *CPU)
    assert done.code == 0, done.err
    assert "retrained without some rows: 1, of which 1 now" in done.out
    spec = TrainSpec(model="small-cnn,width=4", data="digits", settings=("epochs=1",))
    original_run(spec, tmp_path / "bank", seed=0, runtime=Runtime.named("cpu", "auto"))
    lines = [line.partition("  ")[2] for line in run_cli("bank", "list", *at).out.splitlines()[:-1]]
    assert sorted(lines) == [
        "small-cnn,width=4 on digits without some rows, seed 1",
        "small-cnn,width=4 on digits, all classes, seed 0",
    ]


def test_refusals(original: Path, tmp_path: Path) -> None:
    bank = ("--bank", tmp_path / "bank")
    assert_refused(run_cli("retrain", "--of", original, *bank, *CPU), "--exclude CLASS")
    assert_refused(run_cli("retrain", "--of", tmp_path, "--exclude", 3, *bank), "records no training", "--retrained")
    assert_refused(run_cli("retrain", "--of", original, "--exclude", 3, "--seed", 0, *bank), "--seed 1")
    no_audit = ("--forget", 3, "--out", tmp_path / "out", "--no-audit", "--references", "auto")
    assert_refused(
        run_cli("forget", "--weights", original / WEIGHTS, "--data", "digits", *no_audit), "--no-audit alone"
    )
    assert not (tmp_path / "bank").exists()
