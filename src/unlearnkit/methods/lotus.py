"""LoTUS: smooths the original's answers on forget images by a temperature that follows how much is still known.

Idea. A model is surer of what it was trained on than of what it never saw. LoTUS teaches the student the original's own
answers, smoothed on the forget images and sharp on the retained ones. The temperature is high while the student still
knows the forget images, and falls to 1 as its accuracy there falls to that on unseen images.

Update. With z the original's logits, g Gumbel noise drawn for each epoch, and a_F the student's accuracy on the forget
images at the epoch's start,

    tau = exp(alpha (a_F - a_unseen)),   a_unseen = 0 where whole classes are forgotten, else the original's on samples
                                         held out for validation,
    target = softmax((z + g) / tau) on forget images,   one-hot of arg max (z + g) on retained images,
    minimise the cross-entropy of the student to the target.

Reads: the training data to forget, a share of the retained training data without labels, and the validation part, whose
accuracy under the original is noted, and used where rows or subclasses are forgotten.

Hyperparameters: alpha 2 and 30 % of the retained data are those of public code. Rate and epochs are ours; the
published ones differ by network and were not verified.

Deviations from the paper: the original's logits are computed once on images that are not augmented. Momentum starts
anew with each epoch. The forgotten class stays in the targets, as published.

Cost per run: one forward pass of forget data, retained share and validation part, then epochs x (twice forward and once
backward of the forget data, once each of the retained share).

When it fails: for whole classes the target still gives the true class most of the mass where the original is sure of
it: smoothing alone does not bring the accuracy down, and a_unseen = 0 is then never reached. It was made for single
samples, and is here to be compared.

Source: C. Spartalis, T. Semertzidis, E. Gavves, P. Daras, "LoTUS: Large-Scale Machine Unlearning with a Taste of
Uncertainty", CVPR 2025 (arXiv 2503.18314), section 3.

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["lotus"]().with_settings(["recipe.epochs=1", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> len(result.notes["temperatures"]), list(result.cost["stages"])
    (1, ['outputs', 'unseen', 'accuracy', 'smooth'])
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.data.samples import Concat
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.soft_targets import numbered, outputs_of, towards
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.request import CLASSES, EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.recipe import Recipe

# Shapes: n samples, K classes.

RETAIN_SHARE = 0.3  # of each retained class, where retain_per_class is not given


class LoTUS(ConfiguredMethod):
    """The method LoTUS with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "lotus"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    alpha: float = Field(default=2.0, ge=0, le=100, description="how far the temperature rises (public code: 2)")
    recipe: Recipe = Recipe(epochs=5, batch_size=64, lr=2e-3, optimizer="adamw")
    retain_per_class: int | None = Field(
        default=None, gt=0, description="retained samples per class; none: 30 % of each class (public code)"
    )
    augment: bool = Field(default=True, description="augment images where the data source does")

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget and of the retained ones, and held-out samples."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN, Part.RETAIN_VAL})

    def space(self) -> Space:
        """How far the temperature rises, rate and length."""
        return {"alpha": Range(0.5, 8.0), "recipe.lr": Range(1e-4, 1e-2), "recipe.epochs": Range(1, 10)}

    def stronger(self) -> Mapping[str, Turn]:
        """How far the temperature rises, rate and length."""
        return {"alpha": "raise", "recipe.lr": "raise", "recipe.epochs": "raise"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Compute the original's answers, then learn them, smoothed by another temperature in each epoch."""
        forget = ctx.view.part(Part.FORGET_TRAIN)
        retain = retained_subset(ctx, self.retain_per_class, default=lambda n: max(1, round(RETAIN_SHARE * n)))
        both = Concat([forget, retain])
        logits_nK = outputs_of(model, both, ctx, stage="outputs")
        recipe = Recipe(**{**self.recipe.model_dump(), "epochs": 1})
        unseen = self._unseen(model, ctx)
        temperatures = []
        for _ in range(self.recipe.epochs):
            known = outputs_of(model, forget, ctx, stage="accuracy").argmax(dim=1) == forget.labels
            temperatures.append(temperature(float(known.float().mean()), self.alpha, unseen))
            targets = smoothed(logits_nK, len(forget), temperatures[-1], ctx.generator)
            fit(model, numbered(both), recipe, ctx, stage="smooth", loss=towards(targets), augment=self.augment)
        ctx.log.notes["temperatures"] = temperatures
        return model

    def _unseen(self, model: nn.Module, ctx: Context) -> float:
        """Return how well samples of the forgotten kind are answered that were never seen: of a class, never."""
        held_out = ctx.view.part(Part.RETAIN_VAL)
        if not len(held_out):
            return 0.0
        answers = outputs_of(model, held_out, ctx, stage="unseen").argmax(dim=1)
        found = float((answers == held_out.labels).float().mean())
        ctx.log.notes["accuracy_unseen"] = found
        return 0.0 if ctx.request.kinds <= CLASSES else found


def temperature(known: float, alpha: float, unseen: float = 0.0) -> float:
    """Return tau = exp(alpha max(0, known - unseen)), from 1 on.

    Args:
        known: the student's accuracy on the forget images, in [0, 1].
        alpha: how fast it rises.
        unseen: accuracy on images that were never seen; 0 where whole classes are forgotten.
    """
    return math.exp(alpha * max(0.0, known - unseen))


def smoothed(logits_nK: Tensor, forgotten: int, tau: float, generator: torch.Generator) -> Tensor:
    """Return the targets (n, K): smoothed in the first `forgotten` rows, one-hot in the others, both with Gumbel noise.

    Args:
        logits_nK: of the original, on the CPU.
        forgotten: number of forget images, which come first.
        tau: temperature.
        generator: CPU generator of the noise.
    """
    uniform_nK = torch.rand(logits_nK.shape, generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    noisy_nK = logits_nK.double() - (-uniform_nK.log()).log()
    sharp_nK = F.one_hot(noisy_nK[forgotten:].argmax(dim=1), logits_nK.shape[1]).double()
    return torch.cat([(noisy_nK[:forgotten] / tau).softmax(dim=1), sharp_nK]).to(logits_nK.dtype)
