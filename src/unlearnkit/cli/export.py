"""Defines the command `unlearnkit export`: its options, and the step that they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.cli.common import command_line, print_result


def command(
    folder: Annotated[Path, typer.Argument(help="run folder made by `forget`, or its weights file")],
    out: opt.Out,
    model: opt.MaybeModel = None,
    head: opt.Head = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write a smaller model without the forgotten outputs."""
    from unlearnkit.steps.export import export_run
    from unlearnkit.steps.output import Output

    output = Output(out, overwrite, command=command_line())
    result = export_run(folder, output, model=model, head=head)
    print_result(result, as_json, quiet)
