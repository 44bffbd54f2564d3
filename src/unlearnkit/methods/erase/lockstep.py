"""Runs a model on many batches side by side, all of them halted where a layer is about to run.

A layer can then be changed by what all batches bring to it, before any of them goes on: one forward pass, front to
back, whatever the model's `forward` looks like.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from unlearnkit.runtime.runtime import Runtime

Halt = Callable[[list[Tensor]], None]  # what all batches bring to the layer, in their order


class _StoppedError(Exception):
    """Ends the thread of a batch after another one has failed."""


class _Walk:
    """One batch's way through the model, in a thread of its own that runs only while the others wait."""

    def __init__(self, run: Callable[[], None]) -> None:
        self.place: nn.Module | None = None  # the layer it is halted at
        self.entering: Tensor | None = None
        self.done = False
        self.stop = False
        self.error: Exception | None = None
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._work, args=(run,), daemon=True)
        self._thread.start()

    def _work(self, run: Callable[[], None]) -> None:
        self._go.acquire()
        try:
            if not self.stop:
                run()
        except _StoppedError:
            pass
        except Exception as error:  # noqa: BLE001 - raised again where the batch is waited for: see `advance`
            self.error = error
        self.done, self.place, self.entering = True, None, None
        self._back.release()

    def advance(self) -> None:
        """Go on to the next halt or to the end; an error in the model is raised here."""
        self._go.release()
        self._back.acquire()
        if self.error is not None:
            raise self.error

    def halt(self, place: nn.Module, entering: Tensor) -> None:
        """Wait in front of a layer, in the thread of this batch."""
        self.place, self.entering = place, entering
        self._back.release()
        self._go.acquire()
        if self.stop:
            raise _StoppedError

    def end(self) -> None:
        """Leave the model, wherever the batch is halted."""
        if not self.done:
            self.stop = True
            self._go.release()
            self._thread.join()


def in_lockstep(
    model: nn.Module,
    batches: Iterable[Tensor],
    halts: Mapping[nn.Module, Halt],
    runtime: Runtime,
    *,
    counting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Run `model` once on every batch, without gradients; before a layer of `halts` runs, its function is called.

    The function sees what all batches bring to the layer and may change the layer. Batches are read one at a time,
    and one thread runs at a time, so nothing depends on how threads are scheduled.

    Args:
        model: in the mode that it is to run in.
        batches: images (m, C, H, W).
        halts: layers that run once in a pass, and what is done there.
        runtime: precision and memory layout.
        counting: what counts operations in the thread of each batch (`RunLog.counting`); default: nothing does.
    """
    walks: list[_Walk] = []
    running: list[_Walk] = []

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        running[0].halt(module, args[0] if args else kwargs["input"])

    def start(images: Tensor) -> _Walk:
        def run() -> None:
            with torch.no_grad(), runtime.autocast(), counting():
                model(runtime.inputs(images))

        return _Walk(run)

    def go(walk: _Walk) -> None:
        running[:] = [walk]
        walk.advance()

    handles = [layer.register_forward_pre_hook(enter, with_kwargs=True) for layer in halts]
    try:
        for images in batches:
            walks.append(start(images))
            go(walks[-1])
        while walks and not walks[0].done:
            place = walks[0].place
            assert place is not None
            assert all(walk.place is place for walk in walks), "all batches take the same way"
            halts[place]([walk.entering for walk in walks if walk.entering is not None])
            for walk in walks:
                go(walk)
    finally:
        for walk in walks:
            walk.end()
        for handle in handles:
            handle.remove()
