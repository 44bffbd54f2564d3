"""Trains a model by one fixed recipe until it has relearned the forgotten classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit.audit.evidence import Recovered, Relearning
from unlearnkit.audit.observe.relative_steps import RelativeSteps
from unlearnkit.audit.observe.scales import canonical
from unlearnkit.data import DataView, PartSamples
from unlearnkit.data.samples import Concat, per_class
from unlearnkit.models.head import find_head, head_features, reset_head
from unlearnkit.network import logits_of
from unlearnkit.request import CLASSES, ResolvedRequest
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.training.predict import predict

FIT_SAMPLES, FIT_STEPS, FIT_DECAY = 1000, 50, 1e-4  # of the fresh head
BATCH = 64
RATE = 0.0003  # of a tensor's norm in a step, without momentum

MARGIN = 0.05  # accuracy that may be missing to the original's

CAP = 32  # steps after which a run is given up, unless told otherwise: no vote rests on it, and it is dear

GROWTH = 2  # ratio of the steps at which accuracy is measured

EVAL_SAMPLES = 300  # test samples on each side, at most


def measuring_steps(cap: int) -> list[int]:
    """Steps at which accuracy is measured: 0, 1, 2, 4, 8, 16, ..., up to `cap`."""
    steps = [0]
    while steps[-1] < cap:
        steps.append(min(cap, max(1, steps[-1] * GROWTH)))
    return steps


def goal_parts(request: ResolvedRequest) -> tuple[Part, Part]:
    """Return the parts on which forgetting and retaining are measured after training.

    Held-out samples of forgotten classes; of single rows and subclasses the training samples to forget themselves, as
    it is these that were learned by heart.
    """
    return Part.FORGET_TEST if request.kinds <= CLASSES else Part.FORGET_TRAIN, Part.RETAIN_TEST


@dataclass(frozen=True, kw_only=True)
class RelearnGoal:
    """The accuracies that relearning is to reach, and the test samples on which they are measured."""

    forget: PartSamples
    retain: PartSamples
    forget_accuracy: float
    retain_accuracy: float

    @classmethod
    def of(cls, original: nn.Module, view: DataView, *, generator: torch.Generator, runtime: Runtime) -> Self:
        """Draw the same number of samples of every class from `goal_parts`, and measure the original on them."""
        chosen = []
        for part in goal_parts(view.split.request):
            samples = view.part(part)
            count = max(1, EVAL_SAMPLES // len(samples.labels.unique()))
            chosen.append(samples.subset(per_class(samples.labels, count, generator)))
        home = next(original.parameters()).device
        original.to(runtime.device)
        reached = [accuracy_on(samples, original, runtime) - MARGIN for samples in chosen]
        original.to(home)
        return cls(forget=chosen[0], retain=chosen[1], forget_accuracy=reached[0], retain_accuracy=reached[1])

    def reached(self, model: nn.Module, runtime: Runtime) -> Recovered:
        """Return a model's accuracies on the goal's test samples; the model is on the run's device."""
        return Recovered(
            forget=accuracy_on(self.forget, model, runtime), retain=accuracy_on(self.retain, model, runtime)
        )


