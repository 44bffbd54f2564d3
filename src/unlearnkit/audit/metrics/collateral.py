"""Measures the damage of forgetting to the retained classes that look most like the forgotten ones.

Shapes: n samples, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unlearnkit.audit.doubts import size_doubts
from unlearnkit.audit.evidence import Evidence, Outputs
from unlearnkit.audit.metric import OUTPUTS, Metric
from unlearnkit.audit.metrics.accuracy import SMALL
from unlearnkit.audit.metrics.agreement import probabilities
from unlearnkit.audit.reading import Reading, wilson
from unlearnkit.split import Part

PARTS = (Part.RETAIN_TEST,)
NEAREST = 3  # classes, and no more than half of the retained ones


def nearest_classes(outputs: Outputs, forgotten: Sequence[int]) -> list[int]:
    """Return the retained classes whose samples get most probability of a forgotten class, nearest first.

    No sample of the forgotten classes is needed. At most `NEAREST`, and no more than half of the classes there are.

    Args:
        outputs: what the original says of retained samples.
        forgotten: class ids.
    """
    taken = probabilities(outputs.logits)[:, list(forgotten)].sum(dim=1)
    present = outputs.labels.unique().tolist()
    mean = {k: float(taken[outputs.labels == k].mean()) for k in present}
    return sorted(present, key=lambda k: (-mean[k], k))[: max(1, min(NEAREST, len(present) // 2))]


def collateral(evidence: Evidence) -> list[Reading]:
    """Measure accuracy on the classes nearest to the forgotten ones, and the retained samples taken for forgotten ones.

    `collateral_accuracy` in [0, 1] is the retained test accuracy on the classes of `nearest_classes`, found on the
    original; its series is the accuracy of each. Target: the retrained model's, which these classes gain from: their
    samples can no longer be mistaken. `forgotten_share` in [0, 1] is the share of retained test samples whose largest
    logit is a forgotten class; a retrained model gives none. Intervals: Wilson's.

        collateral_accuracy = mean of [argmax f(x) = y] over retained test samples with y among the nearest classes
        forgotten_share     = mean of [argmax f(x) is to be forgotten] over all retained test samples

    Source: none that we know of; both are ours.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> seen = Outputs.of(logits=[[2.0, 0.0, 1.0], [0.0, 2.0, 0.0], [0.0, 1.0, 3.0]], labels=[0, 1, 1])
    >>> models = [Subject(name=name, outputs={Part.RETAIN_TEST: seen}) for name in ("original", "unlearned")]
    >>> readings = collateral(Evidence.of(*models, classes=["cat", "dog", "fox"], forget=["fox"]))
    >>> [(r.metric, round(r.value, 3), r.series) for r in readings if r.model == "unlearned"]
    [('collateral_accuracy', 0.5, {'dog': 0.5}), ('forgotten_share', 0.333, None)]
    """
    (original,) = evidence.named("original")
    part = Part.RETAIN_TEST
    if part not in original.outputs:
        return []
    nearest = nearest_classes(original.outputs[part], evidence.request.forget)
    forgotten_ids = torch.tensor(evidence.request.forget)
    readings = []
    for subject in evidence.subjects:
        outputs = subject.outputs[part]
        right = outputs.predictions == outputs.labels
        near = torch.isin(outputs.labels, torch.tensor(nearest))
        taken = torch.isin(outputs.predictions, forgotten_ids)
        series = {evidence.request.classes[k]: float(right[outputs.labels == k].double().mean()) for k in nearest}
        for metric, hits, shown in (("collateral_accuracy", right[near], series), ("forgotten_share", taken, None)):
            n = len(hits)
            readings.append(
                Reading(
                    metric=metric,
                    model=subject.name,
                    replicate=subject.replicate,
                    part=part.value,
                    value=_share(hits),
                    unit="fraction",
                    target="match_retrain",
                    interval=wilson(int(hits.sum()), n),
                    series=shown,
                    samples=n,
                    doubts=tuple(size_doubts(n, None, SMALL)),
                )
            )
    return readings


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())


COLLATERAL = Metric(
    fn=collateral, readings=("collateral_accuracy", "forgotten_share"), wants=OUTPUTS, parts=frozenset(PARTS)
)
