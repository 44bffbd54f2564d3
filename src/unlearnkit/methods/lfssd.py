"""LFSSD (loss-free SSD): shrinks weights by how far they move the outputs; needs neither a loss nor labels.

Idea. SSD finds the weights that have specialised on the forget data by the gradient of the loss, which vanishes where
the model is sure of itself, and which needs labels. LFSSD takes the gradient of the outputs' squared length instead,
as memory-aware synapses do. The rest is SSD: weights that are far more important to the forget data than to all data
are shrunk, and nothing is trained.

Update. With f(x) the logits, and I_F and I_D the importances on the forget data and on all training data,

    I_i = 1/n sum over samples of |d ||f(x)||^2 / d w_i|,
    w_i <- min(lambda I_D,i / I_F,i, 1) w_i   where I_F,i > alpha I_D,i,   else w_i stays.

I_D is the mean over both parts, so I_F / I_D is at most 1 / q with q the share of the forget data, as for `ssd`.

Reads: the training data of the classes to forget and the retained training data; no label of either.

Hyperparameters: `paper()` is alpha 10, lambda 1, which are SSD's for ResNet18; those of LFSSD for each data set were
not verified by us. It is refused where a tenth of the data or more is forgotten, as one class of ten. The default
chooses by I_F > ratio I_R, as `ssd` does, with ratio 8: on digits a ratio of 4 cost a point of retained accuracy, and
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

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.methods.common.dampening import Dampening
from unlearnkit.methods.common.importance import FisherSettings, ImportanceSettings, Weights, of_both
from unlearnkit.methods.method import Context
from unlearnkit.methods.space import Range
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part


class LFSSD(Dampening):
    """The method LFSSD with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "lfssd"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND
    ratios: ClassVar[Range] = Range(1.0, 30.0)

    ratio: float = Field(default=8.0, gt=0, description="where alpha is none: those with I_F > ratio I_R (ours)")
    importance: ImportanceSettings = ImportanceSettings()

    def importances(self, model: nn.Module, ctx: Context) -> tuple[Weights, Weights]:
        """Return how far each weight moves the outputs on the forget and on the retained data."""
        forget, retain = (ctx.view.part(part) for part in (Part.FORGET_TRAIN, Part.RETAIN_TRAIN))
        settings = FisherSettings(**self.importance.model_dump())
        return of_both(
            model, forget, retain, settings, ctx, stage="importance", criterion=squared_length, measure=torch.abs
        )


def squared_length(logits_nK: Tensor, labels_n: Tensor) -> Tensor:  # noqa: ARG001 - the Criterion interface
    """Return the mean over samples of the logits' squared length; labels are ignored."""
    return logits_nK.square().sum(dim=1).mean()
