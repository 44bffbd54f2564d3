"""Measures how far the weights of each layer have moved from the original's, and doubts those that have not."""

from __future__ import annotations

from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metric import EVERY_KIND, Metric
from unlearnkit.audit.reading import Reading

KEPT = 0.5  # share of bitwise equal weights from which on it is said


def weight_distance(evidence: Evidence) -> list[Reading]:
    """Return the distance to the original, summed over the layers; the series holds every layer.

        sum over layers l of || theta_l - theta_l^original ||_2

    Unit: L2 norm, 0 and up. A doubt says what share of the weights is bitwise the original's, where it is half or more:
    what stands in them is still there, whatever the rest of the network does with it. Descriptive: an independently
    trained model is far away whatever was forgotten.

    Source: A. K. Tarun et al., "Fast Yet Effective Machine Unlearning", TNNLS 2023 (arXiv 2111.08947), figure
    "layer-wise weight distance".

    >>> from unlearnkit.audit.evidence import Evidence, Subject
    >>> model = Subject(name="unlearned", distances={"stem": 0.5, "head": 2.0})
    >>> [(r.value, r.series) for r in weight_distance(Evidence.of(model, classes=["cat", "dog"], forget=["dog"]))]
    [(2.5, {'stem': 0.5, 'head': 2.0})]
    """
    return [
        Reading(
            metric="weight_distance",
            model=subject.name,
            replicate=subject.replicate,
            value=sum(subject.distances.values()),
            unit="L2",
            target="none",
            series=dict(subject.distances),
            doubts=(Doubt("weights_kept", {"share": subject.unchanged}),)
            if subject.unchanged is not None and subject.unchanged >= KEPT
            else (),
        )
        for subject in evidence.subjects
        if subject.distances is not None and subject.name != "original"
    ]


WEIGHT_DISTANCE = Metric(
    fn=weight_distance, readings=("weight_distance",), wants=frozenset({"weights"}), kinds=EVERY_KIND
)
