"""Defines the command `unlearnkit models`: its options, and the step that they call."""

from __future__ import annotations

from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.runtime.terminal import print_error, print_json, print_lines


def command(
    pattern: Annotated[str, typer.Argument(help="part of a name, or a pattern such as *resnet*")] = "",
    as_json: opt.Json = False,
) -> None:
    """List the architectures that --model takes by name."""
    from unlearnkit.steps.models import broken_models, model_names

    names = model_names(pattern)
    if as_json:
        print_json(names)
    else:
        print_lines("\n".join(names))
    for sentence in broken_models():
        print_error(f"unlearnkit: {sentence}")
