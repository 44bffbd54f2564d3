"""Edits one stage: fits its weights to what enters now, takes the classes' directions out, renews statistics behind it.

Shapes: n images, q positions drawn of each, C channels of a stage, G classes to forget, g directions of a stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from unlearnkit.methods.erase.directions import (
    ROW_TRUST,
    TINY,
    Whitened,
    orthonormal,
    projection,
    shared_directions,
    showing,
    standardised,
    whitened,
)
from unlearnkit.methods.erase.observe import Observed, channels_first, channels_last, features_of, over_positions
from unlearnkit.methods.erase.refit import LeastSquares, input_rows
from unlearnkit.methods.erase.stages import Stage

TRIES, MOST = 3, 4.0  # of the search for a strength, and the highest that it may find
SLOWEST = 0.1  # what the search takes a strength of 1 to achieve, at least


@dataclass(frozen=True)
class Edit:
    """What is to be done to a stage.

    Args:
        projection: (C, C) float64, of its output.
        mean: (C,) float64, of its output on retained images; it is what the projection leaves where it is.
        shown: by forgotten class, the share of the resemblance that shows (`directions.showing`) before the edit.
        strengths: by direction, how much of it is taken out.
    """

    projection: Tensor
    mean: Tensor
    shown: list[float]
    strengths: list[float]


def find_edit(stage: Stage, outputs: Sequence[Tensor], seen: Observed, looks_nG: Tensor, target_G: Tensor) -> Edit:
    """Find the directions in what a stage gives now, and how much of them is to be taken out.

    A direction along which less than the target shows, or no more than noise may be, is left alone. Directions are
    estimated from what this network gives, edited as it is so far, and not from what the original gave: it has moved.

    Args:
        stage: what is to be edited.
        outputs: what it gives for all batches, (m, C, H, W) or (..., C).
        seen: what the original did.
        looks_nG: the resemblance, see `directions.resemblance`.
        target_G: what of it may show along the first, second, ... main direction, see `directions.showing`.
    """
    features = _features(stage, outputs, seen)
    space = whitened(features, seen.labels)
    found = showing(features, looks_nG, space, shared_directions(features, seen.labels, space))
    over = ((found.sizes >= target_G) & (found.sizes > found.noise)).nonzero()[:, 0]
    basis_Cg, own = orthonormal(found.directions[:, over])
    over = over[own]
    strengths_g = _strengths(
        stage,
        outputs,
        seen,
        features,
        basis_Cg,
        space,
        looks_ng=standardised(looks_nG) @ found.mixes[:, over],
        wanted_g=wanted(found.sizes[over], target_G[over]) / found.sizes[over].clamp_min(TINY),
    )
    means = [over_positions(stage.layer, y, n) for y, n in zip(outputs, seen.sizes, strict=True)]
    change = projection(basis_Cg, space, strengths_g)
    return Edit(change, torch.cat(means).mean(dim=0).cpu().double(), found.by_class.tolist(), strengths_g.tolist())


def wanted(shown_g: Tensor, target_g: Tensor) -> Tensor:
    """Return how much may show along an estimated direction, so that with what it misses the target is met.

        s^2 (1 - c^2) + w^2 c^2 = t^2 ,   s: what shows, t: the target, c: the estimate's cosine with the truth

    Nothing (0) where what it misses alone is more than that.
    """
    left = (target_g.square() - shown_g.square() * (1 - ROW_TRUST**2)).clamp_min(0)
    return left.sqrt() / ROW_TRUST


def _strengths(
    stage: Stage,
    outputs: Sequence[Tensor],
    seen: Observed,
    features: Tensor,
    basis_Cg: Tensor,
    space: Whitened,
    *,
    looks_ng: Tensor,
    wanted_g: Tensor,
) -> Tensor:
    """Find the strengths (g,) at which the resemblance shows along the directions by `wanted_g` of what it does now.

    A map's largest values follow a projection of all values only in part, so that a strength of 1 leaves some of it:
    the projection is tried and what is left is measured.
    """
    strengths = torch.ones(basis_Cg.shape[1], dtype=torch.float64)
    if not len(strengths):
        return strengths
    looks = looks_ng.double() - looks_ng.double().mean(dim=0)
    reading_Cg = space.inverse @ basis_Cg
    less = _Less(stage, outputs, seen, writing_Cg=space.root @ basis_Cg, reading_Cg=reading_Cg)

    def along(tried: Tensor) -> Tensor:
        values = tried.double()
        total: Tensor = ((values - values.mean(dim=0)) @ reading_Cg * looks).sum(dim=0)
        return total

    before = along(features)
    for _ in range(TRIES):
        achieved = (1 - along(less(strengths)) / before) / strengths.clamp_min(SLOWEST)
        strengths = ((1 - wanted_g) / achieved.clamp_min(SLOWEST)).clamp(0, MOST)
    return strengths


class _Less:
    """What directions are found in, of outputs from which some is taken: see `directions.projection`.

    Of a few directions y - w a (r^T y) costs a fraction of the product of a matrix (C, C) with y, and r^T y is the same
    for every strength a.

    Args:
        stage: whose outputs they are.
        outputs: what it gives for all batches.
        seen: what the original did.
        writing_Cg: w, float64.
        reading_Cg: r, float64.
    """

    def __init__(
        self, stage: Stage, outputs: Sequence[Tensor], seen: Observed, *, writing_Cg: Tensor, reading_Cg: Tensor
    ) -> None:
        self._stage, self._sizes, self._writing_Cg = stage, seen.sizes, writing_Cg
        self._last = [channels_last(stage.layer, values) for values in outputs]
        self._read = [values @ reading_Cg.to(values) for values in self._last]

    def __call__(self, strengths_g: Tensor) -> Tensor:
        """Return the features (n, C) on the CPU."""
        parts = []
        for values, read, images in zip(self._last, self._read, self._sizes, strict=True):
            rest = values - read @ (self._writing_Cg * strengths_g).T.to(values)
            parts.append(features_of(self._stage, channels_first(self._stage.layer, rest), images))
        return torch.cat(parts).cpu()


def _features(stage: Stage, outputs: Sequence[Tensor], seen: Observed) -> Tensor:
    """Return what directions are found in (n, C), on the CPU."""
    parts = [features_of(stage, values, images) for values, images in zip(outputs, seen.sizes, strict=True)]
    return torch.cat(parts).cpu()


@torch.no_grad()
def apply_fit(stage: Stage, fitted: LeastSquares, ridge: float) -> None:
    """Overwrite the stage's weights by those that fit; see `LeastSquares` for the ridge."""
    layer = stage.layer
    weight, bias = fitted.solve(ridge)
    layer.weight.copy_(weight.reshape(layer.weight.shape))
    if layer.bias is not None and layer.bias.requires_grad:
        layer.bias.copy_(bias)


@torch.no_grad()
def apply_edit(stage: Stage, edit: Edit, *, absorbs: bool) -> None:
    """Overwrite the stage's weights by their projection.

    Args:
        stage: its weights are overwritten.
        edit: what is taken out.
        absorbs: whether a BatchNorm with new statistics follows, to which a constant makes no difference.
    """
    layer = stage.layer
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
    rows = [values.movedim(1, -1).flatten(0, -2).float() for values in entering]  # no copy where channels come last
    count = sum(len(values) for values in rows)
    mean = torch.stack([values.sum(dim=0) for values in rows]).sum(dim=0) / count
    squares = torch.stack([(values - mean).square().sum(dim=0) for values in rows]).sum(dim=0)
    if norm.running_mean is not None and norm.running_var is not None:
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(squares / max(1, count - 1))
