"""The committed results of suites: their tables and pages are those that one command makes of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from unlearnkit.compare.changes import changes
from unlearnkit.compare.results import redraw
from unlearnkit.compare.suite import read_suite
from unlearnkit.disk.json_text import parse_json

SUITES = Path(__file__).parents[2] / "benchmarks" / "results" / "suites"
FOLDERS = sorted(path.parent for path in SUITES.glob("*/results.json"))


def test_there_are_results() -> None:
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_tables_and_page_are_made_from_the_results(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "results.json", tmp_path)
    results = redraw(tmp_path / "results.json")
    for name in ("results.md", "results.tex", "index.html"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), f"unlearnkit compare --redraw {folder}"
    assert str(Path.home()) not in (folder / "results.json").read_text()
    measured = {"name": "suite", "suite": parse_json((folder / "results.json").read_bytes())["suite"]}
    shipped = {"name": "suite", "suite": read_suite(folder.name)[1].model_dump(mode="json")}
    assert changes(measured, shipped) == [], "the shipped suite is another by now: measure it again"
    assert all(row["failure"] != "not run yet" for group in results["groups"] for row in group["rows"])
