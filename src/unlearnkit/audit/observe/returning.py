"""Trains a model on retained samples alone, at several rates, and sees how much of the forgotten classes comes back.

What comes back was never gone: nothing in the training shows the forgotten classes.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn

from unlearnkit.audit.evidence import Returned
from unlearnkit.audit.observe.relative_steps import RelativeSteps
from unlearnkit.audit.observe.relearning import RelearnGoal, accuracy_on
from unlearnkit.audit.observe.scales import canonical
from unlearnkit.data import DataView
from unlearnkit.network import logits_of
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part

RATES = (0.0001, 0.0003, 0.001, 0.003)  # of a tensor's norm in a step, without momentum
LENGTHS = (25, 100)  # steps
BATCH = 24


def returned(
    model: nn.Module,
    view: DataView,
    goal: RelearnGoal,
    *,
    label: str,
    generator: torch.Generator,
    runtime: Runtime,
    log: RunLog,
) -> Returned:
    """Return how much a copy of `model` knows of the forgotten classes after training on retained samples alone.

    Every tensor moves by a share of its own norm (`RelativeSteps`); before, filters that a norm follows get norm 1, and
    BatchNorm's statistics are estimated anew, so that neither scales nor false statistics hide anything. The rate is
    constant, and both lengths are read off one run.

    Args:
        model: any of the models; its training state and its `requires_grad` flags play no part.
        view: the audit's view.
        goal: the test samples on which accuracy is measured.
        label: name for the progress.
        generator: CPU generator of the samples and their order, the same for every rate.
        runtime: device and precision.
        log: where the losses go.
    """
    retained = view.part(Part.RETAIN_TRAIN)
    drawn = torch.randperm(len(retained), generator=generator)
    start = canonical(model, view, generator=generator, runtime=runtime, log=log)
    before = accuracy_on(goal.forget, start, runtime)
    after: dict[tuple[float, int], float] = {}
    for rate in RATES:
        learner = copy.deepcopy(start)
        steps = RelativeSteps(learner, rate=rate)
        with log.stage(f"return {label} at {rate:g}", max(LENGTHS)) as stage:
            for done in range(1, max(LENGTHS) + 1):
                positions = drawn[torch.arange((done - 1) * BATCH, done * BATCH) % len(drawn)]
                learner.train()
                with runtime.autocast():
                    logits = logits_of(learner(runtime.inputs(retained.images(positions))))
                    loss = F.cross_entropy(logits, retained.labels[positions].to(runtime.device))
                steps.zero_grad()
                loss.backward()
                steps.step()
                stage.step(loss)
                if done in LENGTHS:
                    after[rate, done] = accuracy_on(goal.forget, learner, runtime)
    return Returned(before=before, after=after, samples=len(goal.forget))
