"""Relearn time: training steps until a model knows the forgotten classes again, by one fixed recipe.

Every model is trained by the same recipe, whatever made it: its head is fitted anew to its frozen features, on training
samples of all classes; then the whole model is trained on balanced batches, half forgotten and half retained training
samples, with the share that a class has in them taken out of the loss (logit adjustment). With the old head kept, a
mask of outputs would look like forgetting; on forgotten data alone, or with the share left in, a shift of one bias
would do; and a head drawn at random distorts the features in the first steps (docs/adr/0003). The number means
something only beside the retrained model's (Chundawat et al., "Zero-Shot Machine Unlearning", arXiv 2201.05629).

Sources of the recipe: Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution"
(ICLR 2022, arXiv 2202.10054), for the head fitted first; Menon et al., "Long-tail learning via logit adjustment" (ICLR
2021, arXiv 2007.07314), equation 10.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit.audit.evidence import Evidence, Recovered, Relearning
from unlearnkit.audit.reading import Reading
from unlearnkit.data import DataView, PartSamples
from unlearnkit.data.samples import Concat, per_class
from unlearnkit.losses import logits_of
from unlearnkit.models.head import find_head, head_features, reset_head
from unlearnkit.runlog import RunLog
from unlearnkit.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.training import Recipe, make_optimizer, predict

RECIPE = Recipe(batch_size=64, optimizer="sgd", lr=0.003)
MARGIN = 0.05  # accuracy that may be missing to the original's
CAP = 128  # steps after which a run is given up, unless told otherwise
GROWTH = math.sqrt(2)  # ratio of the steps at which accuracy is measured
EVAL_SAMPLES = 300  # test samples on each side, at most
FIT_SAMPLES, FIT_STEPS, FIT_DECAY = 1000, 50, 1e-4  # of the fresh head


def measuring_steps(cap: int) -> list[int]:
    """Steps at which accuracy is measured: 0, 1, 2, 3, 4, 6, 8, 11, 16, ... in ratios of about 1.4, up to `cap`."""
    steps = [0]
    while steps[-1] < cap:
        steps.append(min(cap, max(steps[-1] + 1, round(steps[-1] * GROWTH))))
    return steps


def reached_at(missing: Mapping[int, float]) -> int | None:
    """First measured step at which the goal is reached, and still is at the next one, where there is a next one.

    A retrained model stays for long just below the goal; one lucky measurement there is not yet knowledge.

    Args:
        missing: goal less accuracy, by measured step, ascending.
    """
    steps = list(missing)
    for step, following in zip(steps, [*steps[1:], steps[-1]] if steps else [], strict=True):
        if missing[step] <= 0 and missing[following] <= 0:
            return step
    return None


def crossing(missing: Mapping[int, float]) -> float | None:
    """Step at which nothing is missing any more: between two measurements, interpolated over the logarithm of the step.

    With b the step of `reached_at`, a the one measured before it, and m what is missing there (m_a > 0, m_b <= 0), it
    is a (b / a)^(m_a / (m_a - m_b)). Without it the measuring steps would be coarser than the difference that a
    verdict overlooks.

    Args:
        missing: goal less accuracy, by measured step, ascending.

    Returns:
        The step, and 1 where it is the first or none at all was needed; None where the goal is not reached.
    """
    there = reached_at(missing)
    if there is None:
        return None
    last = max((step for step in missing if step < there), default=0)
    if last == 0:
        return float(max(1, there))
    return float(last * (there / last) ** (missing[last] / (missing[last] - missing[there])))


@dataclass(frozen=True, kw_only=True)
class RelearnGoal:
    """Test samples that accuracy is measured on, and the accuracies to reach."""

    forget: PartSamples
    retain: PartSamples
    forget_accuracy: float
    retain_accuracy: float

    @classmethod
    def of(cls, original: nn.Module, view: DataView, *, generator: torch.Generator, runtime: Runtime) -> Self:
        """Draw the samples, the same number of every class, and measure the original on them."""
        chosen = []
        for part in (Part.FORGET_TEST, Part.RETAIN_TEST):
            samples = view.part(part)
            count = max(1, EVAL_SAMPLES // len(samples.labels.unique()))
            chosen.append(samples.subset(per_class(samples.labels, count, generator)))
        home = next(original.parameters()).device
        original.to(runtime.device)
        reached = [_accuracy(original, samples, runtime) - MARGIN for samples in chosen]
        original.to(home)
        return cls(forget=chosen[0], retain=chosen[1], forget_accuracy=reached[0], retain_accuracy=reached[1])

    def reached(self, model: nn.Module, runtime: Runtime) -> Recovered:
        """Accuracy of a model, on the run's device, on the same test samples."""
        return Recovered(forget=_accuracy(model, self.forget, runtime), retain=_accuracy(model, self.retain, runtime))


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
    """Train a copy of `model` with a head fitted anew until it meets the goal twice running; `model` is not changed.

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
    learner = runtime.weights(copy.deepcopy(model)).requires_grad_(True)
    name = find_head(learner, num_classes=len(view.split.request.classes), shape=view.shape, name=head)
    reset_head(learner, name)
    sides = [view.part(Part.FORGET_TRAIN), view.part(Part.RETAIN_TRAIN)]
    _fit_head(learner, name, sides, generator, runtime)
    optimizer = make_optimizer(learner, RECIPE)
    shares = log_shares([side.labels for side in sides], len(view.split.request.classes)).to(runtime.device)
    draws = [_Draws(len(side), generator) for side in sides]
    forget: dict[int, float] = {}
    retain: dict[int, float] = {}
    done = 0
    with log.stage(f"relearn {label}", cap) as stage:
        for measured in measuring_steps(cap):
            learner.train()
            while done < measured:
                chosen = [draw.take(RECIPE.batch_size // 2) for draw in draws]
                images = torch.cat([side.images(i) for side, i in zip(sides, chosen, strict=True)])
                labels = torch.cat([side.labels[i] for side, i in zip(sides, chosen, strict=True)])
                with runtime.autocast():
                    logits = logits_of(learner(runtime.inputs(images)))
                    loss = F.cross_entropy(logits + shares, labels.to(runtime.device))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                stage.step(loss)
                done += 1
            forget[done] = _accuracy(learner, goal.forget, runtime)
            retain[done] = _accuracy(learner, goal.retain, runtime)
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


def relearn_time(evidence: Evidence) -> list[Reading]:
    """Steps until the forgotten classes are known again, with the retained ones and alone.

    `relearn_steps`: until the mean of forgotten and retained test accuracy is within 5 points of the original's, at two
    measurements running, as `crossing` finds it; its series is the accuracy on forgotten test data by step.
    `relearn_forget_steps`: until forgotten test accuracy is; its series is the retained accuracy. `anamnesis_index` and
    `anamnesis_index_forget` are their ratios to the geometric mean of the retrained models' (of the others', for one of
    those): 1 where the model learns as fast as they do, below 1 where it remembers. Source of the ratio: Chundawat et
    al., "Zero-Shot Machine Unlearning", IEEE TIFS 2023 (arXiv 2201.05629), section 3.3, which counts the steps on
    forgotten and retained data to within a margin of the original's accuracy.

    Unit: mini-batch steps of 64 samples, 1 to 128; 1 also where the fitted head was enough, and where the goal was not
    reached the step of the last measurement, with a doubt (censored). Target: the retrained model's. The interval is
    (last measured step not there yet, first one there).
    """
    readings = []
    for subject in evidence.subjects:
        run = subject.relearning
        unknown = Reading(
            metric="relearn_steps",
            model=subject.name,
            replicate=subject.replicate,
            value=None,
            unit="steps",
            target="match_retrain",
            doubts=(
                f"unknown: {subject.relearn_failure or 'needs training and test samples of the forgotten classes'}",
            ),
        )
        if run is None:
            readings += [unknown, replace(unknown, metric="relearn_forget_steps")]
            continue
        readings += [
            _reading(unknown, run.missing, run.forget_accuracy),
            _reading(replace(unknown, metric="relearn_forget_steps"), run.missing_forget, run.retain_accuracy),
        ]
    return [
        *readings,
        *_anamnesis(readings, "relearn_steps", "anamnesis_index"),
        *_anamnesis(readings, "relearn_forget_steps", "anamnesis_index_forget"),
    ]


def log_shares(labels: Sequence[Tensor], classes: int) -> Tensor:
    """Logarithm of every class's share in batches drawn from each of the sides alike, (K,); -inf where it has none."""
    counts = [torch.bincount(side, minlength=classes) / len(side) for side in labels]
    return torch.stack(counts).mean(dim=0).log()


