"""Reads off the weights of another tool how many channels their first layer takes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from unlearnkit.errors import WeightsError
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import Checkpoint

RGB = 3
ANY_CLASSES = 10  # the model is built for its first layer alone


def channels_of(checkpoint: Checkpoint, name: str) -> Literal[1] | None:
    """Return 1 where the weights take grey images; None where they take RGB, or do not tell.

    The model is built to know its first layer, unless the first convolution in the file takes three channels anyway.

    Args:
        checkpoint: the weights.
        name: of the architecture.

    Raises:
        ModelError: the model cannot be built.
        WeightsError: the first layer takes neither 1 nor 3 channels.
    """
    kernels = (value for value in checkpoint.state.values() if value.dim() == 4)
    first_kernel = next(kernels, None)
    if first_kernel is None or first_kernel.shape[1] == RGB:
        return None
    with torch.random.fork_rng(devices=[]):
        model = build_model(name, num_classes=ANY_CLASSES, in_channels=RGB)
    found = next(((key, layer) for key, layer in model.named_modules() if isinstance(layer, nn.Conv2d)), None)
    if found is None or found[1].groups != 1:
        return None
    weight = checkpoint.matched(model).given.get(f"{found[0]}.weight")
    if weight is None or weight.dim() != 4 or weight.shape[0] != found[1].out_channels or weight.shape[1] == RGB:
        return None
    if weight.shape[1] != 1:
        raise WeightsError(
            f"Expected weights for images of 1 or 3 channels, but {found[0]} in {checkpoint.path} takes "
            f"{weight.shape[1]}; give a model of grey or RGB images."
        )
    return 1
