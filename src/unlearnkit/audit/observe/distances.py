"""Measures how far the weights of each layer are from those of the original."""

from __future__ import annotations

import math

import torch
from torch import nn


@torch.no_grad()
def layer_distances(original: nn.Module, model: nn.Module) -> dict[str, float]:
    """Return the L2 distance of every layer's parameters to the original's, in float64.

    d_l = || theta_l - theta_l^original ||_2 over all parameters of layer l (its weight and bias together). Layers are
    in the model's order. Buffers, such as BatchNorm statistics, are not counted.

    Source: Tarun et al., TNNLS 2023, figure "layer-wise weight distance".
    """
    squares: dict[str, float] = {}
    theirs = dict(model.named_parameters())
    for name, parameter in original.named_parameters():
        layer = name.rpartition(".")[0] or name
        difference = theirs[name].detach().cpu().double() - parameter.detach().cpu().double()
        squares[layer] = squares.get(layer, 0.0) + float(difference.square().sum())
    return {layer: math.sqrt(square) for layer, square in squares.items()}
