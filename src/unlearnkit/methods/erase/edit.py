"""Edits one stage: finds its projection, fits its weights to what enters now, and renews statistics behind it.

Shapes: n images, q positions drawn of each, C channels of a stage, G classes to forget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from unlearnkit.methods.erase.directions import (
    carried_difference,
    combined,
    mean_difference,
    mean_noise,
    mean_trust,
    projection,
    reliability,
    resemblance,
    row_directions,
    shared_directions,
    whitened,
    without_shared,
)
from unlearnkit.methods.erase.observe import Observed
from unlearnkit.methods.erase.refit import LeastSquares, input_rows
from unlearnkit.methods.erase.stages import Stage


@dataclass(frozen=True)
class Edit:
    """What is to be done to a stage.

    Args:
        projection: (C, C) float64, of its output.
        mean: (C,) float64, of its output on retained images; it is what the projection leaves where it is.
        count: directions that are taken out.
    """

    projection: Tensor
    mean: Tensor
    count: int


def plan_edit(stage: Stage, seen: Observed, forget: Sequence[int], gone: Sequence[int], strength: float) -> Edit:
    """Find a stage's directions and return the projection that takes them out.

    Args:
        stage: what is to be edited.
        seen: what the original did.
        forget: ids of the classes to forget.
        gone: ids of these and of the classes forgotten earlier.
        strength: 1 takes a direction out, more turns it round.
    """
    features, means = seen.features[stage.name], seen.means[stage.name]
    space, looks = whitened(features, seen.labels), resemblance(seen.entering, seen.rows, forget, gone)
    found = row_directions(features, looks, space)
    norm = stage.norm
    if norm is not None and norm.running_mean is not None:
        noise = mean_noise(images=len(features), momentum=norm.momentum)
        trust = mean_trust(mean_difference(norm.running_mean.cpu(), means, whitened(means, seen.labels)), noise)
        carried = carried_difference(norm.running_mean.cpu(), means, features, space)
        found = combined(found, carried, reliability(features, looks, space), trust)
    basis = without_shared(found, shared_directions(features, seen.labels, space))
    return Edit(projection(basis, space, strength), means.double().mean(dim=0), basis.shape[1])


@torch.no_grad()
def apply_edit(stage: Stage, edit: Edit, *, fitted: LeastSquares | None, ridge: float, absorbs: bool) -> None:
    """Overwrite the stage's weights: those that fit, then the projection.

    Args:
        stage: its weights are overwritten.
        edit: what is taken out.
        fitted: the least squares; None: its weights as they are.
        ridge: see `LeastSquares`.
        absorbs: whether a BatchNorm with new statistics follows, to which a constant makes no difference.
    """
    layer = stage.layer
    if fitted is not None:
        weight, bias = fitted.solve(ridge)
    else:
        weight = layer.weight.flatten(1).cpu().double()
        bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.cpu().double()
    bias = edit.projection @ bias
    if not absorbs:  # P (y - mean) + mean, as far as there is a bias to hold the constant
        bias = bias + edit.mean - edit.projection @ edit.mean
    layer.weight.copy_((edit.projection @ weight).reshape(layer.weight.shape))
    if layer.bias is not None and layer.bias.requires_grad:
        layer.bias.copy_(bias)


def least_squares(stage: Stage, entering: Sequence[Tensor], seen: Observed, *, absorbs: bool) -> LeastSquares:
    """Sum up the fit from what enters the stage now to what the original gave there.

    Args:
        stage: its weights are where the fit starts.
        entering: what all batches bring to it.
        seen: positions and outputs of the original.
        absorbs: see `apply_edit`.
    """
    layer, chosen, outputs = stage.layer, seen.chosen[stage.name], seen.outputs[stage.name]
    free_bias = layer.bias is not None and layer.bias.requires_grad
    squares = LeastSquares(layer.weight, layer.bias, intercept=absorbs or free_bias)
    row = 0
    for values, chosen_nq in zip(entering, chosen.split(seen.batch), strict=True):
        inputs = input_rows(layer, values, chosen_nq)
        squares.add(inputs, outputs[row : row + len(inputs)])
        row += len(inputs)
    return squares


@torch.no_grad()
def renew_statistics(norm: _BatchNorm, entering: Sequence[Tensor]) -> None:
    """Set the running statistics to those of what all batches bring to the layer."""
    flat = [values.transpose(0, 1).flatten(1).float() for values in entering]
    count = sum(values.shape[1] for values in flat)
    mean = torch.stack([values.sum(dim=1) for values in flat]).sum(dim=0) / count
    squares = torch.stack([(values - mean[:, None]).square().sum(dim=1) for values in flat]).sum(dim=0)
    if norm.running_mean is not None and norm.running_var is not None:
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(squares / max(1, count - 1))
