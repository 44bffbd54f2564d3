"""SSD (selective synaptic dampening): shrinks the weights that matter most to the forget data; trains nothing.

Idea. A weight that is far more important to the forget data than to all training data has specialised on it. Such
weights, and only they, are shrunk, the more the more lopsided their importance. Importance is the diagonal of the
Fisher information, so one pass over the data is all.

Update. With I_F and I_D the Fisher diagonals of the forget data and of all training data (`common/importance.py`),

    w_i <- min(lambda I_D,i / I_F,i, 1) w_i   where I_F,i > alpha I_D,i,   else w_i stays.

I_D is the mean over both parts, I_D = (1 - q) I_R + q I_F with q the share of the forget data, so each sample is
passed once. Hence I_F / I_D < 1 / q: with alpha >= 1 / q no weight could ever be chosen, and the method says so.

Reads: the training data of the classes to forget and the retained training data.

Hyperparameters: published are alpha 10, lambda 1 for ResNet18 on data of 20 and 100 classes, and alpha 5 for ViT;
`paper()` is the former. By the formula alpha 10 cannot work where a tenth of the data or more is forgotten (one class
of ten), and the preset is refused there. The default therefore chooses by I_F > ratio I_R, with ratio 10, which is

    alpha = ratio / (1 - q + q ratio)

10 where the forget data is a vanishing share, as in the paper, and always below 1 / q. In twelve trials on digits and
CIFAR-10 together nothing scored higher (docs/log.md).

Deviations from the paper: the square is taken for each sample; the authors' code squares a batch's mean gradient,
which is not the Fisher information. (In their script for whole classes, which passes the retained data first and then
the forget data, the bound above holds all the same; in shuffled batches it need not.) alpha follows from `ratio` unless
given.

Cost per run: one forward and backward pass for each training sample with its own gradient; less with `fisher.samples`.

When it fails: on weights shared by all classes, which are never chosen; where alpha or ratio is so low that the
retained classes' weights are hit. Biases and normalisation weights are dampened like any other, BatchNorm statistics
stay. Nothing heals the model afterwards.

Source: J. Foster, S. Schoepf, A. Brintrup, "Fast Machine Unlearning Without Retraining Through Selective Synaptic
Dampening", AAAI 2024 (arXiv 2308.07707).

Example: an untrained network stands for the trained one; alpha follows from the share of the forgotten class.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.SSD().with_settings(["fisher.samples=32"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> round(result.notes["ssd"]["alpha"], 1)
    5.1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import nn

from unlearnkit.errors import ConfigError
from unlearnkit.methods.common.importance import FisherSettings, Weights, fisher_diagonal, trainable
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part


class SSD(ConfiguredMethod):
    """The method SSD with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "ssd"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    alpha: float | None = Field(
        default=None,
        gt=0,
        description="weights with I_F > alpha I_D are dampened (paper: 10, which is refused where a tenth of the data "
        "or more is forgotten; ViT 5); none: by ratio",
    )
    ratio: float = Field(default=10.0, gt=0, description="where alpha is none: those with I_F > ratio I_R (ours)")
    dampening: float = Field(default=1.0, gt=0, description="lambda, the weight becomes lambda I_D / I_F (paper: 1)")
    fisher: FisherSettings = FisherSettings()

    @classmethod
    def paper(cls) -> Self:
        """The paper's ResNet18 setting; refused where a tenth of the data or more is forgotten, as one class of ten."""
        return cls(alpha=10.0, dampening=1.0)

    @classmethod
    def presets(cls) -> dict[str, Callable[[], Self]]:
        """The presets by name."""
        return super().presets() | {"paper": cls.paper}

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget and of the retained ones."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Settings that choose the weights and their damping; a given alpha is kept, as a higher one may not suit."""
        return {"dampening": Range(0.1, 10.0), **({"ratio": Range(1.0, 100.0)} if self.alpha is None else {})}

    def stronger(self) -> Mapping[str, Turn]:
        """What is left of a chosen weight, and how many are chosen."""
        return {"dampening": "lower", "ratio" if self.alpha is None else "alpha": "lower"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Estimate the importance of each weight to forget data and to all data, then dampen."""
        forget, retain = (ctx.view.part(part) for part in (Part.FORGET_TRAIN, Part.RETAIN_TRAIN))
        share = len(forget) / (len(forget) + len(retain))
        alpha = self.ratio / (1 - share + share * self.ratio) if self.alpha is None else self.alpha
        if alpha * share >= 1:
            raise ConfigError(
                f"Expected alpha below {1 / share:.4g}, as what is to be forgotten is {share:.1%} of the training data "
                f"and no weight can be that many times as important to them as to all, but got {alpha:g}; lower it, "
                "or set alpha=none and a ratio."
            )
        of_forget, of_retain = (
            fisher_diagonal(
                model,
                samples,
                self.fisher,
                stage=f"fisher_{name}",
                generator=ctx.generator,
                runtime=ctx.runtime,
                log=ctx.log,
                criterion=ctx.criterion,
            )
            for name, samples in (("forget", forget), ("retain", retain))
        )
        of_all = {name: torch.lerp(of_retain[name], value, share) for name, value in of_forget.items()}
        dampened = dampen(trainable(model), of_all, of_forget, alpha=alpha, dampening=self.dampening)
        ctx.log.notes["ssd"] = {"alpha": alpha, "dampened": dampened}
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
