"""Defines the command `unlearnkit report`: its options, and the step that they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.runtime.terminal import print_error, print_line


def command(
    folder: Annotated[Path, typer.Argument(help="run folder")], language: opt.Language = None, quiet: opt.Quiet = False
) -> None:
    """Write the report of a run folder again."""
    from unlearnkit.proof.signatures import superseded
    from unlearnkit.steps.report import report_run

    path = report_run(folder, language=language)
    note = superseded(folder)
    if not quiet:
        if note:
            print_error(note)
        print_line(path)
