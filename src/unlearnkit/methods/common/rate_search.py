"""Searches learning rates: short trials find where to start, and attempts end when the validation accuracy holds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.config import Config
from unlearnkit.data.samples import Drawn
from unlearnkit.data.view import PartSamples, Samples
from unlearnkit.errors import NonFiniteLossError
from unlearnkit.methods.method import Context
from unlearnkit.split import Part
from unlearnkit.training.loop import train
from unlearnkit.training.losses import Loss
from unlearnkit.training.predict import predict
from unlearnkit.training.recipe import Recipe

TRIAL = "trial"  # stage of the short trials


class SearchSettings(Config):
    """Settings for how far and how often the rates are lowered."""

    trials: int = Field(
        default=8, ge=0, description="rates tried for a few steps, to find where the first attempt starts; 0: none"
    )
    steps: int = Field(default=8, gt=0, description="steps of a trial")
    harm: float = Field(default=0.25, ge=0, lt=1, description="accuracy that a trial may lose, as a fraction")
    attempts: int = Field(default=4, gt=0, description="rates of whole runs at most, each from the original's weights")
    factor: float = Field(default=0.5, gt=0, lt=1, description="the rates are multiplied by this for the next one")
    tolerance: float = Field(default=0.02, ge=0, lt=1, description="accuracy that may be lost, as a fraction")


def brief_trial(
    model: nn.Module, samples: Samples, recipe: Recipe, loss: Loss, ctx: Context, factor: float, *, steps: int
) -> nn.Module:
    """Train a copy of `model` for a few steps, the recipe's rate multiplied by `factor`, and return it.

    The draws are the trial's own: where the first rate holds, a run's weights are those of a run without a trial.
    """
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(samples), generator=generator)[: steps * recipe.batch_size]
    shortened = Recipe(**{**recipe.scaled(factor).model_dump(), "epochs": 1})
    tried = copy.deepcopy(model)
    train(
        tried,
        Drawn(samples, chosen),
        shortened,
        stage=TRIAL,
        generator=generator,
        runtime=ctx.runtime,
        log=ctx.log,
        loss=loss,
    )
    return tried


def search_rates(
    attempt: Callable[[float], nn.Module],
    original: nn.Module,
    settings: SearchSettings,
    ctx: Context,
    *,
    trial: Callable[[float], nn.Module],
) -> nn.Module:
    """Return the first model whose retained validation accuracy holds; high rates come first, as they forget more.

    First short trials go down the rates, until one loses no more than `harm`: what destroys a model does so within a
    few steps. From there on whole attempts are made. Accuracy holds when it is below the original's by no more than the
    tolerance and one standard error of the difference, sqrt(lost + won) / n for n samples of which some were lost and
    some won (McNemar). The original is measured with the forgotten outputs masked: its task is then as easy as a
    retrained model's. An attempt that ends in a non-finite loss does not hold. If none holds, the first attempt is
    returned, which forgot most, and the notes say so. All of it is the method's cost.

    Where the original was trained on the validation samples no honest attempt holds, and the first one is kept. To tell
    that case beforehand would take samples that it has not seen, which only the test data has, and no method reads
    these; the safeguard of the run says it afterwards.

    Args:
        attempt: factor on the rates -> unlearned model, made from the original.
        original: the model before.
        settings: how often, by how much.
        ctx: its view must allow `retain_val`; the notes get an entry `search`.
        trial: factor on the rates -> what a few steps of the method make of the original (see `brief_trial`).

    Raises:
        NonFiniteLossError: every attempt ended in one.
    """
    validation = ctx.view.part(Part.RETAIN_VAL)
    if len(validation) == 0:
        ctx.log.notes["search"] = {"skipped": "no_retained_validation_samples", "attempts": [], "accepted": True}
        return attempt(1.0)
    known = right_answers(original, validation, ctx, masked=True)
    notes: dict[str, Any] = {"validation_accuracy_before": float(known.float().mean())}
    ctx.log.notes["search"] = notes
    start = _start(known, settings, ctx, trial, validation, notes)
    kept: nn.Module | None = None
    failure: NonFiniteLossError | None = None
    notes |= {"attempts": [], "kept": 0, "accepted": False}
    for i, factor in enumerate(_ladder(start, settings.factor, settings.attempts)):
        notes["attempts"].append({"factor": factor, "accuracy": None})
        try:
            model = attempt(factor)
        except NonFiniteLossError as error:
            failure = error
            ctx.log.progress.say("the loss became non-finite: lower the rates")
            continue
        right = right_answers(model, validation, ctx)
        accuracy = notes["attempts"][i]["accuracy"] = float(right.float().mean())
        notes["accepted"] = missing(known, right) <= settings.tolerance
        if kept is None or notes["accepted"]:
            kept, notes["kept"] = model, i
        if notes["accepted"]:
            return kept
        ctx.log.progress.say(
            f"retained validation accuracy {known.float().mean():.1%} -> {accuracy:.1%}: lower the rates"
        )
    ctx.log.progress.say("no rate holds the retained accuracy; the first attempt is kept, which forgot most")
    if kept is None:
        assert failure is not None
        raise failure
    return kept


def _ladder(start: float, factor: float, rungs: int) -> Iterator[float]:
    return (start * factor**i for i in range(rungs))


def _start(
    known: Tensor,
    settings: SearchSettings,
    ctx: Context,
    trial: Callable[[float], nn.Module],
    validation: PartSamples,
    notes: dict[str, Any],
) -> float:
    """Return the highest factor whose trial does little harm; 1 where none does, since then trials tell nothing."""
    tried: list[dict[str, Any]] = []
    if settings.trials:
        notes["trials"] = tried
    for factor in _ladder(1.0, settings.factor, settings.trials):
        tried.append({"factor": factor, "accuracy": None})
        try:
            model = trial(factor)
        except NonFiniteLossError:
            continue
        right = right_answers(model, validation, ctx, masked=True)
        tried[-1]["accuracy"] = float(right.float().mean())
        if missing(known, right) <= settings.harm:
            return factor
    return 1.0


def missing(before: Tensor, after: Tensor) -> float:
    """Return the lost accuracy less one standard error of the difference of two models on the same samples."""
    lost, won = int((before & ~after).sum()), int((after & ~before).sum())
    return (lost - won - math.sqrt(lost + won)) / len(before)


def right_answers(model: nn.Module, samples: PartSamples, ctx: Context, *, masked: bool = False) -> Tensor:
    """Return which samples (N,) the model gets right; with `masked` the outputs that are gone are left out."""
    with ctx.log.stage("search", 1) as stage:
        logits = predict(model, samples, ctx.runtime)
        if masked:
            logits[:, [*ctx.request.forget, *ctx.request.already_forgotten]] = -torch.inf
        right = logits.argmax(dim=1) == samples.labels
        stage.step(1 - right.float().mean())
    return right
