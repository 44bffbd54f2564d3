"""Reports how much of the forgotten classes training on a few samples of every class brings back, by a fixed recipe.

It means something only beside the same attack on a retrained model, which learns the class from so many samples too.
"""

from __future__ import annotations

import math
from dataclasses import replace

from unlearnkit.audit.doubts import Doubt, because, size_doubts
from unlearnkit.audit.evidence import Attacks, Evidence, Subject
from unlearnkit.audit.metric import Metric
from unlearnkit.audit.metrics.accuracy import SMALL
from unlearnkit.audit.reading import Reading
from unlearnkit.split import Part


def few_shot_recovery(evidence: Evidence) -> list[Reading]:
    """Measure how well a model tells forgotten from retained data after training on few samples, with a new head.

    `few_shot_recovery` in [0, 1] is the mean of the accuracies on forgotten and on retained test data after the most
    shots (20 of every class), with a normal 95 % interval; its series is the curve over 1, 5 and 20 shots. The mean
    of both, because a network that takes everything for the forgotten class has not learned it. Training: Adam at
    1e-3, batches of 64, about 30 steps. Target: the retrained model's.

        value = (a_f + a_r) / 2,   half of the interval = 1.96 sqrt(a_f (1 - a_f) / n_f + a_r (1 - a_r) / n_r) / 2

    Source: the setting is ours.

    >>> from unlearnkit.audit.evidence import Evidence, Recovered
    >>> found = Attacks(few_shot={1: Recovered(forget=0.25, retain=0.75)}, samples=(200, 200))
    >>> evidence = Evidence.of(Subject(name="unlearned", attacks=found), classes=["cat", "dog"], forget=["dog"])
    >>> [(r.value, r.series) for r in few_shot_recovery(evidence)]
    [(0.5, {'1': 0.5})]
    """
    readings = []
    for subject in evidence.subjects:
        base, found = _unknown("few_shot_recovery", subject), subject.attacks
        if found is None:
            readings.append(base)
            continue
        last = found.few_shot[max(found.few_shot)]
        pairs = zip((last.forget, last.retain), found.samples, strict=True)
        half = 1.96 * math.sqrt(sum(p * (1 - p) / n for p, n in pairs)) / 2
        value = last.balanced
        readings.append(
            replace(
                base,
                value=value,
                interval=(max(0.0, value - half), min(1.0, value + half)),
                samples=min(found.samples),
                series={str(shots): point.balanced for shots, point in found.few_shot.items()},
                doubts=_doubts(found),
            )
        )
    return readings


def _unknown(metric: str, subject: Subject) -> Reading:
    return Reading(
        metric=metric,
        model=subject.name,
        replicate=subject.replicate,
        part=Part.FORGET_TEST.value,
        value=None,
        unit="fraction",
        target="match_retrain",
        doubts=(because(subject.attack_failure or Doubt("needs_forgotten_samples")),),
    )


def _doubts(found: Attacks) -> tuple[Doubt, ...]:
    return tuple(size_doubts(min(found.samples), None, SMALL))


FEW_SHOT_RECOVERY = Metric(fn=few_shot_recovery, readings=("few_shot_recovery",), wants=frozenset({"attacks"}))
