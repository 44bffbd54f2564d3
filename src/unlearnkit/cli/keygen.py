"""Defines the command `unlearnkit keygen`: its options, and the step that they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.runtime.terminal import print_json, print_line


def command(
    file: Annotated[Path, typer.Argument(help="file of the new private key; the public one gets .pub behind it")],
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Make a key for `sign`; UNLEARNKIT_PASSPHRASE, where it is set, encrypts it. One of `ssh-keygen` is as good."""
    from unlearnkit.steps.sign import make_keys

    result = make_keys(file)
    if as_json:
        print_json(result)
    elif not quiet:
        print_line(f"private key, for you alone: {result['private']}")
        print_line(f"public key, to give away: {result['public']}")
        print_line(f"its fingerprint: {result['key']}")
