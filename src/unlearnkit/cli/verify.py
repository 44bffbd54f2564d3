"""Defines the command `unlearnkit verify`: its options, and the step that they call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from unlearnkit.cli import options as opt


def command(
    folder: Annotated[Path, typer.Argument(help="run folder")], as_json: opt.Json = False, quiet: opt.Quiet = False
) -> None:
    """Hash a run folder's files and inputs again; exit with 1 where they are not as recorded."""
    from unlearnkit.cli.show import show_verified
    from unlearnkit.steps.verify import verify_run

    result = verify_run(folder)
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    elif not quiet:
        show_verified(result)
    if not result["ok"]:
        raise typer.Exit(1)
