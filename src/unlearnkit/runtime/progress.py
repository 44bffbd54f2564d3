"""Progress: what a display of progress must offer, and one that shows nothing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Where a run reports how far it is; `unlearnkit.cli.progress` draws it."""

    def start(self, name: str, total: int) -> None:
        """Begin a stage of `total` steps."""
        ...

    def advance(self, detail: str = "") -> None:
        """One step of the current stage is done."""
        ...

    def finish(self) -> None:
        """The current stage is over."""
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
