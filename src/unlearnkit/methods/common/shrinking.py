"""Shrinks a network's weights, and finds how far that can go before the network's answers are lost."""

from __future__ import annotations

import copy

import torch
from sklearn.metrics import cohen_kappa_score
from torch import nn

from unlearnkit.data.view import PartSamples
from unlearnkit.methods.common.importance import trainable
from unlearnkit.methods.common.soft_targets import outputs_of
from unlearnkit.methods.method import Context
from unlearnkit.training.batchnorm import recalibrate_batchnorm

ASKED = 128  # images that a shrunken network is asked about
RUNG, MOST_LEFT = 0.1, 0.9  # steps in which the factor is raised, and how far
NORMALISING = (nn.modules.batchnorm._NormBase, nn.GroupNorm)  # before these a shorter weight changes no answer


@torch.no_grad()
def shrink(model: nn.Module, factor: float) -> nn.Module:
    """Multiply every trainable matrix and kernel of `model` by `factor`, in place, and return it."""
    for weight in trainable(model).values():
        if weight.dim() >= 2:
            weight.mul_(factor)
    return model


def bearable(
    model: nn.Module, factor: float, samples: PartSamples, ctx: Context, *, agreement: float
) -> tuple[float, float | None]:
    """Return the factor, raised by tenths until the shrunken network answers retained images much as before, and kappa.

    Much as before: Cohen's kappa of both networks' answers is `agreement` or more,

        kappa = (share of equal answers - share by chance) / (1 - share by chance).

    Above 0.9 the factor is not raised, whatever kappa is there. Where there are half as many batch, group and instance
    normalisations as weights or more, which make up for what a factor takes, and where the network gives all images one
    answer, the factor stays as it is, and kappa is None. BatchNorm's statistics are estimated again before a shrunken
    network is asked, as a training estimates them; that which is frozen keeps them and is not counted.

    Args:
        model: the network, which is not changed.
        factor: what is left of a weight, in [0, 1).
        samples: retained images, of which the first `ASKED` in a random order that is always the same are asked.
        ctx: the run's; the passes are its stages `factor` and `recalibrate`.
        agreement: in [0, 1); 0 leaves the factor as it is.
    """
    weights = sum(weight.dim() >= 2 for weight in trainable(model).values())
    if not agreement or factor >= MOST_LEFT or 2 * sum(map(_normalises, model.modules())) >= weights:
        return factor, None
    drawn = torch.Generator().manual_seed(0)
    asked = samples.subset(torch.randperm(len(samples), generator=drawn)[:ASKED])
    answers = outputs_of(model, asked, ctx, stage="factor").argmax(dim=1)
    if len(answers.unique()) == 1:
        return factor, None
    while True:
        shrunken = shrink(copy.deepcopy(model), factor)
        recalibrate_batchnorm(shrunken, asked, batch_size=ASKED, generator=drawn, runtime=ctx.runtime, log=ctx.log)
        kappa = float(cohen_kappa_score(outputs_of(shrunken, asked, ctx, stage="factor").argmax(dim=1), answers))
        if kappa >= agreement or factor >= MOST_LEFT:
            return factor, kappa
        factor = round(min(factor + RUNG, MOST_LEFT), 6)


def _normalises(module: nn.Module) -> bool:
    """Return whether a module makes up for shorter weights before it; with frozen statistics it does not."""
    if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
        parameters = list(module.parameters(recurse=False))
        return not parameters or any(each.requires_grad for each in parameters)
    return isinstance(module, NORMALISING)
