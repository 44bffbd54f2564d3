"""Defines Recipe: the optimiser, schedule, batches and augmentation of a training; builds its optimiser."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import nn

from unlearnkit.config import Config
from unlearnkit.errors import ModelError

# where settings are given as text, `none` is None for all of them; here it is a word of its own
Augment = Annotated[Literal["none", "crop_flip"], BeforeValidator(lambda given: "none" if given is None else given)]


class Recipe(Config):
    """How to train: optimiser, schedule, batches, augmentation."""

    epochs: int = Field(default=1, gt=0, description="passes over the samples")
    batch_size: int = Field(default=256, gt=0, description="samples per step, at most")
    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="sgd", description="how steps are made of gradients")
    momentum: float = Field(default=0.9, gt=0, lt=1, description="of sgd")
    nesterov: bool = Field(default=True, description="sgd's momentum is Nesterov's; false: plain, as most papers have")
    lr: float = Field(default=0.1, gt=0, le=1e3, description="peak learning rate")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty (decoupled for adamw)")
    schedule: Literal["constant", "cosine", "one_cycle"] = Field(
        default="constant", description="cosine falls to 0; one_cycle warms up linearly first"
    )
    warmup: float = Field(default=0.2, ge=0, lt=1, description="share of the steps that one_cycle warms up")
    clip_value: float | None = Field(default=None, gt=0, description="gradient elements are clipped to this size")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of the label spread over all classes")
    norm_bias_lr: float = Field(
        default=1.0, gt=0, description="factor on the rate of the biases of normalisation layers"
    )
    lookahead: bool = Field(default=False, description="pull the weights to their slow average every few steps")
    augment: Augment = Field(
        default="none", description="crop_flip: random crop of the reflected image, mirrored at every second read"
    )
    max_shift: int | None = Field(
        default=None, gt=0, description="pixels that crop_flip shifts by at most; none: an eighth of the height"
    )

    def scaled(self, factor: float) -> Recipe:
        """Return the recipe with its rate multiplied by `factor`.

        >>> Recipe(lr=0.5).scaled(0.5).lr
        0.25
        """
        return Recipe(**{**self.model_dump(), "lr": self.lr * factor})


def rate_factor(schedule: str, step: int, steps: int, warmup: float) -> float:
    """Return the factor, in (0, 1], on the peak learning rate at `step` of `steps`."""
    if schedule == "constant":
        return 1.0
    rising = warmup * steps if schedule == "one_cycle" else 0.0
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising)))


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the recipe's optimiser over the trainable parameters of `model`.

    Each group of parameters carries its peak rate as `peak`.

    Raises:
        ModelError: the model has no trainable parameter.
    """
    biases = {
        id(m.bias)
        for m in model.modules()
        if isinstance(m, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm) and m.bias is not None
    }
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ModelError("Expected a model with trainable parameters, but all are frozen; unfreeze some of them.")
    groups = []
    for factor, chosen in (
        (1.0, [p for p in parameters if id(p) not in biases]),
        (recipe.norm_bias_lr, [p for p in parameters if id(p) in biases]),
    ):
        if chosen:
            # the decay of a group with a higher rate is lowered, so that rate times decay stays what it is
            decay = recipe.weight_decay / factor
            groups.append(
                {"params": chosen, "lr": recipe.lr * factor, "peak": recipe.lr * factor, "weight_decay": decay}
            )
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=recipe.nesterov)
    return (torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW)(groups)
