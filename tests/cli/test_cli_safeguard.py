"""A run that costs more retained accuracy than it may says so, and with `--strict` fails and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from commands import WEIGHTS, Outcome, assert_refused, read, run_cli
from unlearnkit.methods.choice import RECOMMENDED, TUNED

HARMFUL = ("--method", "unsir", "--set", "search=none", "--set", "impair.lr=0.3", "--set", "repair.lr=1e-6")
BRIEF = ("--set", "noise.steps=2", "--set", "repair.epochs=1", "--set", "retain_per_class=20")


def forget(narrow_run: Path, out: Path, *more: object) -> Outcome:
    given = ["--weights", narrow_run / WEIGHTS, "--data", "digits", "--forget", "3", "--device", "cpu", "--no-audit"]
    return run_cli("forget", *given, "--out", out, *HARMFUL, *BRIEF, *more)


@pytest.mark.slow
def test_lost_accuracy_is_on_the_terminal_and_on_the_first_screen(narrow_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = forget(narrow_run, out)
    assert done.code == 0, done
    [line] = [line for line in done.out.splitlines() if line.startswith("warning: of ")]
    assert "is lost (one-sided, 95 %), more than the 2.0% that may be" in line
    assert read(out, "config.json")["notes"]["safeguard"]["code"] == "retained_accuracy_lost"
    for language, text in (("en", "The retained classes may have suffered: of "), ("zh", "保留类可能受到了损害：在 ")):
        assert run_cli("report", out, "--language", language).code == 0
        page = (out / "report.html").read_text(encoding="utf-8")
        assert text in page[: page.index("<nav")]


@pytest.mark.slow
def test_strict_writes_nothing_and_exits_with_1(narrow_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = forget(narrow_run, out, "--strict")
    assert (done.code, done.out) == (1, "")
    assert "Expected to lose at most 2.0% of the retained accuracy, but of " in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_tolerance_decides(narrow_run: Path, tmp_path: Path) -> None:
    done = forget(narrow_run, tmp_path / "out", "--strict", "--tolerance", "0.99")
    assert done.code == 0, done
    assert "warning: of " not in done.out


@pytest.mark.parametrize("tolerance", ["1", "-0.5", "nan"])
def test_a_tolerance_that_is_no_fraction_is_refused(narrow_run: Path, tmp_path: Path, tolerance: str) -> None:
    refused = forget(narrow_run, tmp_path / "out", "--tolerance", tolerance)
    assert_refused(refused, "Expected a tolerance from 0 to below 1")


@pytest.mark.slow
def test_a_direction_that_may_be_wrong_is_on_the_terminal(
    narrow_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--weights", narrow_run / WEIGHTS, "--data", "digits", "--forget", "3", "--device", "cpu", "--no-audit"]
    for least, warned in ((2.0, True), (-1.0, False)):
        monkeypatch.setattr("unlearnkit.methods.erase.trust.LEAST_TRUST", least)
        out = tmp_path / str(least)
        done = run_cli("forget", *given, "--out", out, "--method", "erase")
        assert done.code == 0, done
        cosine = read(out, "config.json")["notes"]["erase"]["trust"]
        assert -1 <= cosine <= 1
        assert (f"have a cosine of {cosine:.2f} with the truth" in done.out) == warned


@pytest.mark.slow
def test_without_a_method_the_recommended_one_runs(narrow_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ["--weights", narrow_run / WEIGHTS, "--data", "digits", "--forget", "3", "--device", "cpu", "--no-audit"]
    done = run_cli("forget", *given, "--out", out)
    assert done.code == 0, done
    config = read(out, "config.json")
    assert config["method"] == RECOMMENDED
    (first, *_) = config["notes"]["auto"]["tried"]
    kept = config["notes"]["auto"]["kept"]
    assert (kept == "erase") == (max(first["aims_at"], first.get("shows", 0)) <= 0.5)
    assert f"auto kept {kept}" in done.out
    assert kept == "erase" or "of the resemblance to the class" in done.out
    assert "of 63 retained validation samples " in done.out
    for command, method in (("forget", RECOMMENDED), ("tune", TUNED)):
        assert f"default: {method}" in " ".join(run_cli(command, "--help").out.replace("\u2502", " ").split())


def test_where_erase_cannot_serve_a_model_unsir_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A single linear layer: there is nothing before the head."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "single_layer.py").write_text(
        "from torch import nn\n\n\ndef make(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).state_dict(), tmp_path / "single.pt")
    refused = run_cli(
        "forget", "--weights", tmp_path / "single.pt", "--model", "single_layer:make", "--channels", "1",
        "--data", "digits", "--forget", "3", "--method", "erase", "--device", "cpu", "--trust-inputs",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert refused.code == 2, refused
    assert "unsir" in refused.err
