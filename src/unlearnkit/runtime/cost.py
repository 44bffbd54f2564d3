"""Holds a stage's cost: seconds, peak memory, operations, and samples, which are counted by hooks on the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn


@dataclass
class Cost:
    """The cost of one stage.

    `seconds` is wall time with the device synchronised, without the decoding of images and without evaluation.
    `samples_forward` and `samples_backward` count images that went through a model in either direction.
    `peak_memory_bytes` is the most memory the device's allocator held (CUDA) or the largest resident set of the
    process so far (CPU). `operations` are floating-point operations (`unlearnkit.runtime.operations`); None where
    nobody counted them, and in a sum with such a cost.

    >>> (Cost(operations=3) + Cost(operations=4)).operations, (Cost(operations=3) + Cost()).operations
    (7, None)
    """

    seconds: float = 0.0
    samples_forward: int = 0
    samples_backward: int = 0
    peak_memory_bytes: int = 0
    operations: int | None = None

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.seconds + other.seconds,
            self.samples_forward + other.samples_forward,
            self.samples_backward + other.samples_backward,
            max(self.peak_memory_bytes, other.peak_memory_bytes),
            None if self.operations is None or other.operations is None else self.operations + other.operations,
        )

    def as_record(self) -> dict[str, Any]:
        """Return the cost as `cost.json` has it: without operations where nobody counted them."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Mark(NamedTuple):
    """A reading of the clock (less decoding), of the meter, and of the operations where they are counted."""

    seconds: float
    forward: int
    backward: int
    operations: int | None = None


class Meter:
    """Counts the samples that pass through the models it is attached to, forward and backward.

    The counting hooks stay on copies: a `copy.deepcopy` of a metered model is metered by the same Meter.
    """

    def __init__(self) -> None:
        self.forward = 0
        self.backward = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Meter:
        return self

    def attach(self, model: nn.Module) -> nn.Module:
        """Start to count the samples of `model`, and return the model."""
        model.register_forward_hook(self._hook)
        return model

    def detach(self, model: nn.Module) -> None:
        """Remove this meter's hooks from `model`."""
        hooks = model._forward_hooks
        for key in [k for k, hook in hooks.items() if getattr(hook, "__self__", None) is self]:
            del hooks[key]

    @contextmanager
    def by_hand(self, model: nn.Module) -> Iterator[None]:
        """Remove the hook in the `with` block.

        Under `torch.func` one call stands for many samples, so the caller counts them.
        """
        before = len(model._forward_hooks)
        self.detach(model)
        try:
            yield
        finally:
            if len(model._forward_hooks) < before:
                self.attach(model)

    def _hook(self, _module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
        if not isinstance(logits, Tensor):
            return
        count = len(logits)
        self.forward += count
        if logits.requires_grad:

            def passed_back(_grad: Tensor) -> None:
                self.backward += count

            logits.register_hook(passed_back)
