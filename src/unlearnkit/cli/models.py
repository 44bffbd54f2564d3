"""Defines the command `unlearnkit models`: its options, and the step that they call."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from unlearnkit.cli import options as opt


def command(
    pattern: Annotated[str, typer.Argument(help="part of a name, or a pattern such as *resnet*")] = "",
    as_json: opt.Json = False,
) -> None:
    """List the architectures that --model takes by name."""
    from unlearnkit.steps.models import broken_models, model_names

    names = model_names(pattern)
    print(json.dumps(names, indent=2) if as_json else "\n".join(names))
    for sentence in broken_models():
        print(f"unlearnkit: {sentence}", file=sys.stderr)
