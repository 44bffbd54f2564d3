"""Searches learning rates: restarts with lower ones until the retained validation accuracy holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.config import Config
from unlearnkit.data.view import PartSamples
from unlearnkit.errors import NonFiniteLossError
from unlearnkit.methods.method import Context
from unlearnkit.split import Part
from unlearnkit.training.predict import predict


class SearchSettings(Config):
    """Settings for how far and how often the rates are lowered."""

    attempts: int = Field(default=4, gt=0, description="rates tried at most, each from the original's weights")
    factor: float = Field(default=0.5, gt=0, lt=1, description="the rates are multiplied by this for the next attempt")
    tolerance: float = Field(default=0.02, ge=0, lt=1, description="accuracy that may be lost, as a fraction")


def search_rates(
    attempt: Callable[[float], nn.Module], original: nn.Module, settings: SearchSettings, ctx: Context
) -> nn.Module:
    """Return the first model whose retained validation accuracy holds; high rates come first, as they forget more.

    It holds when it is below the original's by no more than the tolerance and one standard error of the difference,
    sqrt(lost + won) / n for n samples of which some were lost and some won (McNemar). The original is measured with
    the forgotten outputs masked: its task is then as easy as a retrained model's. An attempt that ends in a
    non-finite loss does not hold. If none holds, the most accurate model is returned and the notes say so. Every
    attempt's cost is the method's cost.

    A model that was trained on the validation samples knows them by heart, and no honest attempt holds then: switch
    the search off.

    Args:
        attempt: factor on the rates -> unlearned model, made from the original.
        original: the model before.
        settings: how often, by how much.
        ctx: its view must allow `retain_val`; the notes get an entry `search`.

    Raises:
        NonFiniteLossError: every attempt ended in one.
    """
    validation = ctx.view.part(Part.RETAIN_VAL)
    if len(validation) == 0:
        ctx.log.notes["search"] = {"skipped": "no_retained_validation_samples", "attempts": [], "accepted": True}
        return attempt(1.0)
    known = _right(original, validation, ctx, masked=True)
    tried: list[dict[str, Any]] = []
    best: nn.Module | None = None
    failure: NonFiniteLossError | None = None
    kept, accepted = 0, False
    for i in range(settings.attempts):
        tried.append({"factor": settings.factor**i, "accuracy": None})
        try:
            model = attempt(settings.factor**i)
        except NonFiniteLossError as error:
            failure = error
            ctx.log.progress.say("the loss became non-finite: lower the rates")
            continue
        right = _right(model, validation, ctx)
        accuracy = tried[i]["accuracy"] = float(right.float().mean())
        accepted = _missing(known, right) <= settings.tolerance
        if best is None or accepted or accuracy > tried[kept]["accuracy"]:
            best, kept = model, i
        if accepted:
            break
        ctx.log.progress.say(
            f"retained validation accuracy {known.float().mean():.1%} -> {accuracy:.1%}: lower the rates"
        )
    ctx.log.notes["search"] = {
        "validation_accuracy_before": float(known.float().mean()),
        "attempts": tried,
        "kept": kept,
        "accepted": accepted,
    }
    if not accepted:
        ctx.log.progress.say("no rate holds the retained accuracy; the most accurate attempt is kept")
    if best is None:
        assert failure is not None
        raise failure
    return best


def _missing(before: Tensor, after: Tensor) -> float:
    """Return the lost accuracy less one standard error of the difference of two models on the same samples."""
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    return (lost - won - math.sqrt(lost + won)) / len(before)


def _right(model: nn.Module, samples: PartSamples, ctx: Context, *, masked: bool = False) -> Tensor:
    with ctx.log.stage("search", 1) as stage:
        logits = predict(model, samples, ctx.runtime)
        if masked:
            logits[:, [*ctx.request.forget, *ctx.request.already_forgotten]] = -torch.inf
        right = logits.argmax(dim=1) == samples.labels
        stage.step(1 - right.float().mean())
    return right
