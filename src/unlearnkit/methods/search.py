"""Rate search: lower a method's learning rates until the retained validation accuracy holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field
from torch import nn

from unlearnkit.config import Config
from unlearnkit.data.view import PartSamples
from unlearnkit.methods.base import Context
from unlearnkit.split import Part
from unlearnkit.training import predict


class SearchSettings(Config):
    """How the rates are lowered."""

    attempts: int = Field(default=4, gt=0, description="runs at most")
    factor: float = Field(default=0.5, gt=0, lt=1, description="the rates are multiplied by this after a failure")
    tolerance: float = Field(default=0.015, ge=0, lt=1, description="accuracy that may be lost, as a fraction")


def search_rates(
    attempt: Callable[[float], nn.Module], original: nn.Module, settings: SearchSettings, ctx: Context
) -> nn.Module:
    """Return the first model whose retained validation accuracy is within the tolerance of the original's.

    The original is measured with the forgotten outputs masked: its task is then as easy as a retrained model's.
    The high rates come first, because they forget more. One standard error of the original's accuracy is granted on
    top of the tolerance, since a small validation part is noisy. If no attempt holds, the most accurate one is
    returned and the notes say so. Every attempt's cost is the method's cost.

    Args:
        attempt: factor on the rates -> unlearned model, made from the original.
        original: the model before.
        settings: how often, by how much.
        ctx: its view must allow `retain_val`; the notes get an entry `search`.
    """
    validation = ctx.view.part(Part.RETAIN_VAL)
    if len(validation) == 0:
        ctx.log.notes["search"] = {"skipped": "no retained validation samples", "attempts": [], "accepted": True}
        return attempt(1.0)
    before = _accuracy(original, validation, ctx, masked=True)
    margin = settings.tolerance + math.sqrt(before * (1 - before) / len(validation))
    tried: list[dict[str, Any]] = []
    best, best_accuracy, kept, accepted = original, -1.0, 0, False
    for i in range(settings.attempts):
        factor = settings.factor**i
        candidate = attempt(factor)
        accuracy = _accuracy(candidate, validation, ctx)
        tried.append({"factor": factor, "accuracy": accuracy})
        accepted = accuracy >= before - margin
        if accepted or accuracy > best_accuracy:
            best, best_accuracy, kept = candidate, accuracy, i
        if accepted:
            break
        ctx.log.progress.say(f"retained validation accuracy {before:.1%} -> {accuracy:.1%}: too low, lower the rates")
    ctx.log.notes["search"] = {
        "validation_accuracy_before": before,
        "margin": margin,
        "attempts": tried,
        "kept": kept,
        "accepted": accepted,
    }
    return best


def _accuracy(model: nn.Module, samples: PartSamples, ctx: Context, *, masked: bool = False) -> float:
    with ctx.log.stage("search", 1) as stage:
        logits = predict(model, samples, ctx.runtime)
        if masked:
            logits[:, [*ctx.request.forget, *ctx.request.already_forgotten]] = -torch.inf
        stage.step(torch.zeros(()))
    return float((logits.argmax(dim=1) == samples.labels).float().mean())
