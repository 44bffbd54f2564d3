"""The step behind `report`: a run folder -> its report.html."""

from __future__ import annotations

from pathlib import Path

from unlearnkit.report import render
from unlearnkit.run_dir import add_to_run

REPORT = "report.html"


def report_run(folder: Path) -> Path:
    """Render the report of a run folder and write it there; returns its path.

    Raises:
        OutputError: the folder is no run of `forget` or `audit`, or cannot be written.
    """
    add_to_run(folder, {REPORT: render(folder)})
    return folder / REPORT
