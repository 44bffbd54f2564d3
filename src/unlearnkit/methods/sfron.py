"""SFRon: ascends on forget data through the weights that matter most to it, and mends on retained data in between.

Idea. The steepest way to a retrained model splits into three: ascent on the forget data with a weight for each sample,
descent on the retained data, and a choice of weights. Samples that are well known are pushed harder. Only weights that
matter more to the forget data than to the retained data take part in the ascent. Each ascent is followed by several
retaining steps, whose result stands in for a step in the retained data's own geometry (fast and slow updates).

Update. With l_i the loss of forget sample i, F_F and F_R the Fisher diagonals, in each round

    fast:  one pass over the forget data with the loss  - alpha_t  mean of  c_i l_i,   c_i = l_i^-lambda (mean 1),
           in which only weights with F_F >= threshold F_R move;
    slow:  descent on a part of the retained data with all weights,

alpha_t falling by a cosine to 0. c_i is a constant, computed at the round's start.

Reads: the training data of the classes to forget and the retained training data.

Hyperparameters: `paper()` has public code's numbers for CIFAR-10 and ResNet18: SGD 0.01, plain momentum 0.9, weight
decay 5e-4, alpha 25, lambda 0.5, threshold 1; its 1,500 iterations, with a forget step before every fifth, become 300
rounds of one and five batches of 256. The default is for small data: 10 rounds and alpha 10 (ours).

Deviations from the paper: each round's optimiser starts without momentum; c_i is computed once a round, over all of its
samples, not batch by batch; each gradient element is clipped (`ascent.clip_value`) in place of the norm 7; the rate
itself does not fall.

Cost per run: one Fisher pass of all data; in each round the forget part twice forward and once backward, and the
retained part once forward and backward.

When it fails: ascent has no bound but the clipping: too high an alpha tears the model apart before the slow steps mend
it. Weights of the first layers serve all classes and are left out, so early features stay.

Source: Z. Huang, X. Cheng, J. Zheng, H. Wang, Z. He, T. Li, X. Huang, "Unified Gradient-Based Machine Unlearning with
Remain Geometry Enhancement", NeurIPS 2024 (arXiv 2409.19732), section 4.

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["sfron"]().with_settings(["rounds=1", "fisher.samples=32", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> list(result.cost["stages"])
    ['fisher_forget', 'fisher_retain', 'known', 'fast', 'slow']
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.data.view import PartSamples
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.gradient_scale import scaled_gradients
from unlearnkit.methods.common.importance import FisherSettings, of_both
from unlearnkit.methods.common.soft_targets import numbered, outputs_of
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.network import logits_of
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.losses import Criterion, Loss, per_sample
from unlearnkit.training.recipe import Recipe

# Shapes: n samples, N of a batch, K classes.

NOTHING = 1e-15  # added to both Fisher diagonals: a weight that matters to neither has a ratio of 1


class SFRon(ConfiguredMethod):
    """The method SFRon with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "sfron"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    rounds: int = Field(
        default=10, gt=0, description="ascents, each followed by a part of the retained data (paper: 300)"
    )
    alpha: float = Field(default=10.0, gt=0, le=1e4, description="weight of the ascent, falling to 0 (paper: 25)")
    power: float = Field(default=0.5, ge=0, le=4, description="lambda, how much known samples count more (paper: 0.5)")
    threshold: float = Field(default=1.0, ge=0, le=1e6, description="gamma, of F_F / F_R in the ascent (paper: 1)")
    ascent: Recipe = Recipe(batch_size=64, lr=0.01, clip_value=0.1)
    descent: Recipe = Recipe(batch_size=64, lr=0.02, weight_decay=5e-4)
    passes: float = Field(default=3.0, gt=0, description="passes over the retained data in all rounds together (ours)")
    fisher: FisherSettings = FisherSettings()
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    augment: bool = Field(default=True, description="augment images where the data source does")

    @classmethod
    def paper(cls) -> Self:
        """Public code's numbers for CIFAR-10 and ResNet18, in rounds; 1,500 batches of 256 are 8.5 passes there."""
        recipe = Recipe(batch_size=256, lr=0.01, nesterov=False, weight_decay=5e-4)
        ascent = Recipe(**{**recipe.model_dump(), "clip_value": 0.1})
        return cls(rounds=300, alpha=25.0, ascent=ascent, descent=recipe, passes=8.5)

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget and of the retained ones."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Weight of the ascent, both rates, and length."""
        return {
            "alpha": Range(1.0, 100.0),
            "ascent.lr": Range(1e-3, 0.1),
            "descent.lr": Range(1e-3, 0.2),
            "rounds": Range(2, 40),
        }

    def stronger(self) -> Mapping[str, Turn]:
        """Weight and rate of the ascent."""
        return {"alpha": "raise", "ascent.lr": "raise"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Choose the weights, then alternate."""
        forget, retain = ctx.view.part(Part.FORGET_TRAIN), retained_subset(ctx, self.retain_per_class)
        of_forget, of_retain = of_both(model, forget, retain, self.fisher, ctx, stage="fisher", criterion=ctx.criterion)
        masks = {
            name: (value + NOTHING >= self.threshold * (of_retain[name] + NOTHING)).float()
            for name, value in of_forget.items()
        }
        ctx.log.notes["salient"] = sum(int(mask.sum()) for mask in masks.values())
        parts = self._parts(retain, ctx)
        for i, part in enumerate(parts):
            alpha = self.alpha * (1 + math.cos(math.pi * i / self.rounds)) / 2
            logits_nK = outputs_of(model, forget, ctx, stage="known")
            factors = coefficients(per_sample(ctx.criterion)(logits_nK, forget.labels), self.power)
            loss = ascending(alpha * factors, forget.labels, ctx.criterion)
            with scaled_gradients(model, masks):
                fit(model, numbered(forget), self.ascent, ctx, stage="fast", loss=loss, augment=self.augment)
            fit(model, part, self.descent, ctx, stage="slow", augment=self.augment)
        return model

    def _parts(self, retain: PartSamples, ctx: Context) -> list[PartSamples]:
        """Return the retained samples of each round: `passes` random orders one after the other, cut evenly."""
        wanted = max(self.rounds * 2, round(self.passes * len(retain)))
        orders = [torch.randperm(len(retain), generator=ctx.generator) for _ in range(-(-wanted // len(retain)))]
        return [retain.subset(p) for p in torch.tensor_split(torch.cat(orders)[:wanted], self.rounds)]


def coefficients(losses_n: Tensor, power: float) -> Tensor:
    """Return l^-power (n,), scaled to a mean of 1; a loss below 1e-6 counts as that."""
    found_n = losses_n.double().clamp(min=1e-6).pow(-power)
    return (found_n / found_n.mean()).to(losses_n.dtype)


def ascending(weights_n: Tensor, labels_n: Tensor, criterion: Criterion | None) -> Loss:
    """Return the loss: minus the weighted mean of the samples' losses; the labels of the images are positions."""
    losses = per_sample(criterion)

    def loss(model: nn.Module, images_NCHW: Tensor, positions_N: Tensor) -> Tensor:
        rows_N = positions_N.cpu()
        values_N = losses(logits_of(model(images_NCHW)), labels_n[rows_N].to(positions_N.device))
        return -(weights_n[rows_N].to(values_N) * values_N).mean()

    return loss
