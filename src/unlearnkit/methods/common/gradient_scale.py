"""Scales the gradient of chosen weights while a model is trained, weight by weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def scaled_gradients(model: nn.Module, factors: Mapping[str, Tensor]) -> Iterator[None]:
    """Multiply gradients by a factor for each weight in the `with` block; the model is left without the hooks.

    The factor is applied to each micro-batch's gradient, which adds up to the same.

    Args:
        model: its trainable parameters named in `factors` are scaled.
        factors: by name, in the shape of the parameter.
    """
    handles = []

    def scale(parameter: Tensor, factor: Tensor) -> None:
        handles.append(parameter.register_hook(lambda gradient: gradient * factor.to(gradient)))

    try:
        for name, parameter in model.named_parameters():
            if name in factors and parameter.requires_grad:
                scale(parameter, factors[name])
        yield
    finally:
        for handle in handles:
            handle.remove()