def _fit_head(
    model: nn.Module, head: str, sides: Sequence[PartSamples], generator: torch.Generator, runtime: Runtime
) -> None:
    """Fit the head to the frozen features of training samples, the same number of every class, if there are as many.

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


def _anamnesis(readings: Sequence[Reading], metric: str, name: str) -> list[Reading]:
    mine = [r for r in readings if r.metric == metric]
    indices = []
    for reading in mine:
        others = [r for r in mine if r.model == "retrained" and r is not reading and r.value is not None]
        if reading.value is None or not others:
            continue
        mean = math.exp(sum(math.log(r.value) for r in others if r.value) / len(others))
        censored = [d for r in (reading, *others) for d in r.doubts if d.startswith("censored")]
        single = ["one retrained model"] if len(others) == 1 else []
        indices.append(
            replace(
                reading,
                metric=name,
                value=reading.value / mean,
                unit="ratio",
                interval=None,
                series=None,
                doubts=(*dict.fromkeys(censored), *single),
            )
        )
    return indices


def _reading(base: Reading, missing: Mapping[int, float], series: Mapping[int, float]) -> Reading:
    found = crossing(missing)
    there = reached_at(missing) or 0
    last, given_up = max((step for step in missing if step < there), default=0), max(missing)
    return replace(
        base,
        value=float(given_up) if found is None else found,
        interval=None if found is None else (float(last), float(max(1, there))),
        series={str(step): accuracy for step, accuracy in series.items()},
        doubts=(f"censored: not relearned within {given_up} steps",) if found is None else (),
    )


class _Draws:
    """Positions 0..n-1 in random order, reshuffled whenever they are used up."""

    def __init__(self, n: int, generator: torch.Generator) -> None:
        self._n, self._generator = n, generator
        self._left = torch.empty(0, dtype=torch.int64)

    def take(self, count: int) -> Tensor:
        while len(self._left) < count:
            self._left = torch.cat([self._left, torch.randperm(self._n, generator=self._generator)])
        taken, self._left = self._left[:count], self._left[count:]
        return taken


def _accuracy(model: nn.Module, samples: PartSamples, runtime: Runtime) -> float:
    return float((predict(model, samples, runtime).argmax(dim=1) == samples.labels).float().mean())
