"""Writes the report.html of a run folder."""

from __future__ import annotations

from pathlib import Path

from unlearnkit.report import render
from unlearnkit.report.words import speaking
from unlearnkit.run_dir import MANIFEST, add_to_run, read_json

REPORT = "report.html"
LANGUAGE = "en"  # where none was ever chosen


def report_run(folder: Path, *, language: str | None = None) -> Path:
    """Render the report of a run folder, write it there, and return its path.

    Args:
        folder: the run folder.
        language: of the page; None: the one that its manifest remembers, else English. It is remembered there.

    Raises:
        ConfigError: there is no such language.
        OutputError: the folder is no run of `forget` or `audit`, or cannot be written.
    """
    chosen = language or str(read_json(folder, MANIFEST).get("language") or LANGUAGE)
    add_to_run(folder, {REPORT: render(folder, chosen)}, facts={"language": chosen})
    return folder / REPORT


def check_language(language: str | None) -> None:
    """Refuse, before any work, a language that the report does not have.

    Raises:
        ConfigError: there is no such language.
    """
    if language is not None:
        speaking(language)
