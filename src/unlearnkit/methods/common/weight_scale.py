"""Measures how large a model's weights are, so that learning rates can be given in proportion to them."""

from __future__ import annotations

import torch
from torch import nn

from unlearnkit.errors import ConfigError


def weight_scale(model: nn.Module, *, instead: str) -> float:
    """Return the root mean square of the weights, in proportion to which Adam's steps are large or small.

    sqrt(sum of w^2 / number of w) over all parameters with two dimensions or more (matrices and kernels); biases and
    normalisation are left out.

    Args:
        model: whose weights.
        instead: what the user can do where there is no scale, for the error's sentence.

    Raises:
        ConfigError: the model has no such weight, or all are zero.
    """
    weights = [p.detach() for p in model.parameters() if p.dim() >= 2]
    count = sum(w.numel() for w in weights)
    scale = float(torch.stack([w.double().square().sum() for w in weights]).sum().div(count).sqrt()) if count else 0.0
    if scale == 0.0:
        raise ConfigError(
            f"Expected weights other than zero to derive learning rates from, but the model has none; {instead}."
        )
    return scale
