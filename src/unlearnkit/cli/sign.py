"""Defines the command `unlearnkit sign`: its options, and the step that they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnkit.cli import options as opt
from unlearnkit.runtime.terminal import print_json, print_line


def command(
    folder: Annotated[Path, typer.Argument(help="run folder")],
    key: Annotated[
        Path,
        typer.Option(
            "--key", help="Ed25519 private key (OpenSSH or PEM); UNLEARNKIT_PASSPHRASE opens an encrypted one"
        ),
    ],
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Sign a run folder as it is now; sign it last, as an audit or a report that comes later is not signed."""
    from unlearnkit.steps.sign import sign_folder

    result = sign_folder(folder, key)
    if as_json:
        print_json(result)
    elif not quiet:
        print_line(f"signed {result['folder']} with the key {result['key']}; signatures in it: {result['signatures']}")
