"""Draws the retained samples that a method takes, and trains a model under the run's context."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from unlearnkit.data.samples import per_class
from unlearnkit.data.view import PartSamples, Samples
from unlearnkit.errors import ConfigError
from unlearnkit.methods.method import Context
from unlearnkit.split import Part
from unlearnkit.training.loop import train
from unlearnkit.training.losses import Loss, supervised
from unlearnkit.training.recipe import Recipe


def fit(
    model: nn.Module,
    samples: Samples,
    recipe: Recipe,
    ctx: Context,
    *,
    stage: str,
    loss: Loss | None = None,
    augment: bool = False,
    after_step: Callable[[], None] | None = None,
    stored_statistics: bool = False,
) -> None:
    """Train `model` in place with the generator, the runtime and the log of the run.

    Args:
        model: on the run's device.
        samples: labelled images.
        recipe: how.
        ctx: the run.
        stage: name under which cost and losses are logged.
        loss: default: the caller's own criterion, else cross-entropy with the recipe's label smoothing.
        augment: augment where the data source does, even though the recipe does not ask for it.
        after_step: called when a step has changed the weights.
        stored_statistics: see `train`.
    """
    if augment and recipe.augment == "none":
        recipe = Recipe(**{**recipe.model_dump(), "augment": ctx.view.augment})
    train(
        model,
        samples,
        recipe,
        stage=stage,
        generator=ctx.generator,
        runtime=ctx.runtime,
        log=ctx.log,
        loss=loss or supervised(ctx.criterion, label_smoothing=recipe.label_smoothing),
        after_step=after_step,
        stored_statistics=stored_statistics,
    )


def retained_subset(
    ctx: Context,
    count: int | None,
    *,
    default: Callable[[int], int] | None = None,
    first: bool = False,
) -> PartSamples:
    """Return retained training samples: `count` of each class, drawn at random.

    Args:
        ctx: its view must allow `retain_train`.
        count: samples per class.
        default: samples in a class -> samples to take, where `count` is None; None: all samples of all classes.
        first: take the first samples of each class instead of drawing them.

    Raises:
        ConfigError: a class has fewer than `count` samples.
    """
    samples = ctx.view.part(Part.RETAIN_TRAIN)
    if count is None and default is None:
        return samples
    present = {k: int((samples.labels == k).sum()) for k in samples.labels.unique().tolist()}
    rarest = min(present, key=lambda k: present[k])
    if count is not None and count > present[rarest]:
        raise ConfigError(
            f"Expected retain_per_class of at most {present[rarest]}, the training samples of class "
            f"{ctx.request.classes[rarest]!r}, but got {count}; lower it, or leave it out for "
            f"{'all samples' if default is None else 'a share of each class'}."
        )
    counts = {k: count or (default(n) if default else n) for k, n in present.items()}
    return samples.subset(per_class(samples.labels, counts, None if first else ctx.generator))
