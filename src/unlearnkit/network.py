"""Sets a model's mode for a while (eval, frozen, train) and restores it, and reads the logits of its output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unlearnkit.errors import ModelError


@contextmanager
def modes_kept(model: nn.Module) -> Iterator[None]:
    """Restore each module's train or eval mode at the end, even after an error."""
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module in eval mode; restore each module's own mode at the end, even after an error."""
    with modes_kept(model):
        model.eval()
        yield


def start_learning(model: nn.Module) -> None:
    """Put the model in train mode, except BatchNorm layers whose parameters are all frozen.

    Those stay in eval mode, so that their statistics are frozen, too.

    Whoever freezes a layer wants it as it is. In train mode its statistics would follow the training data all the same.
    """
    model.train()
    for layer in batchnorm_layers(model):
        parameters = list(layer.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            layer.eval()


def batchnorm_layers(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the BatchNorm layers."""
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode and turn gradients of weights off; restore modes and flags, even after an error."""
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
