"""Layer-wise weight distance: how far each layer has moved from the original."""

from __future__ import annotations

from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metric import Metric
from unlearnkit.audit.reading import Reading


def weight_distance(evidence: Evidence) -> list[Reading]:
    """Sum over the layers of the distance to the original; the series holds every layer.

    Unit: L2 norm, 0 and up. Descriptive: an independently trained model is far away whatever was forgotten.
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
        )
        for subject in evidence.subjects
        if subject.distances is not None and subject.name != "original"
    ]


WEIGHT_DISTANCE = Metric(fn=weight_distance, readings=("weight_distance",), wants=frozenset({"weights"}))
