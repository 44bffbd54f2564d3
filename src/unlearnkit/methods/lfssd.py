"""LFSSD (loss-free SSD): shrinks weights by how far they move the outputs; needs neither a loss nor labels.

Idea. SSD finds the weights that have specialised on the forget data by the gradient of the loss, which vanishes where
the model is sure of itself, and which needs labels. LFSSD takes the gradient of the outputs' squared length instead,
as memory-aware synapses do. The rest is SSD: weights that are far more important to the forget data than to all data
are shrunk, and nothing is trained.

Update. With f(x) the logits, and M_F and M_D the importances on the forget data and on all training data,

    M_i = 1/n sum over samples of |d ||f(x)||^2 / d w_i|,
    w_i <- min(lambda M_D,i / M_F,i, 1) w_i   where M_F,i > alpha M_D,i,   else w_i stays.

M_D is the mean over both parts, so M_F / M_D is at most 1 / q with q the share of the forget data, as for `ssd`.

Reads: the training data of the classes to forget and the retained training data; no label of either.

Hyperparameters: `paper()` is alpha 10, lambda 1, which are SSD's for ResNet18; those of LFSSD for each data set were
not verified by us. It is refused where a tenth of the data or more is forgotten, as one class of ten. The default
chooses by M_F > ratio M_R, as `ssd` does, with ratio 8: on digits a ratio of 4 cost a point of retained accuracy, and
16 left the class.

Deviations from the paper: the absolute value is taken for each sample; a batch's mean gradient, of which public code
takes it, cancels between samples. alpha follows from `ratio` unless given.

Cost per run: one forward and backward pass for each training sample with its own gradient; less with
`importance.samples`.

When it fails: as SSD, on weights that all classes share; the squared length of the outputs says little where logits
are centred by a weight decay that is strong, as large and small logits then weigh the same. Nothing heals the model.

Source: J. Foster, S. Schoepf, A. Brintrup, "Loss-Free Machine Unlearning", ICLR 2024 tiny papers (arXiv 2402.19308);
the importance: R. Aljundi et al., "Memory Aware Synapses", ECCV 2018 (arXiv 1711.09601), section 4.1.

Example: an untrained network stands for the trained one; alpha follows from the share of the forgotten class.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["lfssd"]().with_settings(["importance.samples=32", "ratio=10"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> round(result.notes["lfssd"]["alpha"], 1)
    5.1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.errors import ConfigError
from unlearnkit.methods.common.importance import FisherSettings, ImportanceSettings, fisher_diagonal, trainable
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.methods.ssd import dampen
from unlearnkit.split import Part


class LFSSD(ConfiguredMethod):
    """The method LFSSD with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "lfssd"

    alpha: float | None = Field(
        default=None,
        gt=0,
        description="weights with M_F > alpha M_D are dampened (SSD's: 10, which is refused where a tenth of the data "
        "or more is forgotten); none: by ratio",
    )
    ratio: float = Field(default=8.0, gt=0, description="where alpha is none: those with M_F > ratio M_R (ours)")
    dampening: float = Field(default=1.0, gt=0, description="lambda, the weight becomes lambda M_D / M_F (paper: 1)")
    importance: ImportanceSettings = ImportanceSettings()

    @classmethod
    def paper(cls) -> Self:
        """SSD's ResNet18 setting; refused where a tenth of the data or more is forgotten, as one class of ten."""
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
        return {"dampening": Range(0.1, 10.0), **({"ratio": Range(1.0, 30.0)} if self.alpha is None else {})}

    def stronger(self) -> Mapping[str, Turn]:
        """What is left of a chosen weight, and how many are chosen."""
        return {"dampening": "lower", "ratio" if self.alpha is None else "alpha": "lower"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Estimate how far each weight moves the outputs on forget data and on all data, then dampen."""
        forget, retain = (ctx.view.part(part) for part in (Part.FORGET_TRAIN, Part.RETAIN_TRAIN))
        share = len(forget) / (len(forget) + len(retain))
        alpha = self.ratio / (1 - share + share * self.ratio) if self.alpha is None else self.alpha
        if alpha * share >= 1:
            raise ConfigError(
                f"Expected alpha below {1 / share:.4g}, as the classes to forget hold {share:.1%} of the training data "
                f"and no weight can be that many times as important to them as to all, but got {alpha:g}; lower it, "
                "or set alpha=none and a ratio."
            )
        of_forget, of_retain = (
            fisher_diagonal(
                model,
                samples,
                FisherSettings(**self.importance.model_dump()),
                stage=f"importance_{name}",
                generator=ctx.generator,
                runtime=ctx.runtime,
                log=ctx.log,
                criterion=squared_length,
                measure=torch.abs,
            )
            for name, samples in (("forget", forget), ("retain", retain))
        )
        of_all = {name: torch.lerp(of_retain[name], value, share) for name, value in of_forget.items()}
        dampened = dampen(trainable(model), of_all, of_forget, alpha=alpha, dampening=self.dampening)
        ctx.log.notes["lfssd"] = {"alpha": alpha, "dampened": dampened}
        ctx.log.progress.say(f"{dampened} weights dampened")
        return model


def squared_length(logits_nK: Tensor, labels_n: Tensor) -> Tensor:  # noqa: ARG001 - the Criterion interface
    """Return the mean over samples of the logits' squared length; labels are ignored."""
    return logits_nK.square().sum(dim=1).mean()
