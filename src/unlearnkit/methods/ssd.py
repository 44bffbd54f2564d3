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

from typing import ClassVar

from torch import nn

from unlearnkit.methods.common.dampening import Dampening
from unlearnkit.methods.common.importance import FisherSettings, Weights, of_both
from unlearnkit.methods.method import Context
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part


class SSD(Dampening):
    """The method SSD with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "ssd"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    fisher: FisherSettings = FisherSettings()

    def importances(self, model: nn.Module, ctx: Context) -> tuple[Weights, Weights]:
        """Return the Fisher diagonals of the forget and of the retained data."""
        forget, retain = (ctx.view.part(part) for part in (Part.FORGET_TRAIN, Part.RETAIN_TRAIN))
        return of_both(model, forget, retain, self.fisher, ctx, stage="fisher", criterion=ctx.criterion)
