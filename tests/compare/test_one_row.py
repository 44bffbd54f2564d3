"""`compare --row` runs the setting of one reported row to its end, and says whether what was published holds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import unlearnkit.compare.reported as reported
import unlearnkit.compare.suite as suites
from commands import Outcome, run_cli

SUITE = """
title = "masked digits"
audit = "quick"
[[settings]]
data = "digits"
model = "small-cnn,width=4"
recipe = ["epochs=1"]
requests = [{ forget = ["3"] }, { forget = ["4"] }]
[[methods]]
name = "head-mask"
label = "masked"
[[methods]]
name = "original"
"""


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two figures of masked digits, whose accuracy on what is forgotten is 0: one says so, the other does not."""
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "masked.toml").write_text(SUITE)
    (tmp_path / "reported").mkdir()
    setting = {"suite": "masked", "data": "digits", "model": "small-cnn,width=4", "forget": ["3"], "method": "masked"}
    figures = {"right": (0.005, 0.01), "wrong": (0.875, 0.05)}
    rows = [
        {
            "id": f"masked-{name}",
            "source": f"an article that is {name}",
            "reading": "accuracy/forget_test",
            "reported": value,
            "tolerance": tolerance,
            **setting,
        }
        for name, (value, tolerance) in figures.items()
    ]
    (tmp_path / "reported" / "digits.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(suites, "SHIPPED", tmp_path / "suites")
    monkeypatch.setattr(reported, "REPORTED", tmp_path / "reported")
    for cached in (reported.reported_rows, reported._shipped):
        cached.cache_clear()
    yield
    for cached in (reported.reported_rows, reported._shipped):
        cached.cache_clear()


@pytest.mark.slow
@pytest.mark.usefixtures("published", "brief_audits")
def test_a_row_is_run_and_held_against_what_was_published(tmp_path: Path) -> None:
    def row(name: str) -> Outcome:
        at = ("--out", tmp_path / "out", "--bank", tmp_path / "bank", "--device", "cpu")
        return run_cli("compare", "--row", name, *at)

    assert run_cli("compare", "--list").out.splitlines() == ["masked", "--row masked-right", "--row masked-wrong"]
    for name, finished in (("masked-right", 0), ("masked-wrong", 1)):
        done = row(name)
        assert (done.code, done.err) == (0, ""), "a figure that does not hold is no error"
        assert f"1 cell, {finished} finished, {1 - finished} to run" in done.out, "both are of one setting"
        lines = done.out.splitlines()
        assert lines[-2] == "done"
        page = Path(lines[-1])
        assert page.parent.name.startswith(f"{name}-")
        (group,) = json.loads((page.parent / "results.json").read_text())["groups"]
        (run,) = group["rows"]
        assert (group["forget"], run["method"], run["failure"]) == (["3"], "masked", None)
        assert run["primary"]["accuracy/forget_test"]["value"] == 0
        table = (page.parent / "results.md").read_text()
        assert (
            "| `masked-right` | an article that is right | accuracy/forget_test | 0.005 | 0 (1 run) | 0.01 | yes |"
            in table
        )
        assert (
            "| `masked-wrong` | an article that is wrong | accuracy/forget_test | 0.875 | 0 (1 run) | 0.05 | no |"
            in table
        )
        shown = re.findall(r'<th scope="row">(masked-\w+)</th>(.*?)</tr>', page.read_text())
        cells = {row: re.findall(r"<td[^>]*>(.*?)</td>", rest)[1:-1] for row, rest in shown}
        assert cells == {
            "masked-right": ["accuracy/forget_test", "0.005", "0 (1 run)", "0.01", "yes"],
            "masked-wrong": ["accuracy/forget_test", "0.875", "0 (1 run)", "0.05", "no"],
        }
    done = row("masked-rihgt")
    assert (done.code, done.out) == (2, "")
    assert "did you mean 'masked-right'?" in done.err
