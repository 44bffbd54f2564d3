"""Defines what a display of progress must offer, and one that shows nothing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """The interface through which a run reports its progress; `unlearnkit.cli.progress` displays it."""

    def start(self, name: str, total: int) -> None:
        """Begin a stage of `total` steps."""
        ...

    def advance(self, detail: str = "") -> None:
        """Count one step of the current stage."""
        ...

    def finish(self) -> None:
        """End the current stage."""
        ...

    def say(self, text: str) -> None:
        """Print one line."""
        ...


class Silent:
    """A Progress that shows nothing."""

    def start(self, name: str, total: int) -> None: ...  # noqa: D102
    def advance(self, detail: str = "") -> None: ...  # noqa: D102
    def finish(self) -> None: ...  # noqa: D102
    def say(self, text: str) -> None: ...  # noqa: D102
