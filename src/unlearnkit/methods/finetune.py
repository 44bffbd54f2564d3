"""FineTune: continues training on the retained data alone, in all layers or in the last k.

Idea. A network that is trained on something else forgets what it is no longer shown (catastrophic forgetting).
Fine-tuning on the retained data uses that, and nothing but that. With `last`, only the last k layers are trained
(CF-k); with `reset` too, they start from fresh weights (EU-k).

Update: theta' = some epochs of SGD on L_R(theta), from the original's theta; with `last = k` only the parameters from
the k-th layer from the end on move, and with `reset` these start from a fresh draw.

Reads: retain_train (`retain_val` too, where the rate is searched). With `reset`, needs the model's factory.

Hyperparameters: `paper()` is the FT baseline of C. Fan et al. (SalUn) and J. Jia et al. for CIFAR-10 and ResNet18: SGD
with plain momentum 0.9, rate 0.01, 10 epochs (commands in GitHub OPTML-Group/Unlearn-Saliency and Unlearn-Sparse),
batch 256, weight decay 5e-4 (defaults of the latter). We know of no settings for CF-k and EU-k that are not tied to one
network. The default is the best of twelve trials on digits and CIFAR-10 together (docs/log.md): two epochs at a rate
that shakes the class out, halved by `search` for a network that such a rate destroys. Lower rates keep a trained
model, and the class, as they are.

Cost per run: epochs x retained samples (or the subset of them), forward and backward, for each attempt of the search;
before them search.steps batches for each rate that is tried, and a forward pass of `retain_val` for each of either.

Deviations: the default takes fewer epochs with a falling rate and Nesterov's momentum. Layers are counted in the order
in which the model registers them; a layer is a module with a weight of two dimensions or more. A weight that one of the
last k layers shares with an earlier layer is trained, and drawn anew, in both. BatchNorm before the last k keeps its
statistics, unless it has no parameters of its own.

When it fails: low rates leave the class known; somewhat higher ones bring its accuracy to 0 and leave its features. It
is the control for UNSIR without noise.

Source: A. Golatkar, A. Achille, S. Soatto, "Eternal Sunshine of the Spotless Net", CVPR 2020 (arXiv 1911.04933), as a
baseline; S. Goel, A. Prabhu, A. Sanyal, S.-N. Lim, P. Torr, P. Kumaraguru, "Towards Adversarial Evaluations for Inexact
Machine Unlearning", 2022 (arXiv 2201.06640), for CF-k and EU-k.

Example: CF-k with the last two layers; an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.FineTune().with_settings(["recipe.epochs=1", "last=2"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (0, ['search', 'trial', 'finetune'])
"""

from __future__ import annotations

import copy
from functools import partial
from itertools import chain
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from unlearnkit.errors import ConfigError
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.fresh import fresh_model
from unlearnkit.methods.common.rate_search import SearchSettings, brief_trial, search_rates
from unlearnkit.methods.common.teachers import teacher_of
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.methods.space import Range, Space
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.losses import supervised
from unlearnkit.training.recipe import Recipe


class FineTune(ConfiguredMethod):
    """Fine-tuning on retained data; CF-k and EU-k with `last` and `reset`."""

    name: ClassVar[str] = "finetune"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    recipe: Recipe = Recipe(epochs=2, batch_size=128, lr=0.2, weight_decay=1.2e-5, schedule="cosine")
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    augment: bool = Field(default=True, description="augment retained images where the data source does")
    last: int | None = Field(default=None, gt=0, description="train the last k layers alone (CF-k); none: all layers")
    reset: bool = Field(default=False, description="draw the last k layers anew first (EU-k)")
    search: SearchSettings | None = Field(
        default=SearchSettings(), description="none: the rate as given, as always with reset"
    )

    @model_validator(mode="after")
    def _reset_what(self) -> Self:
        if self.reset and self.last is None:
            raise ValueError("Expected last=K beside reset, the number of layers to draw anew, but got none; give it.")
        return self

    @classmethod
    def paper(cls) -> Self:
        """The published baseline for CIFAR-10 and ResNet18; see the module's text."""
        recipe = Recipe(epochs=10, batch_size=256, lr=0.01, nesterov=False, weight_decay=5e-4)
        return cls(recipe=recipe, search=None)

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data, and retained validation data where the rate is searched."""
        return frozenset({Part.RETAIN_TRAIN} | ({Part.RETAIN_VAL} if self.search and not self.reset else set()))

    def space(self) -> Space:
        """Rate, length and decay."""
        return {"recipe.lr": Range(1e-3, 0.3), "recipe.epochs": Range(1, 10), "recipe.weight_decay": Range(1e-5, 1e-2)}

    def for_tuning(self) -> tuple[str, ...]:
        """Use the rate as given instead of searching for it."""
        return ("search=none",) if self.search else ()

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Freeze all but the chosen layers, reset these if asked to, and train at the rate that is found."""
        original = teacher_of(model)
        if self.last is not None:
            layers = last_layers(model, self.last)
            if self.reset:
                redraw(model, layers, fresh_model(model, ctx, "finetune with reset"))
            keep_still(model, layers)
        retained = retained_subset(ctx, self.retain_per_class)

        def attempt(factor: float) -> nn.Module:
            recipe = self.recipe.scaled(factor)
            tried = copy.deepcopy(model)
            fit(tried, retained, recipe, ctx, stage="finetune", augment=self.augment)
            return tried

        if self.search is None or self.reset:  # few steps say nothing of layers that start anew
            return attempt(1.0)
        loss = supervised(ctx.criterion, label_smoothing=self.recipe.label_smoothing)
        trial = partial(brief_trial, model, retained, self.recipe, loss, ctx, steps=self.search.steps)
        return search_rates(attempt, original, self.search, ctx, trial=trial)


def last_layers(model: nn.Module, k: int) -> list[str]:
    """Return the names of the modules from the k-th last layer on, in the order of registration.

    Raises:
        ConfigError: the model has fewer layers.
    """
    modules = list(model.named_modules())
    layers = [i for i, (_, m) in enumerate(modules) if any(p.dim() >= 2 for p in m.parameters(recurse=False))]
    if k > len(layers):
        raise ConfigError(
            f"Expected last of at most {len(layers)}, the layers of the model, but got {k}; "
            "lower it, or leave it out to train all."
        )
    return [name for name, _ in modules[layers[-k] :]]


@torch.no_grad()
def redraw(model: nn.Module, layers: list[str], fresh: nn.Module) -> None:
    """Copy weights and statistics of `layers` from `fresh`, except for layers that are frozen."""
    for name in layers:
        layer, fresh_layer = model.get_submodule(name), fresh.get_submodule(name)
        parameters = list(layer.parameters(recurse=False))
        if parameters and not any(p.requires_grad for p in parameters):
            continue
        for key, value in chain(layer.named_parameters(recurse=False), layer.named_buffers(recurse=False)):
            if value.requires_grad or not isinstance(value, nn.Parameter):
                value.copy_(getattr(fresh_layer, key))


def keep_still(model: nn.Module, layers: list[str]) -> None:
    """Freeze every parameter outside of `layers`; parameters that are frozen already stay frozen."""
    chosen = {id(p) for name in layers for p in model.get_submodule(name).parameters(recurse=False)}
    for parameter in model.parameters():
        if id(parameter) not in chosen:
            parameter.requires_grad_(False)
