"""Defines the command `unlearnkit demo`: its options, and the step that they call."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.cli.common import command_line, print_result, progress_of


def command(
    out: Annotated[Path, typer.Option("--out", help="folder to write")] = Path("unlearnkit-demo"),
    seed: opt.Seed = 0,
    language: opt.Language = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Train on bundled digits, retrain without the odd ones, forget them, audit, report; under a minute."""
    from unlearnkit.steps.demo import demo_run
    from unlearnkit.steps.output import Output

    output = Output(out, overwrite, language=language, command=command_line())
    result = demo_run(output, seed=seed, progress=progress_of(quiet))
    started = Path(sys.argv[0])
    if started.name == "unlearnkit" and shutil.which("unlearnkit") is None:  # as after `make demo`: not in the PATH
        result["next"] = result["next"].replace("unlearnkit", shlex.quote(str(started)), 1)
    print_result(result, as_json, quiet)
