"""Records named stages of a run (cost, losses, progress), and stops the run at a non-finite loss.

Shapes: n images, C channels, H x W pixels.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unlearnkit.errors import StageLossError
from unlearnkit.runtime.cost import Cost, Mark, Meter
from unlearnkit.runtime.operations import Operations
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.runtime import Runtime

CHECK_EVERY = 16  # steps between two looks at the losses: a look waits for the device
KEPT = 4  # images of each class that are kept of what a method made


Track = Callable[[dict[str, float], int], None]


class Stage:
    """A running stage: `step` records one loss and advances the progress."""

    def __init__(self, name: str, progress: Progress, track: Track | None = None, first_step: int = 0) -> None:
        self._name, self._progress = name, progress
        self._track, self._first_step = track, first_step
        self._pending: list[Tensor] = []
        self.losses: list[float] = []
        self.began = Mark(0.0, 0, 0)

    def step(self, loss: Tensor) -> None:
        """Record the loss of one step.

        Raises:
            StageLossError: a recent loss is NaN or infinite.
        """
        self._pending.append(loss.detach())
        if len(self._pending) >= CHECK_EVERY:
            self.check()
        self._progress.advance(f"loss {self.losses[-1]:.3f}" if self.losses else "")

    def advance(self) -> None:
        """Advance the progress by a step that has no loss."""
        self._progress.advance()

    def check(self) -> None:
        """Check the losses recorded since the last check."""
        recent = [float(x) for x in torch.stack(self._pending).tolist()] if self._pending else []
        self._pending.clear()
        self.losses.extend(recent)
        for i, value in enumerate(recent):
            if not _finite(value):
                step = len(self.losses) - len(recent) + i + 1
                raise StageLossError(self._name, value, step)
            if self._track is not None:
                self._track({f"{self._name}/loss": value}, self._first_step + len(self.losses) - len(recent) + i)


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")


@dataclass
class RunLog:
    """Record of one run: cost and losses of its stages, notes, progress, and images and files that the method made.

    Args:
        runtime: its device is synchronised around every stage.
        progress: where progress is shown.
        decode_seconds: reads the seconds spent on decoding so far, which are no part of a stage's cost.
        track: called with {"stage/loss": value} and the step of that stage, for an experiment tracker.
    """

    runtime: Runtime
    progress: Progress = field(default_factory=Silent)
    decode_seconds: Callable[[], float] = float
    track: Track | None = None
    meter: Meter = field(default_factory=Meter)
    stages: dict[str, Cost] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    images: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    _paused: float = 0.0
    _operations: Operations | None = None  # there is one from the first `counting` on

    def keep_images(self, name: str, images: Tensor, labels: Tensor) -> None:
        """Keep the first few images that the method itself made for each class; never samples of the data.

        Nothing is written here: whoever called the method decides whether anybody may see them.

        Args:
            name: what they are, for example `noise`.
            images: (n, C, H, W) floating, as the model takes them.
            labels: (n,) int64, the class that each was made for.
        """
        self.images[name] = {
            k: images[(labels == k).to(images.device)][:KEPT].detach().float().cpu() for k in labels.unique().tolist()
        }

    @contextmanager
    def stage(self, name: str, steps: int) -> Iterator[Stage]:
        """Time a stage of `steps` steps; a second stage of the same name adds to the first."""
        self._reset_peak()
        stage = Stage(name, self.progress, self.track, first_step=len(self.history.get(name, ())))
        stage.began = self.mark()
        self.progress.start(name, steps)
        try:
            yield stage
            stage.check()
        finally:  # a stage that failed has cost something too
            self.progress.finish()
            self.stages[name] = self.so_far(name, stage)
            self.history.setdefault(name, []).extend(stage.losses)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the floating-point operations of this thread in the `with` block, where the runtime asks for that.

        Whatever the log clocks there has them in its cost; what other logs clock meanwhile does not.
        """
        if not self.runtime.count_operations:
            yield
            return
        self._operations = self._operations or Operations()
        with self._operations.counting():
            yield

    def so_far(self, name: str, stage: Stage) -> Cost:
        """Return the cost of a running stage, with those of its name before."""
        spent = self.since(stage.began)
        return self.stages[name] + spent if name in self.stages else spent

    def go_on(self, name: str, losses: list[float], cost: Mapping[str, float]) -> None:
        """Take over what an interrupted run recorded of a stage; the stage of that name adds to it."""
        self.history[name] = losses
        self.stages[name] = Cost(
            seconds=cost["seconds"],
            samples_forward=int(cost["samples_forward"]),
            samples_backward=int(cost["samples_backward"]),
            peak_memory_bytes=int(cost["peak_memory_bytes"]),
            operations=int(cost["operations"]) if "operations" in cost else None,
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what happens in the `with` block out of the seconds of a stage."""
        began = self.mark()
        try:
            yield
        finally:
            self._paused += self.mark().seconds - began.seconds

    def mark(self) -> Mark:
        """Read the clock and the meter, with the device synchronised."""
        self.runtime.synchronize()
        seconds = time.perf_counter() - self.decode_seconds() - self._paused
        return Mark(seconds, self.meter.forward, self.meter.backward, self._counted())

    def since(self, mark: Mark) -> Cost:
        """Return the cost since `mark`, without decoding."""
        now = self.mark()
        return Cost(
            now.seconds - mark.seconds,
            now.forward - mark.forward,
            now.backward - mark.backward,
            self._peak(),
            None if now.operations is None or mark.operations is None else now.operations - mark.operations,
        )

    def cost(self, total: Cost | None = None) -> dict[str, Any]:
        """Return the content of `cost.json`: each stage and the total, measured outside or summed over the stages."""
        stages = {name: cost.as_record() for name, cost in self.stages.items()}
        return {"stages": stages, "total": (total or self.total()).as_record()}

    def join(self, total: Cost) -> Cost:
        """Add the samples and operations of all processes in every stage and in `total`, which is returned.

        Seconds stay this process's own: the processes work side by side.
        """
        costs = [total, *self.stages.values()]
        rows = [[c.samples_forward, c.samples_backward, c.operations or 0] for c in costs]
        counts = torch.tensor(rows, device=self.runtime.device)
        self.runtime.processes.sum([counts])
        for cost, (forward, backward, operations) in zip(costs, counts.tolist(), strict=True):
            cost.samples_forward, cost.samples_backward = forward, backward
            cost.operations = None if cost.operations is None else operations
        return total

    def total(self) -> Cost:
        """Return the sum over the stages."""
        return sum(self.stages.values(), Cost(operations=None if self._counted() is None else 0))

    def _counted(self) -> int | None:
        return None if self._operations is None else self._operations.total

    def _reset_peak(self) -> None:
        if self.runtime.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.runtime.device)

    def _peak(self) -> int:
        if self.runtime.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.runtime.device))
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
