"""Defines the command `unlearnkit methods`: its options, and the step that they call."""

from __future__ import annotations

from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.runtime.terminal import print_error, print_json, print_lines


def command(
    names: Annotated[list[str] | None, typer.Argument(help="methods whose settings are wanted")] = None,
    cards: Annotated[bool, typer.Option("--cards", help="print the method cards as a Markdown page")] = False,
    as_json: opt.Json = False,
) -> None:
    """List the unlearning methods and what they read and cost; of those named, also presets and settings."""
    from unlearnkit.cli.show import show_methods, show_settings
    from unlearnkit.methods.cards import LISTED, describe_methods, method_cards
    from unlearnkit.methods.registry import PLUGINS

    if cards:
        print_lines(method_cards(names or LISTED))
        return
    usable, broken = ({}, []) if names else PLUGINS.load_all()
    described = describe_methods(names or [*LISTED, *usable])
    if as_json:
        print_json(described)
    elif names:
        show_settings(described)
    else:
        show_methods(described)
    for sentence in broken:
        print_error(f"unlearnkit: {sentence}")
