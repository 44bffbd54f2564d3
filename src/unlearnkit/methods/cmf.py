"""CMF (class-mean features): unlearns with a head that is fixed to the class means, so that the features must move.

Idea. Most methods leave the features as they are and let the head point elsewhere; a probe finds the class at once. If
the head's rows are the classes' mean features, head and features cannot drift apart. The head is set so before each
epoch and not trained; the body learns to unlearn against it, and only by moving its features can it succeed.

Update. Before each epoch, with m_k the mean feature of class k over the training data and c the length of the
original's rows on average,

    w_k = c m_k / |m_k|,   biases 0,   both frozen;

then one epoch of the body on retained data with their labels and on forget data with random retained labels.

Reads: the training data of the classes to forget and the retained training data.

Hyperparameters: rate and length are ours; the paper combines the head with several losses, of which random labels are
one, and its numbers were not verified by us.

Deviations from the paper: the rows keep the original's average length, as the model's own forward pass does not
normalise features; their mean over classes is subtracted, without which all rows of a network with positive features
point nearly the same way. After the last epoch the head is set once more. A head that is frozen is left as it is.

Cost per run: epochs + 1 forward passes of all data for the means, and epochs x all data, forward and backward.

When it fails: the forgotten class keeps a row at its own mean, wherever that has gone, so its accuracy falls only as
its images scatter; and where features have not collapsed to their means, the head alone costs retained accuracy.

Source: Y. Gao, A. Unal, A. Rangamani, Z. Zhu, "An Illusion of Unlearning? Assessing Machine Unlearning Through Internal
Representations", AISTATS 2026 (arXiv 2604.08271).

Example: an untrained network stands for the trained one, and the settings are tiny; the head has no biases in effect.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["cmf"]().with_settings(["recipe.epochs=1", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.model.head.bias.abs().sum().item(), list(result.cost["stages"])
    (0.0, ['means', 'relabel'])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.data.samples import Concat, Relabelled
from unlearnkit.data.view import Samples
from unlearnkit.errors import ModelError
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.head_inputs import class_means, features_of, head_of
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.random_label import wrong_labels
from unlearnkit.methods.space import Range, Space
from unlearnkit.models.head import own_head
from unlearnkit.split import Part
from unlearnkit.training.recipe import Recipe, rate_factor

# Shapes: K classes, D features.


class CMF(ConfiguredMethod):
    """The method CMF with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "cmf"

    recipe: Recipe = Recipe(epochs=5, batch_size=64, lr=0.02, weight_decay=5e-4, schedule="cosine")
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    augment: bool = Field(default=True, description="augment images where the data source does")

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget and of the retained ones."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Rate and length."""
        return {"recipe.lr": Range(1e-3, 0.2), "recipe.epochs": Range(1, 10)}

    def stronger(self) -> Mapping[str, Turn]:
        """Rate and length."""
        return {"recipe.lr": "raise", "recipe.epochs": "raise"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Set the head to the class means and train the body, epoch by epoch."""
        name, whole = head_of(model, ctx), self.recipe
        head = own_head(model, name)
        if not isinstance(head, nn.Linear):
            raise ModelError(
                f"Expected a linear head, whose rows cmf sets to class means, but {name!r} is a convolution; choose "
                "trew or random-label, which train whatever may change."
            )
        forget, retain = ctx.view.part(Part.FORGET_TRAIN), retained_subset(ctx, self.retain_per_class)
        known = Concat([forget, retain])
        relabelled = Relabelled(forget, wrong_labels(forget.labels, ctx.request.retained, ctx.generator))
        free, free_bias = head.weight.requires_grad, head.bias is not None and head.bias.requires_grad
        length = float(head.weight.detach().norm(dim=1).mean())
        for epoch in range(whole.epochs):
            if free:
                self._align(model, name, head, known, length, free_bias, ctx)
            head.requires_grad_(False)
            rate = whole.lr * rate_factor(whole.schedule, epoch, whole.epochs, whole.warmup)
            recipe = Recipe(**{**whole.model_dump(), "epochs": 1, "lr": rate, "schedule": "constant"})
            fit(model, Concat([relabelled, retain]), recipe, ctx, stage="relabel", augment=self.augment)
        if free:
            self._align(model, name, head, known, length, free_bias, ctx)
        return model

    def _align(
        self, model: nn.Module, name: str, head: nn.Linear, known: Samples, length: float, free_bias: bool, ctx: Context
    ) -> None:
        features_nD = features_of(model, known, name, ctx, stage="means")
        rows_KD = mean_rows(class_means(features_nD, known.labels, len(ctx.request.classes)), length)
        with torch.no_grad():
            head.weight.copy_(rows_KD)
            if free_bias and head.bias is not None:
                head.bias.zero_()


def mean_rows(means_KD: Tensor, length: float) -> Tensor:
    """Return the head's rows (K, D): the class means less their mean, each of the given length."""
    return length * F.normalize(means_KD - means_KD.mean(dim=0), dim=1)
