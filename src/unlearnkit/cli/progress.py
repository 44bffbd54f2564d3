"""Shows progress on standard error: bars on a terminal, one plain line for each stage in a pipe."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from unlearnkit.runtime.terminal import escaped, print_error


class Bars:
    """Rich progress bars, one for each stage."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", style="dim"),
            console=self._console,
        )
        self._task: TaskID | None = None

    def start(self, name: str, total: int) -> None:
        """Begin a stage of `total` steps."""
        self._progress.start()
        self._task = self._progress.add_task(escaped(name), total=total, detail="")

    def advance(self, detail: str = "") -> None:
        """Move the bar on by one step."""
        if self._task is not None:
            self._progress.update(self._task, advance=1, detail=escaped(detail))

    def finish(self) -> None:
        """End the stage; its bar stays on the screen."""
        self._progress.stop()
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(escaped(text), highlight=False, markup=False)


class Lines:
    """One plain line at the start and one at the end of a stage."""

    def __init__(self) -> None:
        self._name, self._began, self._detail = "", 0.0, ""

    def start(self, name: str, total: int) -> None:
        """Begin a stage of `total` steps."""
        self._name, self._began, self._detail = name, time.perf_counter(), ""
        self.say(f"{name}: {total} steps")

    def advance(self, detail: str = "") -> None:
        """Count one step."""
        self._detail = detail or self._detail

    def finish(self) -> None:
        """Print how long the stage took."""
        detail = f", {self._detail}" if self._detail else ""
        self.say(f"{self._name}: done in {time.perf_counter() - self._began:.1f} s{detail}")

    def say(self, text: str) -> None:
        """Print one line."""
        print_error(text)


def progress_for_stderr() -> Bars | Lines:
    """Return bars if standard error is a terminal, else lines."""
    return Bars() if sys.stderr.isatty() else Lines()