def relearn(
    model: nn.Module,
    view: DataView,
    goal: RelearnGoal,
    *,
    label: str,
    generator: torch.Generator,
    runtime: Runtime,
    log: RunLog,
    head: str | None = None,
    cap: int = CAP,
) -> Relearning:
    """Train a copy of `model` with a newly fitted head until it meets both goals at two measurements in a row.

    Scales are made canonical before, and every tensor moves by a share of its own norm, as in `returning`.

    Args:
        model: any of the models; its training state, its gradients and its `requires_grad` flags play no part.
        view: the audit's view.
        goal: where to stop.
        label: name for the progress.
        generator: CPU generator of the samples; outputs of classes without samples are drawn from the global one,
            seeded by the caller.
        runtime: device and precision.
        log: where the loss goes.
        head: name of the classifier head, where it is not to be found.
        cap: steps after which the run is given up.
    """
    learner = canonical(model, view, generator=generator, runtime=runtime, log=log)
    name = find_head(learner, num_classes=len(view.split.request.classes), shape=view.shape, name=head)
    reset_head(learner, name)
    sides = [view.part(Part.FORGET_TRAIN), view.part(Part.RETAIN_TRAIN)]
    _fit_head(learner, name, sides, generator, runtime)
    steps = RelativeSteps(learner, rate=RATE)
    shares = log_shares([side.labels for side in sides], len(view.split.request.classes)).to(runtime.device)
    draws = [_Draws(len(side), generator) for side in sides]
    forget: dict[int, float] = {}
    retain: dict[int, float] = {}
    done = 0
    with log.stage(f"relearn {label}", cap) as stage:
        for measured in measuring_steps(cap):
            learner.train()
            while done < measured:
                chosen = [draw.take(BATCH // 2) for draw in draws]
                images = torch.cat([side.images(i) for side, i in zip(sides, chosen, strict=True)])
                labels = torch.cat([side.labels[i] for side, i in zip(sides, chosen, strict=True)])
                with runtime.autocast():
                    logits = logits_of(learner(runtime.inputs(images)))
                    loss = F.cross_entropy(logits + shares, labels.to(runtime.device))
                steps.zero_grad()
                loss.backward()
                steps.step()
                stage.step(loss)
                done += 1
            forget[done] = accuracy_on(goal.forget, learner, runtime)
            retain[done] = accuracy_on(goal.retain, learner, runtime)
            result = Relearning(
                forget_accuracy=forget,
                retain_accuracy=retain,
                goal_forget=goal.forget_accuracy,
                goal_retain=goal.retain_accuracy,
            )
            lately = list(result.missing.values())[-2:]
            if len(lately) == 2 and max(lately) <= 0:  # as in `reached_at`
                break
    return result


def log_shares(labels: Sequence[Tensor], classes: int) -> Tensor:
    """Return the log of each class's share in batches drawn equally from each side, (K,); -inf where it is 0."""
    counts = [torch.bincount(side, minlength=classes) / len(side) for side in labels]
    return torch.stack(counts).mean(dim=0).log()


def _fit_head(
    model: nn.Module, head: str, sides: Sequence[PartSamples], generator: torch.Generator, runtime: Runtime
) -> None:
    """Fit the head to frozen features of training samples, the same number of every class as far as there are enough.

    Logistic regression with a little weight decay, by L-BFGS, in float64 on the CPU. Outputs of classes without samples
    stay as they are.
    """
    count = max(1, FIT_SAMPLES // sum(len(side.labels.unique()) for side in sides))
    chosen = Concat([side.subset(per_class(side.labels, count, generator)) for side in sides])
    with head_features(model, head) as passes:
        predict(model, chosen, runtime)
    features = torch.cat([p.detach() for p in passes]).cpu().double()
    classes, targets = chosen.labels.unique(return_inverse=True)
    layer = model.get_submodule(head)
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    scale = features.square().mean().sqrt().clamp_min(1e-12)  # L-BFGS wants a problem of ordinary size
    fitted = nn.Linear(features.shape[1], len(classes), bias=layer.bias is not None, dtype=torch.float64)
    nn.init.zeros_(fitted.weight)
    if layer.bias is not None:
        nn.init.zeros_(fitted.bias)
    optimizer = torch.optim.LBFGS(fitted.parameters(), max_iter=FIT_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(fitted(features / scale), targets) + FIT_DECAY * fitted.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        weight = (fitted.weight / scale).view(len(classes), *layer.weight.shape[1:])
        layer.weight[classes] = weight.to(layer.weight)
        if layer.bias is not None:
            layer.bias[classes] = fitted.bias.to(layer.bias)


class _Draws:
    """Positions 0..n-1 in random order, shuffled again whenever all are used."""

    def __init__(self, n: int, generator: torch.Generator) -> None:
        self._n, self._generator = n, generator
        self._left = torch.empty(0, dtype=torch.int64)

    def take(self, count: int) -> Tensor:
        while len(self._left) < count:
            self._left = torch.cat([self._left, torch.randperm(self._n, generator=self._generator)])
        taken, self._left = self._left[:count], self._left[count:]
        return taken


def accuracy_on(samples: PartSamples, model: nn.Module, runtime: Runtime) -> float:
    """Return the share of the samples that the model gets right."""
    return float((predict(model, samples, runtime).argmax(dim=1) == samples.labels).float().mean())
