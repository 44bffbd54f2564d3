"""Follows the data from the candidates for the head to the logits.

Shapes: n images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

PROBED_CLASSES = 4  # logits whose own output is looked for in the candidate layers


@dataclass
class Runs:
    """Inputs and outputs of a layer, for each time that it ran."""

    channel: int  # dimension of the outputs that counts classes
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)


@contextmanager
def watched(model: nn.Module, num_classes: int, runs: dict[str, Runs]) -> Iterator[None]:
    """Record every run of the layers with `num_classes` outputs, and cut the gradient at their outputs."""
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def record(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
            run = runs.setdefault(name, Runs(channel=-1 if isinstance(module, nn.Linear) else -3))
            # copies, as both may be changed in place later on
            run.inputs.append((args[0] if args else kwargs["input"]).clone())
            run.outputs.append(output.detach().requires_grad_(True))
            return run.outputs[-1].clone()

        handles.append(module.register_forward_hook(record, with_kwargs=True))

    try:
        for name, module in model.named_modules():
            if _outputs(module) == num_classes:
                watch(name, module)
        yield
    finally:
        for handle in handles:
            handle.remove()


def depends(value: Tensor, leaves: Sequence[Tensor]) -> bool:
    """Return whether a tensor was computed from one of the leaves."""
    if not value.requires_grad:
        return False
    return any(g is not None for g in torch.autograd.grad(value.sum(), leaves, retain_graph=True, allow_unused=True))


def makes_logits(run: Runs, logits: Tensor) -> bool:
    """Return whether the logits depend on the layer, and each logit most on the output of its own class.

    A layer that is as wide by chance, before a head that is neither Linear nor Conv2d, fails the second.
    """
    if not depends(logits, run.outputs):
        return False
    classes = logits.shape[1]
    for k in sorted({i * (classes - 1) // max(1, PROBED_CLASSES - 1) for i in range(PROBED_CLASSES)}):
        slopes = torch.zeros_like(logits[0])
        for slope in torch.autograd.grad(logits[:, k].sum(), run.outputs, retain_graph=True, allow_unused=True):
            if slope is not None:
                slopes += slope.to(slopes).movedim(run.channel, 0).reshape(classes, -1).sum(dim=1)
        # all zero where a ReLU after the head is shut: that says nothing
        if slopes[k].abs() < slopes.abs().max() * (1 - 1e-3):
            return False
    return True


def _outputs(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) else None
