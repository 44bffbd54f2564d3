"""EMMN (error-minimising and -maximising noise): impairs and repairs by noise in place of all data; reads none.

Idea. UNSIR's noise maximises the error on a forgotten class, and its repair needs retained images. Here those are
noise, too: for each retained class, noise that minimises the error. The model is impaired by both kinds together and
then repaired by the second alone, so that no sample of any class is needed.

Update. With the original's weights fixed,

    N_max(c) = arg max CE(f(N), c) - penalty |N|^2   for each class to forget,
    N_min(k) = arg min CE(f(N), k) + penalty |N|^2   for each retained class,
    impair: CE on N_max with labels c and on N_min with labels k;   repair: CE on N_min.

Reads: nothing but the class ids.

Hyperparameters: those of UNSIR's noise, and rates of ours; the paper's were not verified by us.

Deviations from the paper: by default BatchNorm keeps its stored statistics and dropout is off (`batch_statistics`
false), as noise has other statistics than images, which would then be the model's.

Cost per run: noise images x noise steps, forward and backward, then (impair + repair epochs) x noise images.

When it fails: the paper itself has it as the weaker of its two methods: noise that a network is sure of does not hold
its features in place, and retained accuracy falls on anything but small images. It is here to be compared.

Source: V. S. Chundawat, A. K. Tarun, M. Mandal, M. Kankanhalli, "Zero-Shot Machine Unlearning", IEEE TIFS 2023 (arXiv
2201.05629), section IV-A.

Example: an untrained network stands for the trained one, and the settings are tiny; nothing is read.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["emmn"]().with_settings(["noise.batch_size=4", "noise.steps=2"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (0, ['noise', 'impair', 'repair'])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.data.samples import Concat, TensorSamples
from unlearnkit.methods.common.fitting import fit
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.methods.unsir.noise import NoiseSettings, learn_noise
from unlearnkit.split import Part
from unlearnkit.training.losses import Criterion
from unlearnkit.training.recipe import Recipe


class EMMN(ConfiguredMethod):
    """The method EMMN with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "emmn"

    noise: NoiseSettings = NoiseSettings(batch_size=64)
    impair: Recipe = Recipe(batch_size=64, lr=2e-4)
    repair: Recipe = Recipe(batch_size=64, lr=4e-3)
    batch_statistics: bool = Field(default=False, description="BatchNorm follows the noise (paper: true)")

    @property
    def needs(self) -> frozenset[Part]:
        """No part of the data is read."""
        return frozenset()

    def space(self) -> Space:
        """Both rates and the impair's length."""
        return {"impair.lr": Range(1e-5, 0.1), "impair.epochs": Range(1, 5), "repair.lr": Range(1e-5, 0.1)}

    def stronger(self) -> Mapping[str, Turn]:
        """Rate and length of the impair."""
        return {"impair.lr": "raise", "impair.epochs": "raise"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Learn both kinds of noise, impair, repair."""
        worst = self._learned(model, ctx.request.forget, ctx, ctx.criterion)
        best = self._learned(model, ctx.request.retained, ctx, negative(ctx.criterion))
        stored = not self.batch_statistics
        fit(model, Concat([worst, best]), self.impair, ctx, stage="impair", stored_statistics=stored)
        fit(model, best, self.repair, ctx, stage="repair", stored_statistics=stored)
        return model

    def _learned(
        self, model: nn.Module, class_ids: tuple[int, ...], ctx: Context, criterion: Criterion | None
    ) -> TensorSamples:
        images, labels = learn_noise(
            model,
            class_ids,
            ctx.shape,
            self.noise,
            generator=ctx.generator,
            runtime=ctx.runtime,
            log=ctx.log,
            criterion=criterion,
        )
        ctx.log.keep_images("noise" if class_ids == ctx.request.forget else "noise_retained", images, labels)
        return TensorSamples(images, labels, self.noise.repeats or 1)


def negative(criterion: Criterion | None) -> Criterion:
    """Return minus the criterion (default: cross-entropy): what maximises it minimises the error."""

    def minus(logits_nK: Tensor, labels_n: Tensor) -> Tensor:
        return -(criterion or F.cross_entropy)(logits_nK, labels_n)

    return minus
