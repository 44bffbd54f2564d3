"""Modes of a model: held still for a while, or learning in all that is not frozen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unlearnkit.errors import ModelError


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Each module's own mode is put back at the end, also after an error."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for every module; each module's own mode is put back, also after an error."""
    with modes_kept(model):
        model.eval()
        yield


def start_learning(model: nn.Module) -> None:
    """Train mode, but eval mode for BatchNorm layers whose parameters are all frozen: they keep their statistics, too.

    Whoever freezes a layer wants it as it is. In train mode its statistics would follow the training data all the same.
    """
    model.train()
    for layer in batchnorm_layers(model):
        parameters = list(layer.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            layer.eval()


def batchnorm_layers(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the layers that keep batch statistics."""
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradient of any weight; modes and flags are put back, also after an error."""
    flags = {parameter: parameter.requires_grad for parameter in model.parameters()}
    with evaluating(model):
        model.requires_grad_(False)
        try:
            yield
        finally:
            for parameter, flag in flags.items():
                parameter.requires_grad_(flag)


def logits_of(output: object) -> Tensor:
    """Return the logits (n, K) of a model's output: a tensor, or an object with `.logits`; float32 at least.

    Raises:
        ModelError: the output is neither.
    """
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(output).__name__
        raise ModelError(
            f"Expected the model to return logits of shape (n, classes), but got {got}; wrap it so that it does."
        )
    return logits if logits.dtype == torch.float64 else logits.float()
