"""Defines the command `unlearnkit bank`: its options, and the steps that they call."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

from unlearnkit.cli import options as opt
from unlearnkit.cli.common import print_result


def command(
    action: Annotated[
        Literal["list", "verify", "prune"],
        typer.Argument(
            help="list: what is there; verify: hash every file, exit with 1 where one is not as it was written; prune: "
            "delete what is unfinished or damaged"
        ),
    ],
    bank: opt.Bank = None,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Look after the reference bank, the models that `retrain` made."""
    from unlearnkit.cli.show_bank import show_bank
    from unlearnkit.errors import ConfigError
    from unlearnkit.steps.bank import list_bank, prune_bank, verify_bank
    from unlearnkit.steps.reference_bank import VARIABLE, default_bank

    act = {"list": list_bank, "verify": verify_bank, "prune": prune_bank}[action]
    place = bank or default_bank()
    if (bank is not None or os.environ.get(VARIABLE)) and not place.exists():
        raise ConfigError(
            f"Expected a reference bank at {place}, but there is no such folder; check --bank, or {VARIABLE} where "
            "that is left out."
        )
    result = act(place)
    if as_json:
        print_result(result, as_json, quiet)
    elif not quiet:
        show_bank(result)
    if action == "verify" and any(entry["wrong"] for entry in result["entries"]):
        raise typer.Exit(1)
