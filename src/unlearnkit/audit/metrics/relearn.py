"""Measures how many training steps a model needs to relearn the forgotten classes, by one fixed recipe.

Every model is trained by the same recipe, whatever made it: its head is fitted anew to its frozen features, on training
samples of all classes; then the whole model is trained on balanced batches, half forgotten and half retained training
samples, with the share that a class has in them taken out of the loss (logit adjustment). With the old head kept, a
mask of outputs would look like forgetting; on forgotten data alone, or with the share left in, a shift of one bias
would do; and a head drawn at random distorts the features in the first steps (docs/adr/0003). The number means
something only beside the retrained model's (Chundawat et al., "Zero-Shot Machine Unlearning", arXiv 2201.05629). It has
no vote: in too many settings it does not tell the original from retrained models (docs/adr/0008).

Sources of the recipe: Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution"
(ICLR 2022, arXiv 2202.10054), for the head fitted first; Menon et al., "Long-tail learning via logit adjustment" (ICLR
2021, arXiv 2007.07314), equation 10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from unlearnkit.audit.doubts import Doubt, because
from unlearnkit.audit.evidence import Evidence, reached_at
from unlearnkit.audit.metric import Metric
from unlearnkit.audit.reading import Reading


def crossing(missing: Mapping[int, float]) -> float | None:
    """Return the step at which the goal is met, interpolated between measurements over the logarithm of the step.

    With b the step of `reached_at`, a the one measured before it, and m what is missing there (m_a > 0, m_b <= 0), it
    is a (b / a)^(m_a / (m_a - m_b)). Without it the measuring steps would be coarser than the difference that a
    verdict overlooks.

    Args:
        missing: goal less accuracy, by measured step, ascending.

    Returns:
        The step, and 1 where it is the first or none at all was needed; None where the goal is not reached.
    """
    reached = reached_at(missing)
    if reached is None:
        return None
    last = max((step for step in missing if step < reached), default=0)
    if last == 0:
        return float(max(1, reached))
    return float(last * (reached / last) ** (missing[last] / (missing[last] - missing[reached])))


def relearn_time(evidence: Evidence) -> list[Reading]:
    """Count the steps until the forgotten classes are relearned: together with the retained ones, and alone.

    `relearn_steps`: until both forgotten and retained test accuracy are within 5 points of the original's, at two
    measurements running, as `crossing` finds it; its series is the accuracy on forgotten test data by step.
    `relearn_forget_steps`: until forgotten test accuracy is; its series is the retained accuracy. `anamnesis_index` and
    `anamnesis_index_forget` are their ratios to the geometric mean of the retrained models' (of the others', for one of
    those): 1 where the model learns as fast as they do, below 1 where it remembers. Source of the ratio: Chundawat et
    al., "Zero-Shot Machine Unlearning", IEEE TIFS 2023 (arXiv 2201.05629), section 3.3, which counts the steps on
    forgotten and retained data to within a margin of the original's accuracy.

    Unit: mini-batch steps of 64 samples, 1 to 32; 1 also where the fitted head was enough, and where the goal was not
    reached the step of the last measurement, with a doubt (censored). Target: the retrained model's. The interval is
    (last measured step not there yet, first one there).

    >>> from unlearnkit.audit.evidence import Evidence, Relearning, Subject
    >>> curve = {0: 0.0, 1: 0.5, 2: 0.9, 4: 0.95}  # accuracy by step, on forgotten and on retained data
    >>> run = Relearning(forget_accuracy=curve, retain_accuracy=curve, goal_forget=0.9, goal_retain=0.9)
    >>> evidence = Evidence.of(Subject(name="unlearned", relearning=run), classes=["cat", "dog"], forget=["dog"])
    >>> [(r.metric, r.value, r.interval) for r in relearn_time(evidence)]
    [('relearn_steps', 2.0, (1.0, 2.0)), ('relearn_forget_steps', 2.0, (1.0, 2.0))]
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
            doubts=(because(subject.relearn_failure or Doubt("needs_forgotten_samples")),),
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


def _anamnesis(readings: Sequence[Reading], metric: str, name: str) -> list[Reading]:
    of_metric = [r for r in readings if r.metric == metric]
    indices = []
    for reading in of_metric:
        other_retrained = [r for r in of_metric if r.model == "retrained" and r is not reading and r.value is not None]
        if reading.value is None or not other_retrained:
            continue
        mean = math.exp(sum(math.log(r.value) for r in other_retrained if r.value) / len(other_retrained))
        censored = [d for r in (reading, *other_retrained) for d in r.doubts if d.code == "censored"]
        single = [Doubt("one_retrained")] if len(other_retrained) == 1 else []
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
    reached = reached_at(missing) or 0
    last, given_up = max((step for step in missing if step < reached), default=0), max(missing)
    return replace(
        base,
        value=float(given_up) if found is None else found,
        interval=None if found is None else (float(last), float(max(1, reached))),
        series={str(step): accuracy for step, accuracy in series.items()},
        doubts=(Doubt("censored", {"steps": given_up}),) if found is None else (),
    )


RELEARN_TIME = Metric(
    fn=relearn_time,
    readings=("relearn_steps", "relearn_forget_steps", "anamnesis_index", "anamnesis_index_forget"),
    wants=frozenset({"relearn"}),
)
