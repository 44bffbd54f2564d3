"""A run that did not forget says so in the summary, on the report's first screen and by its exit status."""

from __future__ import annotations

from pathlib import Path

from commands import WEIGHTS, read, run_cli


def options(digits_run: Path, out: Path, *more: object) -> list[object]:
    given = ["--weights", digits_run / WEIGHTS, "--data", "digits", "--forget", "3", "--device", "cpu", "--quick"]
    return ["forget", *given, "--out", out, *more]


def test_a_run_that_changed_nothing_says_so(digits_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_cli(*options(digits_run, out, "--method", "original", "--strict"))
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


def test_a_run_that_forgot_does_not(digits_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_cli(*options(digits_run, out, "--method", "head-mask", "--strict"))
    assert done.code == 3, done  # no retrained models: nothing to pass by
    assert "did not forget" not in done.out
    assert read(out, "audit.json")["notices"] == []
    assert "did not forget" not in (out / "report.html").read_text(encoding="utf-8")


def test_strict_without_an_audit_is_refused(digits_run: Path, tmp_path: Path) -> None:
    given = [word for word in options(digits_run, tmp_path / "out", "--no-audit", "--strict") if word != "--quick"]
    refused = run_cli(*given)
    assert refused.code == 2
    assert "--no-audit alone" in refused.err
