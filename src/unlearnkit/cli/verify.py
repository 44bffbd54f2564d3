"""Defines the command `unlearnkit verify`: its options, and the step that they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.runtime.terminal import print_json


def command(
    folder: Annotated[Path, typer.Argument(help="run folder")],
    key: Annotated[
        Path | None, typer.Option("--key", help="public key (OpenSSH or PEM) whose signature must be there")
    ] = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Hash a run folder's files and inputs again; exit with 1 where they are not as recorded, or as signed."""
    from unlearnkit.cli.show import show_verified
    from unlearnkit.steps.verify import verify_run

    result = verify_run(folder, key)
    if as_json:
        print_json(result)
    elif not quiet:
        show_verified(result)
    if not result["ok"]:
        raise typer.Exit(1)
