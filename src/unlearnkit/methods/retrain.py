"""Retrain: trains a fresh model on the retained data alone; the gold standard.

Idea. A model that never saw the forgotten classes is what forgetting is held against. It is built anew by the
architecture's factory, given the architecture's own initialisation from retained images, and trained on the retained
data by the recipe of `train`. Several seeds of it give the band in which an unlearned model should lie.

Update: theta' = argmin over theta of L_R(theta), from theta_0 drawn anew; nothing of the original's theta is used.

Reads: retain_train (all of it). Needs the model's factory.

Hyperparameters: those of `train` for the architecture (`from_scratch.recipe_for`), unless given.

Cost per run: a full training: epochs x retained samples, forward and backward.

Deviations: none. With the same seed it gives, bit for bit, what `train --exclude` gives. Weights that the caller froze
are drawn and trained anew as well, unless the factory itself freezes them: frozen weights of the original may have been
trained on the forgotten classes. It is built by the factory rather than reset layer by layer, which is known to leave
nested layers as they were.

When it fails: the retained data is gone; the recipe does not suit the architecture; one seed is taken for a band.

Source: none; it is the definition that unlearning is held against, since Y. Cao, J. Yang, "Towards Making Systems
Forget with Machine Unlearning", IEEE Symposium on Security and Privacy 2015.

Example: one epoch in place of a full training; an untrained network stands for the original.

    >>> import functools, unlearnkit as uk
    >>> build = functools.partial(uk.models.build_model, "small-cnn,width=4", num_classes=10, in_channels=1)
    >>> data, method = uk.load_data("digits"), uk.Retrain().with_settings(["epochs=1"])
    >>> result = uk.unlearn(build(), method, data, uk.ForgetRequest(classes=("3",)), seed=0, factory=build)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (0, ['retrain'])
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import nn

from unlearnkit.methods.common.fitting import fit
from unlearnkit.methods.common.fresh import fresh_model
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.from_scratch import initialise, recipe_for
from unlearnkit.training.recipe import Recipe


class Retrain(ConfiguredMethod):
    """Training from scratch without the forgotten classes, by the recipe of `train`."""

    name: ClassVar[str] = "retrain"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    epochs: int | None = Field(default=None, gt=0, description="passes; none: the architecture's recipe")
    batch_size: int | None = Field(default=None, gt=0, description="samples per step; none: the architecture's recipe")
    lr: float | None = Field(default=None, gt=0, le=1e3, description="peak rate; none: the architecture's recipe")
    optimizer: Literal["sgd", "adam", "adamw"] | None = Field(
        default=None, description="how steps are made of gradients; none: the architecture's recipe"
    )
    momentum: float | None = Field(default=None, gt=0, lt=1, description="of sgd; none: the architecture's recipe")
    nesterov: bool | None = Field(
        default=None, description="sgd's momentum is Nesterov's; none: the architecture's recipe"
    )
    weight_decay: float | None = Field(default=None, ge=0, description="L2 penalty; none: the architecture's recipe")
    schedule: Literal["constant", "cosine", "one_cycle"] | None = Field(
        default=None, description="how the rate changes; none: the architecture's recipe"
    )
    warmup: float | None = Field(
        default=None, ge=0, lt=1, description="share of the steps that one_cycle warms up; none: the architecture's"
    )
    clip_value: float | None = Field(
        default=None, gt=0, description="gradient elements are clipped to this size; none: the architecture's recipe"
    )
    label_smoothing: float | None = Field(
        default=None, ge=0, lt=1, description="share of the label spread over all; none: the architecture's recipe"
    )
    norm_bias_lr: float | None = Field(
        default=None, gt=0, description="factor on the rate of normalisation's biases; none: the architecture's recipe"
    )
    lookahead: bool | None = Field(
        default=None, description="pull the weights to their slow average; none: the architecture's recipe"
    )
    max_shift: int | None = Field(
        default=None, gt=0, description="pixels that images are shifted by at most; none: the architecture's recipe"
    )
    augment: bool = Field(default=True, description="augment images where the data source does")

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data."""
        return frozenset({Part.RETAIN_TRAIN})

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Build a model, initialise it, and train it."""
        network = fresh_model(model, ctx, "retrain")
        retained = ctx.view.part(Part.RETAIN_TRAIN)
        settings = {name: value for name, value in self.model_dump(exclude={"augment"}).items() if value is not None}
        augment = ctx.view.augment if self.augment else "none"
        recipe = Recipe(**{**recipe_for(network, augment).model_dump(), **settings})
        ctx.log.notes["recipe"] = recipe.model_dump()
        initialise(network, retained, ctx.generator)
        fit(network, retained, recipe, ctx, stage="retrain")
        return network
