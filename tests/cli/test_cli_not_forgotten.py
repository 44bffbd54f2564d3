"""A run that did not forget says so in the summary, on the report's first screen and by its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import WEIGHTS, read, run_cli
from unlearnkit.methods.registry import METHODS
from unlearnkit.report.sentences import to_turn
from unlearnkit.report.words import ENGLISH


def options(narrow_run: Path, out: Path, *more: object) -> list[object]:
    given = ["--weights", narrow_run / WEIGHTS, "--data", "digits", "--forget", "3", "--device", "cpu", "--quick"]
    return ["forget", *given, "--out", out, *more]


@pytest.mark.slow
def test_a_run_that_changed_nothing_says_so(narrow_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_cli(*options(narrow_run, out, "--method", "original", "--strict"))
    assert done.code == 4, done
    assert "The model did not forget: it still names" in done.out
    assert "its weights are exactly those from before" in done.out
    assert "`unlearnkit tune`" in done.out
    codes = [notice["code"] for notice in read(out, "audit.json")["notices"]]
    assert codes == ["not_forgotten_chance", "weights_unchanged"]
    page = (out / "report.html").read_text(encoding="utf-8")
    first_screen = page[: page.index("<nav")]
    assert "The model did not forget: it still names" in first_screen
    assert "unlearnkit methods original" in first_screen
    assert run_cli("report", out, "--language", "zh").code == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "模型没有遗忘：对遗忘类的样本" in page[: page.index("<nav")]
    again = run_cli("audit", out, "--quick", "--strict", "--quiet", "--device", "cpu")
    assert (again.code, again.out) == (4, "")


@pytest.mark.slow
def test_the_settings_of_the_method_that_forget_more_are_named(narrow_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = ["--method", "unsir", "--set", "search=none", "--set", "impair.lr=1e-9", "--set", "repair.lr=1e-9"]
    done = run_cli(
        *options(narrow_run, out, *given, "--set", "noise.steps=2", "--set", "retain_per_class=4", "--strict")
    )
    assert done.code == 4, done
    words = "To make unsir forget more, raise impair.lr, impair.epochs with --set"
    assert words in done.out
    assert words in (out / "report.html").read_text(encoding="utf-8")
    assert words in run_cli("audit", out, "--quick", "--device", "cpu").out
    assert run_cli("report", out, "--language", "zh").code == 0
    assert "要让 unsir 遗忘得更多，请用 --set 调高 impair.lr、impair.epochs" in (out / "report.html").read_text("utf-8")


EXACT = {"retrain", "linear-refit", "projective-residual"}  # nothing makes these forget more than they do


@pytest.mark.parametrize("name", METHODS)
def test_what_makes_a_method_forget_more_is_one_of_its_settings(name: str) -> None:
    method = METHODS[name]()
    assert set(method.stronger()) <= set(method.setting_names())
    assert method.control or name in EXACT or method.stronger()


@pytest.mark.parametrize(
    ("stronger", "text"),
    [
        (
            {"dampening": "lower", "ratio": "lower", "a": "raise"},
            "To make m forget more, raise a, lower dampening, ratio",
        ),
        ({}, "Turn up the method's"),
        (None, "Turn up the method's"),
        (["x"], "Turn up the method's"),
        ({"x": ["raise"]}, "Turn up the method's"),
    ],
)
def test_what_a_folder_records_of_settings_becomes_text(stronger: object, text: str) -> None:
    assert to_turn("m", stronger, ENGLISH).startswith(text)


@pytest.mark.slow
def test_a_run_that_forgot_does_not(narrow_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_cli(*options(narrow_run, out, "--method", "head-mask", "--strict"))
    assert done.code == 3, done  # no retrained models: nothing to pass by
    assert "did not forget" not in done.out
    assert read(out, "audit.json")["notices"] == []
    assert "did not forget" not in (out / "report.html").read_text(encoding="utf-8")
