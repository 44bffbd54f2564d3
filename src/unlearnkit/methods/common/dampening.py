"""Defines Dampening: what SSD and LFSSD share, which differ in how they measure the importance of a weight."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field
from torch import nn

from unlearnkit.errors import ConfigError
from unlearnkit.methods.common.importance import Weights, trainable
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.split import Part


class Dampening(ConfiguredMethod):
    """Shrinks the weights that are far more important to the forget data than to all training data."""

    ratios: ClassVar[Range] = Range(1.0, 100.0)  # what a search tries

    alpha: float | None = Field(
        default=None,
        gt=0,
        description="weights with I_F > alpha I_D are dampened (published for SSD: 10, which is refused where a tenth "
        "of the data or more is forgotten; ViT 5); none: by ratio",
    )
    ratio: float = Field(default=10.0, gt=0, description="where alpha is none: those with I_F > ratio I_R (ours)")
    dampening: float = Field(default=1.0, gt=0, description="lambda, the weight becomes lambda I_D / I_F (paper: 1)")

    @classmethod
    def paper(cls) -> Self:
        """SSD's ResNet18 setting; refused where a tenth of the data or more is forgotten, as one class of ten."""
        return cls(alpha=10.0, dampening=1.0)

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget and of the retained ones."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Settings that choose the weights and their damping; a given alpha is kept, as a higher one may not suit."""
        return {"dampening": Range(0.1, 10.0), **({"ratio": self.ratios} if self.alpha is None else {})}

    def stronger(self) -> Mapping[str, Turn]:
        """What is left of a chosen weight, and how many are chosen."""
        return {"dampening": "lower", "ratio" if self.alpha is None else "alpha": "lower"}

    @abstractmethod
    def importances(self, model: nn.Module, ctx: Context) -> tuple[Weights, Weights]:
        """Return how important each weight is to the forget data, and to the retained data."""

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Estimate the importance of each weight to forget data and to all data, then dampen."""
        forget, retain = (len(ctx.view.part(part)) for part in (Part.FORGET_TRAIN, Part.RETAIN_TRAIN))
        share = forget / (forget + retain)
        alpha = self.ratio / (1 - share + share * self.ratio) if self.alpha is None else self.alpha
        if alpha * share >= 1:
            raise ConfigError(
                f"Expected alpha below {1 / share:.4g}, as what is to be forgotten is {share:.1%} of the training data "
                f"and no weight can be that many times as important to them as to all, but got {alpha:g}; lower it, "
                "or set alpha=none and a ratio."
            )
        of_forget, of_retain = self.importances(model, ctx)
        of_all = {name: of_retain[name].lerp(value, share) for name, value in of_forget.items()}
        dampened = dampen(trainable(model), of_all, of_forget, alpha=alpha, dampening=self.dampening)
        ctx.log.notes[self.name] = {"alpha": alpha, "dampened": dampened}
        ctx.log.progress.say(f"{dampened} weights dampened")
        return model


def dampen(weights: Weights, of_all: Weights, of_forget: Weights, *, alpha: float, dampening: float) -> int:
    """Dampen the selected weights in place, leave all others unchanged, and return how many are selected.

    Args:
        weights: to be changed, by name.
        of_all: their importances to all training data.
        of_forget: their importances to the forget data.
        alpha: selects where of_forget > alpha of_all.
        dampening: lambda in w <- min(lambda of_all / of_forget, 1) w.
    """
    count = 0
    for name, weight in weights.items():
        chosen = of_forget[name] > alpha * of_all[name]
        factor = (dampening * of_all[name][chosen] / of_forget[name][chosen]).clamp(max=1)
        weight[chosen] = weight[chosen] * factor
        count += int(chosen.sum())
    return count
