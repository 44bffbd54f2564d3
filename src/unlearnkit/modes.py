"""Hold a model still for a while, and put every module's mode and every parameter's flag back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for every module; each module's own mode is put back, also after an error."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


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
