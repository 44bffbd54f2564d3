"""NegGrad: raises the loss on the forget data by gradient ascent.

Idea. Training lowered the loss on the forget data, so the steps are taken back: SGD raises it. Nothing but the forget
data is looked at, and so nothing holds the retained data in place. Few and small steps are all there is between too
little and too much.

Update: theta' = theta + lr * grad of mean over F of min(l_i, ceiling), with l_i the loss of sample i (cross-entropy).

Reads: forget_train.

Hyperparameters: `paper()` is the GA baseline of C. Fan et al. (SalUn) and J. Jia et al. for CIFAR-10 and ResNet18: SGD
with plain momentum 0.9, rate 1e-4, 5 epochs (commands in GitHub OPTML-Group/Unlearn-Saliency and Unlearn-Sparse), batch
256; the paper that the method comes from gives no settings that we know. The default is the best of twelve trials on
digits and CIFAR-10 together (docs/log.md), and still leaves most images of five digits of ten.

Cost per run: epochs x forget samples, forward and backward.

Deviations: cross-entropy has no upper bound, so plain ascent runs off to NaN. The default stops pushing a sample whose
loss has passed `ceiling` (in units of ln K, the loss of a uniform guess), and clips gradient elements; `paper()` does
neither. The default's momentum is Nesterov's. No weight decay in either.

When it fails: it damages retained classes that share features with the forgotten ones; a loss far above chance is
itself a mark by which a member of the forgotten class is recognised; BatchNorm statistics drift to the forget data.

Source: A. Golatkar, A. Achille, S. Soatto, "Eternal Sunshine of the Spotless Net", CVPR 2020 (arXiv 1911.04933), as a
baseline.

Example: an untrained network stands for the trained one, and the settings are tiny; every sample of the forgotten class
is read.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.NegGrad().with_settings(["recipe.epochs=1"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (147, ['ascend'])
"""

from __future__ import annotations

import math
from typing import ClassVar, Self

from pydantic import Field
from torch import Tensor, nn

from unlearnkit.methods.common.fitting import fit
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.methods.space import Range, Space
from unlearnkit.network import logits_of
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.losses import Criterion, Loss, per_sample
from unlearnkit.training.recipe import Recipe

# Shapes: N samples of a batch, C channels, H x W pixels, K classes.


class NegGrad(ConfiguredMethod):
    """Bounded gradient ascent on the forget data."""

    name: ClassVar[str] = "neggrad"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    recipe: Recipe = Recipe(epochs=7, batch_size=128, lr=8.5e-4, clip_value=0.1)
    ceiling: float | None = Field(
        default=1.4,
        gt=0,
        description="loss, in units of ln K, beyond which a sample is pushed no further; none: no bound",
    )
    augment: bool = Field(default=True, description="augment images where the data source does")

    @classmethod
    def paper(cls) -> Self:
        """The published baseline for CIFAR-10 and ResNet18; see the module's text."""
        return cls(recipe=Recipe(epochs=5, batch_size=256, lr=1e-4, nesterov=False), ceiling=None)

    @property
    def needs(self) -> frozenset[Part]:
        """Forget training data."""
        return frozenset({Part.FORGET_TRAIN})

    def space(self) -> Space:
        """Rate and length, and the bound where there is one."""
        return {
            "recipe.lr": Range(1e-5, 0.1),
            "recipe.epochs": Range(1, 10),
            **({} if self.ceiling is None else {"ceiling": Range(1.0, 5.0)}),
        }

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Train by gradient ascent on the forget data."""
        sample_loss = per_sample(ctx.criterion, label_smoothing=self.recipe.label_smoothing)
        loss = ascent(sample_loss, ceiling_for(self.ceiling, len(ctx.request.classes)))
        fit(model, ctx.view.part(Part.FORGET_TRAIN), self.recipe, ctx, stage="ascend", loss=loss, augment=self.augment)
        return model


def ceiling_for(ceiling: float | None, classes: int) -> float:
    """Return the loss above which an image is no longer pushed up: `ceiling` times ln K, or infinity."""
    return math.inf if ceiling is None else ceiling * math.log(classes)


def ascent(each: Criterion, ceiling: float) -> Loss:
    """Return the loss - mean over images of min(l_i, ceiling); an image beyond the ceiling has no gradient.

    Args:
        each: (logits (n, K), labels (n,)) -> losses (n,).
        ceiling: largest loss that is still pushed up.
    """

    def loss(model: nn.Module, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:
        losses_N = each(logits_of(model(images_NCHW)), labels_N)
        return -losses_N.clamp(max=ceiling).mean()

    return loss
