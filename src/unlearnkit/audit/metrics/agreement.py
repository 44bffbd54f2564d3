"""Measures how far a model's probabilities on forgotten samples are from those of the retrained models.

Shapes: n samples, K classes.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, no_samples, unknown
from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metric import EVERY_KIND, OUTPUTS, ROWS, Metric, Vote
from unlearnkit.audit.metrics.membership import usable
from unlearnkit.audit.reading import Reading
from unlearnkit.split import Part

PARTS = (Part.FORGET_TRAIN, Part.FORGET_TEST)


def probabilities(logits: Tensor) -> Tensor:
    """Softmax in float64: (n, K) -> (n, K)."""
    return logits.double().softmax(dim=1)


def activation_distance(p: Tensor, q: Tensor) -> Tensor:
    """Euclidean distance of two probability vectors for each sample, ||p_i - q_i||_2: (n, K) twice -> (n,).

    From 0 to sqrt(2). Source: V. S. Chundawat, A. K. Tarun, M. Mandal, M. Kankanhalli, "Can Bad Teaching Induce
    Forgetting?", AAAI 2023 (arXiv 2205.08096), section 5.
    """
    distance: Tensor = (p - q).norm(dim=1)
    return distance


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence for each sample, in nats: (n, K) twice -> (n,).

    JS(p, q) = H(m) - H(p) / 2 - H(q) / 2 with m = (p + q) / 2 and H the entropy, 0 log 0 = 0. From 0 to log 2,
    symmetric, finite where a probability is 0. Source: J. Lin, IEEE Trans. Information Theory 37(1), 1991.
    """
    middle = (p + q) / 2
    value = -torch.xlogy(middle, middle) + (torch.xlogy(p, p) + torch.xlogy(q, q)) / 2
    return value.sum(dim=1).clamp(0.0, math.log(2))


def output_agreement(evidence: Evidence) -> list[Reading]:
    """Measure activation distance and Jensen-Shannon divergence to the retrained models on forgotten data.

    `activation_distance` in [0, sqrt 2] and `js_divergence` in [0, log 2] nats: means over the samples and the
    retrained models; a retrained model is held against the others. The interval is that of the mean over samples
    (normal, 95 %). Target: what a retrained model has to the others, which is not 0. Formulas and sources:
    `activation_distance` and `jensen_shannon`, of probabilities (n, K).

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> logits = {"unlearned": [[30.0, 0.0]], "retrained": [[0.0, 30.0]]}
    >>> seen = {name: {Part.FORGET_TEST: Outputs.of(each, [1])} for name, each in logits.items()}
    >>> models = [Subject(name=name, outputs=outputs) for name, outputs in seen.items()]
    >>> readings = output_agreement(Evidence.of(*models, classes=["cat", "dog"], forget=["dog"]))
    >>> [(r.metric, round(r.value, 3)) for r in readings if r.value is not None]
    [('activation_distance', 1.414), ('js_divergence', 0.693)]
    """
    readings = []
    for part in PARTS:
        having = [s for s in evidence.subjects if part in s.outputs]
        known = {id(s): probabilities(s.outputs[part].logits) for s in having if usable(s.outputs[part].logits)}
        for subject in evidence.subjects:
            other_retrained = [s for s in evidence.named("retrained") if s is not subject and id(s) in known]
            base = Reading(
                metric="activation_distance",
                model=subject.name,
                replicate=subject.replicate,
                part=part.value,
                value=None,
                unit="distance",
                target="match_retrain",
                doubts=(
                    unknown("outputs_not_finite", {"part": part.value})
                    if part in subject.outputs
                    else no_samples(part.value),
                ),
            )
            if id(subject) not in known:
                readings += [base, replace(base, metric="js_divergence", unit="nats")]
            elif other_retrained:
                own_probabilities = known[id(subject)]
                pairs = [(own_probabilities, known[id(other)]) for other in other_retrained]
                distance = torch.stack([activation_distance(p, q) for p, q in pairs]).mean(dim=0)
                divergence = torch.stack([jensen_shannon(p, q) for p, q in pairs]).mean(dim=0)
                doubts = (Doubt("one_retrained"),) if len(other_retrained) == 1 else ()
                readings += [
                    mean_reading(replace(base, doubts=doubts), distance),
                    mean_reading(replace(base, metric="js_divergence", unit="nats", doubts=doubts), divergence),
                ]
    return readings


def mean_reading(base: Reading, values: Tensor, most: float = math.inf) -> Reading:
    """Fill in the mean of `values` (n,), its normal 95 % interval within [0, `most`], and n."""
    n, mean = len(values), float(values.mean())
    half = 1.96 * float(values.std()) / math.sqrt(n) if n > 1 else math.inf
    interval = (max(0.0, mean - half), min(most, mean + half)) if n > 1 else None
    return replace(base, value=mean, interval=interval, samples=n)


# a model nearer to the retrained ones than they are to each other is no worse than they are
OUTPUT_AGREEMENT = Metric(
    fn=output_agreement,
    readings=("activation_distance", "js_divergence"),
    wants=OUTPUTS,
    parts=frozenset(PARTS),
    votes=(
        Vote(
            metric="activation_distance",
            part=Part.FORGET_TEST,
            family="outputs",
            scale="distance",
            delta=0.05,
            fault="high",
            pairwise=True,
        ),
        Vote(
            metric="activation_distance",
            part=Part.FORGET_TRAIN,
            family="outputs",
            scale="distance",
            delta=0.05,
            fault="high",
            pairwise=True,
            kinds=ROWS,
        ),
    ),
    retrain_free=False,
    kinds=EVERY_KIND,
)
