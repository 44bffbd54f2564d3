"""L1-sparse: fine-tunes on the retained data with an L1 penalty on the weights.

Idea. What the retained data does not need is driven to zero while the model is fine-tuned on it. What was kept for the
forgotten classes is part of that. The penalty falls from epoch to epoch, so that the last epochs regain what it cost.

Update: theta' = SGD on L_R(theta) + gamma_e ||theta||_1, with gamma_e = gamma (1 - e / epochs) in epoch e = 0, 1, ...

Reads: retain_train (`retain_val` too, where the rate is searched).

Hyperparameters: `paper()` is SGD with plain momentum 0.9 and rate 0.01, 10 epochs (command in GitHub
OPTML-Group/Unlearn-Saliency), batch 256, weight decay 5e-4, for CIFAR-10 and ResNet18. gamma 5e-4 is the value in
circulation; the repositories' commands leave it open or at the parser's default, so it is not vouched for. The default
is the best of twelve trials on digits and CIFAR-10 together (docs/log.md). The penalty that the search left is next to
nothing: what forgets is the rate, as in fine-tuning, which `search` halves for a network that it destroys.

Cost per run: epochs x retained samples (or the subset of them), forward and backward, for each attempt of the search;
before them search.steps batches for each rate that is tried, and a forward pass of `retain_val` for each of either.

Deviations: momentum starts anew in each epoch, and the schedule of the rate moves once an epoch, because the penalty
does. The norm is over the trainable weights, biases included, as published. The subgradient is used as published, which
leaves small weights around zero rather than at it: within about lr x gamma / (1 - momentum). The default has a
falling rate and Nesterov's momentum.

When it fails: a gamma that is too large costs retained accuracy, one that is too small leaves plain fine-tuning; the
right size depends on the number of weights, as the norm is a sum.

Source: J. Jia, J. Liu, P. Ram, Y. Yao, G. Liu, Y. Liu, P. Sharma, S. Liu, "Model Sparsity Can Simplify Machine
Unlearning", NeurIPS 2023 (arXiv 2304.04934).

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.L1Sparse().with_settings(["recipe.epochs=1", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (0, ['search', 'trial', 'sparsify'])
"""

from __future__ import annotations

import copy
from functools import partial
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.data.view import Samples
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.rate_search import SearchSettings, brief_trial, search_rates
from unlearnkit.methods.common.teachers import teacher_of
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.methods.space import Range, Space
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.losses import Loss, supervised
from unlearnkit.training.recipe import Recipe, rate_factor


class L1Sparse(ConfiguredMethod):
    """Fine-tuning with a falling L1 penalty."""

    name: ClassVar[str] = "l1-sparse"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    gamma: float = Field(
        default=1.9e-6,
        ge=0,
        le=1e3,
        description="weight of the L1 norm in the first epoch; it falls to 0 (in circulation: 5e-4)",
    )
    recipe: Recipe = Recipe(epochs=9, batch_size=128, lr=0.16, weight_decay=5e-4, schedule="cosine")
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    augment: bool = Field(default=True, description="augment retained images where the data source does")
    search: SearchSettings | None = Field(default=SearchSettings(), description="none: the rate as given")

    @classmethod
    def paper(cls) -> Self:
        """The published settings for CIFAR-10 and ResNet18; see the module's text."""
        recipe = Recipe(epochs=10, batch_size=256, lr=0.01, nesterov=False, weight_decay=5e-4)
        return cls(gamma=5e-4, recipe=recipe, search=None)

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data, and retained validation data where the rate is searched."""
        return frozenset({Part.RETAIN_TRAIN} | ({Part.RETAIN_VAL} if self.search else set()))

    def space(self) -> Space:
        """Penalty, rate and length."""
        return {"gamma": Range(1e-6, 1e-2), "recipe.lr": Range(1e-3, 0.3), "recipe.epochs": Range(1, 10)}

    def for_tuning(self) -> tuple[str, ...]:
        """Use the rate as given instead of searching for it."""
        return ("search=none",) if self.search else ()

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Train at the rate that is found, with less penalty in each epoch."""
        retained = retained_subset(ctx, self.retain_per_class)
        base = supervised(ctx.criterion, label_smoothing=self.recipe.label_smoothing)

        def attempt(factor: float) -> nn.Module:
            tried = copy.deepcopy(model)
            self._sparsify(tried, retained, self.recipe.scaled(factor), base, ctx)
            return tried

        if self.search is None:
            return attempt(1.0)
        loss = with_l1(base, self.gamma)
        trial = partial(brief_trial, model, retained, self.recipe, loss, ctx, steps=self.search.steps)
        return search_rates(attempt, teacher_of(model), self.search, ctx, trial=trial)

    def _sparsify(self, model: nn.Module, retained: Samples, whole: Recipe, base: Loss, ctx: Context) -> None:
        """Train epoch by epoch, with less penalty and the schedule's rate in each."""
        for epoch in range(whole.epochs):
            rate = whole.lr * rate_factor(whole.schedule, epoch, whole.epochs, whole.warmup)
            recipe = Recipe(**{**whole.model_dump(), "epochs": 1, "lr": rate, "schedule": "constant"})
            loss = with_l1(base, self.gamma * (1 - epoch / whole.epochs))
            fit(model, retained, recipe, ctx, stage="sparsify", loss=loss, augment=self.augment)


def with_l1(base: Loss, gamma: float) -> Loss:
    """Return the loss base + gamma ||theta||_1 over the trainable weights."""

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        norms = [p.abs().sum() for p in model.parameters() if p.requires_grad]
        return base(model, images, labels) + gamma * torch.stack(norms).sum()

    return loss
