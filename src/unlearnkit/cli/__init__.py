"""Runs the command line: parses a command, calls its step, and prints the result.

The exit code is 0 where the work is done, 1 where it failed, and 2 where the request was wrong.

A command is one file here, which knows its options, and a step, which does the work.
"""

from __future__ import annotations

import os
import sys

import typer

from unlearnkit.class_names import unprintable
from unlearnkit.cli import (
    audit,
    bank,
    compare,
    demo,
    export,
    forget,
    keygen,
    ledger,
    methods,
    models,
    report,
    retrain,
    sign,
    train,
    tune,
    verify,
)
from unlearnkit.cli.signals import ending_on_signals
from unlearnkit.errors import ConfigError, UnlearnkitError
from unlearnkit.runtime.terminal import print_error

app = typer.Typer(
    name="unlearnkit",
    help="Make a trained image classifier forget classes, and show the evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (
    demo,
    train,
    retrain,
    forget,
    tune,
    audit,
    bank,
    report,
    compare,
    verify,
    sign,
    keygen,
    ledger,
    export,
    methods,
    models,
):  # the order of --help
    app.command(module.__name__.rpartition(".")[2])(module.command)


def main() -> None:
    """Run a command; a named error becomes one line on standard error and its exit code."""
    rank = os.environ.get("RANK", "0")
    try:
        _check_words(sys.argv[1:])
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and sys.argv[1:2] not in (["train"], ["forget"]):
            raise ConfigError(
                "Expected one process, as only `train` and `forget` run in several processes, but a launcher started "
                f"{os.environ['WORLD_SIZE']}; start this command without the launcher."
            )
        with ending_on_signals():
            app()
    except UnlearnkitError as error:
        print_error(f"unlearnkit{'' if rank == '0' else f' (process {rank})'}: {error}")
        sys.exit(error.exit_code)


def _check_words(words: list[str]) -> None:
    """Refuse names and paths that cannot be printed or written as UTF-8, before anything is read."""
    wrong = next((word for word in words if unprintable(word)), None)
    if wrong is not None:
        raise ConfigError(
            f"Expected words in UTF-8 without control characters, but got {wrong!r}; rename the file or the class."
        )
