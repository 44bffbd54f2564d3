"""Defines Output: the folder that a step writes, and the options for writing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearnkit.run_dir import check_output
from unlearnkit.steps.report import check_language


@dataclass(frozen=True)
class Output:
    """The folder that a step writes, and how it writes it.

    Args:
        folder: the run folder.
        overwrite: whether an earlier run folder may be replaced.
        include_images: whether pictures of samples are written although the data may show people.
        language: of the report; None: the one that it had before, else English.
        command: the command line, for the manifest.
    """

    folder: Path
    overwrite: bool = False
    include_images: bool = False
    language: str | None = None
    command: Sequence[str] = ()

    def check(self, inputs: Sequence[Path] = ()) -> None:
        """Refuse, before any work, a folder that cannot or must not be written.

        Args:
            inputs: files that the step reads, and that must therefore not be inside the folder.

        Raises:
            OutputError: see `check_output`.
            ConfigError: there is no report in the language.
        """
        check_output(self.folder, overwrite=self.overwrite, inputs=inputs)
        check_language(self.language)
