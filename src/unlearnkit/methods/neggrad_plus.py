"""NegGrad+: lowers the loss on the retained data while it raises the loss on the forget data.

Idea. NegGrad's ascent is balanced by ordinary training on the retained data in the same step. One weight, alpha, says
how much retaining counts against forgetting. Tuned, it is a strong baseline that newer methods must beat.

Update: theta' = SGD on alpha L_R(theta) - (1 - alpha) L_F(theta), L_R and L_F the mean losses on retained and forget
data; in L_F each sample's loss counts up to `ceiling`.

Reads: retain_train and forget_train (`retain_val` too, where the rate is searched).

Hyperparameters: `paper()` is alpha 0.95, SGD with plain momentum 0.9 and rate 0.01, 10 epochs, as found in public code
for CIFAR-10 and ResNet18; the paper tunes alpha for each setting and we know of no single published value. The default
is the best of twelve trials on digits and CIFAR-10 together (docs/log.md), its rate halved by `search` for a network
that it destroys.

Cost per run: epochs x (retained samples + repeats x forget samples), forward and backward, for each attempt of the
search; before them search.steps batches for each rate that is tried, and a forward pass of `retain_val` for each of
either.

Deviations: the published code takes one batch of each kind a step and begins the forget data again when it is used up.
Here both kinds are shuffled into the same batches, and each sample is weighted by the shares of the whole,

    w_i = alpha n / n_R for a retained sample,   w_i = - (1 - alpha) n / n_F for a forgotten one,

so that the mean over an epoch is the loss above, however a batch is made up or cut into micro-batches. `repeats = none`
repeats the forget data until there is about as much of it, as published; the default reads it once an epoch. The
ceiling, the falling rate and Nesterov's momentum are ours; `paper()` has none of them.

When it fails: alpha too low and the retained accuracy collapses; too high and it is fine-tuning. A forget loss far
above chance is a mark of the forgotten class.

Source: M. Kurmanji, P. Triantafillou, J. Hayes, E. Triantafillou, "Towards Unbounded Machine Unlearning", NeurIPS 2023
(arXiv 2302.09880).

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.NegGradPlus().with_settings(["recipe.epochs=1", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (147, ['search', 'trial', 'contrast'])
"""

from __future__ import annotations

import copy
from functools import partial
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.data.samples import Concat
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.marking import marked, unmarked
from unlearnkit.methods.common.rate_search import SearchSettings, brief_trial, search_rates
from unlearnkit.methods.common.teachers import teacher_of
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.methods.neggrad import ceiling_for
from unlearnkit.methods.space import Range, Space
from unlearnkit.network import logits_of
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.losses import Criterion, Loss, per_sample
from unlearnkit.training.recipe import Recipe

# Shapes: N samples of a batch, C channels, H x W pixels, K classes.


class NegGradPlus(ConfiguredMethod):
    """Descent on retained data against bounded ascent on forget data."""

    name: ClassVar[str] = "neggrad+"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    alpha: float = Field(
        default=0.53, gt=0, lt=1, description="weight of the retained data, against 1 - alpha (paper: tuned)"
    )
    recipe: Recipe = Recipe(epochs=9, batch_size=256, lr=0.059, schedule="cosine")
    ceiling: float | None = Field(
        default=2.0,
        gt=0,
        description="loss, in units of ln K, beyond which a forgotten sample is pushed no further; none: no bound",
    )
    repeats: int | None = Field(
        default=1, gt=0, description="times each forget sample stands in an epoch; none: about as many as retained ones"
    )
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    augment: bool = Field(default=True, description="augment images where the data source does")
    search: SearchSettings | None = Field(default=SearchSettings(), description="none: the rate as given")

    @classmethod
    def paper(cls) -> Self:
        """Settings in circulation for CIFAR-10 and ResNet18; see the module's text."""
        recipe = Recipe(epochs=10, batch_size=256, lr=0.01, nesterov=False)
        return cls(alpha=0.95, recipe=recipe, ceiling=None, repeats=None, search=None)

    @property
    def needs(self) -> frozenset[Part]:
        """Retained and forget training data, and retained validation data where the rate is searched."""
        return frozenset({Part.RETAIN_TRAIN, Part.FORGET_TRAIN} | ({Part.RETAIN_VAL} if self.search else set()))

    def space(self) -> Space:
        """Weight of the retained data, rate and length."""
        return {
            "alpha": Range(0.5, 0.99, log=False),
            "recipe.lr": Range(1e-3, 0.1),
            "recipe.epochs": Range(1, 10),
        }

    def for_tuning(self) -> tuple[str, ...]:
        """Use the rate as given instead of searching for it."""
        return ("search=none",) if self.search else ()

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Train on retained and forget data at once, each with its weight, at the rate that is found."""
        retained, forgotten = retained_subset(ctx, self.retain_per_class), ctx.view.part(Part.FORGET_TRAIN)
        repeats = self.repeats or max(1, round(len(retained) / len(forgotten)))
        repeated = forgotten.subset(torch.arange(len(forgotten)).repeat(repeats))
        classes = len(ctx.request.classes)
        mixed = Concat([retained, marked(repeated, classes)])
        loss = contrast(
            per_sample(ctx.criterion, label_smoothing=self.recipe.label_smoothing),
            classes,
            alpha=self.alpha,
            share=len(repeated) / len(mixed),
            ceiling=ceiling_for(self.ceiling, classes),
        )

        def attempt(factor: float) -> nn.Module:
            tried = copy.deepcopy(model)
            fit(tried, mixed, self.recipe.scaled(factor), ctx, stage="contrast", loss=loss, augment=self.augment)
            return tried

        if self.search is None:
            return attempt(1.0)
        trial = partial(brief_trial, model, mixed, self.recipe, loss, ctx, steps=self.search.steps)
        return search_rates(attempt, teacher_of(model), self.search, ctx, trial=trial)


def contrast(each: Criterion, classes: int, *, alpha: float, share: float, ceiling: float) -> Loss:
    """Return the loss alpha L_R - (1 - alpha) L_F as a mean over images; those to forget have marked labels.

    Args:
        each: (logits (n, K), labels (n,)) -> losses (n,).
        classes: K, by which labels are marked.
        alpha: weight of the retained samples.
        share: of the forgotten samples among all, in (0, 1).
        ceiling: largest loss of a forgotten sample that is still pushed up.
    """

    def loss(model: nn.Module, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:
        true_N, forgotten_N = unmarked(labels_N, classes)
        losses_N = each(logits_of(model(images_NCHW)), true_N)
        pushed_N = -(1 - alpha) / share * losses_N.clamp(max=ceiling)
        return torch.where(forgotten_N, pushed_N, alpha / (1 - share) * losses_N).mean()

    return loss
