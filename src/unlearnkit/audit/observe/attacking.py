"""Trains a model on a few samples of every class, and sees how well it tells the forgotten ones again."""

from __future__ import annotations

import copy
import math
from functools import partial

import torch
from torch import nn

from unlearnkit.audit.evidence import Attacks
from unlearnkit.audit.observe.relearning import RelearnGoal
from unlearnkit.data import DataView
from unlearnkit.data.samples import Concat, per_class
from unlearnkit.models.head import find_head, reset_head
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.training.loop import train
from unlearnkit.training.recipe import Recipe

SHOTS = (1, 5, 20)  # samples of every class, forgotten and retained

FEW_SHOT = Recipe(batch_size=64, optimizer="adam", lr=1e-3)

FEW_SHOT_STEPS = 30


def attack(
    model: nn.Module,
    view: DataView,
    goal: RelearnGoal,
    *,
    label: str,
    generator: torch.Generator,
    runtime: Runtime,
    log: RunLog,
    head: str | None = None,
) -> Attacks:
    """Train copies of `model` with a new head on few samples; the model itself is not changed.

    Args:
        model: any of the models; its training state and its `requires_grad` flags play no part.
        view: the audit's view, with training samples of the forgotten classes.
        goal: the test samples on which accuracy is measured.
        label: name for the progress.
        generator: CPU generator of the samples and the batches; heads are drawn from the global one.
        runtime: device and precision.
        log: where the losses go.
        head: name of the classifier head, where it is not to be found.
    """
    forgotten, retained = view.part(Part.FORGET_TRAIN), view.part(Part.RETAIN_TRAIN)
    fit = partial(train, generator=generator, runtime=runtime, log=log)
    few_shot = {}
    for shots in SHOTS:
        learner = _copy(model, runtime)
        name = find_head(learner, num_classes=len(view.split.request.classes), shape=view.shape, name=head)
        reset_head(learner, name)
        chosen = Concat([s.subset(per_class(s.labels, shots, generator)) for s in (forgotten, retained)])
        epochs = max(1, round(FEW_SHOT_STEPS / math.ceil(len(chosen) / FEW_SHOT.batch_size)))
        fit(learner, chosen, FEW_SHOT.model_copy(update={"epochs": epochs}), stage=f"{shots} shots {label}")
        few_shot[shots] = goal.reached(learner, runtime)
    return Attacks(few_shot=few_shot, samples=(len(goal.forget), len(goal.retain)))


def _copy(model: nn.Module, runtime: Runtime) -> nn.Module:
    return runtime.weights(copy.deepcopy(model)).requires_grad_(True)
