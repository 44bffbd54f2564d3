"""Measures how far the weights of each layer are from those of the original, and how many are still the same."""

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


@torch.no_grad()
def unchanged_share(original: nn.Module, model: nn.Module) -> float:
    """Return the share of the parameters' elements that are bitwise the original's, in [0, 1]."""
    theirs = dict(model.named_parameters())
    same = total = 0
    for name, parameter in original.named_parameters():
        same += int((theirs[name].detach().cpu() == parameter.detach().cpu()).sum())
        total += parameter.numel()
    return same / total
