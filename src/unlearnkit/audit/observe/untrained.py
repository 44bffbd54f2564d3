"""Builds the untrained model of the same architecture that ZRF compares with."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable

from torch import nn


def incompetent(model: nn.Module) -> tuple[nn.Module, float]:
    """Return a copy of `model` with newly initialised layers, and the share of its weights that were drawn again.

    Every layer is asked to `reset_parameters()`, from the global generator; a parameter that belongs to none that can
    (a class token, a layer whose method wants to be told something) stays as it was trained.
    """
    fresh = copy.deepcopy(model)
    drawn: dict[int, int] = {}
    for module in fresh.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset) and not _wants_arguments(reset):
            reset()
            drawn |= {id(p): p.numel() for p in module.parameters(recurse=False)}
    total = sum(p.numel() for p in fresh.parameters())
    return fresh.eval(), sum(drawn.values()) / total


def _wants_arguments(method: Callable[..., object]) -> bool:
    try:
        inspect.signature(method).bind()
    except TypeError:
        return True
    return False
