"""Computes ZRF, which compares a model's outputs on forgotten data with those of an untrained network.

Shapes: n samples, K classes.
"""

from __future__ import annotations

import math
from dataclasses import replace

from unlearnkit.audit.doubts import Doubt, no_samples, unknown
from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metric import EVERY_KIND, Metric
from unlearnkit.audit.metrics.agreement import jensen_shannon, mean_reading, probabilities
from unlearnkit.audit.reading import Reading
from unlearnkit.split import Part

PARTS = (Part.FORGET_TRAIN, Part.FORGET_TEST)
DRAWN = 0.9  # share of the weights that must be drawn anew for a network to count as knowing nothing


def zrf(evidence: Evidence) -> list[Reading]:
    """Return ZRF = 1 - mean over forgotten samples of JS(f(x), g(x)) / log 2, with g an untrained copy of the network.

    Range [0, 1]; near 1 where the model answers like a network that knows nothing, low where it is still sure. The
    published target is "high"; a retrained model, which sees something else in the class, is mostly not near 1, so the
    target here is the retrained model's value. One random network is drawn for an audit, the same for all models. The
    interval is that of the mean over samples (normal, 95 %).

    Source: V. S. Chundawat, A. K. Tarun, M. Mandal, M. Kankanhalli, "Can Bad Teaching Induce Forgetting?", AAAI 2023
    (arXiv 2205.08096), section 4; the divergence in bits, so that the range is [0, 1].

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject, Untrained
    >>> sure, unsure = ({Part.FORGET_TEST: Outputs.of([[z, 0.0]], [1])} for z in (30.0, 0.0))
    >>> models = Subject(name="original", outputs=sure), Subject(name="unlearned", outputs=unsure)
    >>> nobody = Untrained(outputs=unsure, drawn=1.0)
    >>> evidence = Evidence.of(*models, classes=["cat", "dog"], forget=["dog"], random=nobody)
    >>> [(r.model, round(r.value, 3)) for r in zrf(evidence) if r.value is not None]
    [('original', 0.689), ('unlearned', 1.0)]
    """
    readings = []
    for part in PARTS:
        for subject in evidence.subjects:
            base = Reading(
                metric="zrf",
                model=subject.name,
                replicate=subject.replicate,
                part=part.value,
                value=None,
                unit="fraction",
                target="match_retrain",
                doubts=(no_samples(part.value),),
            )
            if part not in subject.outputs:
                readings.append(base)
            elif evidence.random is None:
                readings.append(replace(base, doubts=(unknown("no_untrained"),)))
            else:
                own_probabilities = probabilities(subject.outputs[part].logits)
                teacher = probabilities(evidence.random.outputs[part].logits)
                values = 1 - jensen_shannon(own_probabilities, teacher) / math.log(2)
                drawn = evidence.random.drawn
                doubts = (Doubt("partly_drawn", {"share": drawn}),) if drawn < DRAWN else ()
                readings.append(mean_reading(replace(base, doubts=doubts), values, most=1.0))
    return readings


ZRF = Metric(
    fn=zrf, readings=("zrf",), wants=frozenset({"outputs", "random"}), parts=frozenset(PARTS), kinds=EVERY_KIND
)
