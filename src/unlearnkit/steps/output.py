"""Defines Output: the folder that a step writes, and the options for writing it."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from unlearnkit.disk.holding import held
from unlearnkit.errors import OutputError
from unlearnkit.run_dir import check_output
from unlearnkit.steps.ledger import check_ledger
from unlearnkit.steps.report import check_language

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Output:
    """The folder that a step writes, and how it writes it.

    Args:
        folder: the run folder.
        overwrite: whether an earlier run folder may be replaced.
        include_images: whether pictures of samples are written although the data may show people.
        language: of the report; None: the one that it had before, else English.
        command: the command line, for the manifest.
        ledger: file of the ledger that runs of `forget` and `audit` are written into; None: none.
        held: whether the caller keeps other processes from writing the folder.
    """

    folder: Path
    overwrite: bool = False
    include_images: bool = False
    language: str | None = None
    command: Sequence[str] = ()
    ledger: Path | None = None
    held: bool = False

    def check(self, inputs: Sequence[Path] = ()) -> None:
        """Refuse, before any work, a folder that cannot or must not be written.

        Args:
            inputs: files that the step reads, and that must therefore not be inside the folder.

        Raises:
            OutputError: see `check_output`; or the ledger cannot be added to.
            ConfigError: there is no report in the language.
        """
        check_ledger(self.ledger)
        check_output(self.folder, overwrite=self.overwrite, inputs=inputs)
        check_language(self.language)


def holding(step: Callable[P, R]) -> Callable[P, R]:
    """Wrap a step so that no other process writes its output folder while it runs.

    Of several processes that run one step together, the main one holds the folder.
    """

    @functools.wraps(step)
    def held_step(*args: P.args, **kwargs: P.kwargs) -> R:
        output = next(value for value in (*args, *kwargs.values()) if isinstance(value, Output))
        if output.held or os.environ.get("RANK", "0") != "0":
            return step(*args, **kwargs)
        folder = output.folder.absolute()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(held(folder))
            except OSError as error:
                raise OutputError(
                    f"Expected to be able to write {folder}, but {folder.parent} refuses it "
                    f"({error.strerror or error}); choose a folder that you may write to."
                ) from error
            return step(*args, **kwargs)

    return held_step
