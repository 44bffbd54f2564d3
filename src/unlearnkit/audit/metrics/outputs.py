"""Measures which classes a model predicts for forgotten data.

Shapes: n samples, K classes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, no_samples
from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metric import EVERY_KIND, OUTPUTS, Metric, Vote
from unlearnkit.audit.reading import Reading
from unlearnkit.split import Part

PARTS = (Part.FORGET_TRAIN, Part.FORGET_TEST)


def prediction_shares(predictions: Tensor, classes: int) -> Tensor:
    """Share of each class among the predictions: (n,) int64 -> (K,) float64, sum 1."""
    return torch.bincount(predictions, minlength=classes).double() / len(predictions)


def entropy(shares: Tensor) -> float:
    """Entropy in nats, -sum p log p with 0 log 0 = 0; from 0 (one class) to log K (all equal)."""
    return max(0.0, float(-torch.xlogy(shares, shares).sum()))  # no -0.0


def total_variation(p: Tensor, q: Tensor) -> float:
    """Total variation distance, half the sum of |p - q|; from 0 (equal) to 1 (disjoint)."""
    return float((p - q).abs().sum() / 2)


def prediction_distribution(evidence: Evidence) -> list[Reading]:
    """Measure the predictions on forgotten data: largest share, entropy, total variation to the retrained models'.

    `prediction_max_share` in [1/K, 1] (its series is the share of every class), `prediction_entropy` in [0, log K]
    nats, `prediction_tv` in [0, 1] against the mean distribution of the retrained models; a retrained model among
    several is held against the others. Target: what a retrained model does, not uniform and not all on one class.

    With s_k the share of the n samples whose largest logit is class k's, and r_k its mean over the retrained models:
    max over k of s_k, -sum over k of s_k log s_k, and half the sum over k of |s_k - r_k|.

    Source: entropy and total variation distance as in statistics; that they are held against retrained models is ours.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> logits = {"unlearned": [[2.0, 0.0, 0.0]] * 4, "retrained": [[0.0, 2.0, 0.0]] * 4}
    >>> seen = {name: {Part.FORGET_TEST: Outputs.of(each, [2] * 4)} for name, each in logits.items()}
    >>> models = [Subject(name=name, outputs=outputs) for name, outputs in seen.items()]
    >>> readings = prediction_distribution(Evidence.of(*models, classes=["cat", "dog", "fox"], forget=["fox"]))
    >>> [(r.metric, r.value) for r in readings if r.model == "unlearned" and r.part == "forget_test"]
    [('prediction_max_share', 1.0), ('prediction_entropy', 0.0), ('prediction_tv', 1.0)]
    """
    classes = evidence.request.classes
    readings: list[Reading] = []
    for part in PARTS:
        shares = [
            prediction_shares(s.outputs[part].predictions, len(classes)) if part in s.outputs else None
            for s in evidence.subjects
        ]
        for subject, own_shares in zip(evidence.subjects, shares, strict=True):
            base = Reading(
                metric="prediction_max_share",
                model=subject.name,
                replicate=subject.replicate,
                part=part.value,
                value=None,
                unit="fraction",
                target="match_retrain",
                doubts=(no_samples(part.value),),
            )
            if own_shares is None:
                readings.append(base)
                continue
            top = float(own_shares.max())
            readings.append(
                replace(
                    base,
                    value=top,
                    series={name: float(share) for name, share in zip(classes, own_shares, strict=True)},
                    doubts=(Doubt("one_class_predicted"),) if top > 0.95 else (),
                )
            )
            readings.append(
                replace(base, metric="prediction_entropy", value=entropy(own_shares), unit="nats", doubts=())
            )
            retrained_shares = [
                other
                for s, other in zip(evidence.subjects, shares, strict=True)
                if s.name == "retrained" and s is not subject and other is not None
            ]
            if retrained_shares:
                distance = total_variation(own_shares, torch.stack(retrained_shares).mean(dim=0))
                doubts = (Doubt("one_retrained"),) if len(retrained_shares) == 1 else ()
                readings.append(
                    replace(
                        base,
                        metric="prediction_tv",
                        value=distance,
                        samples=len(subject.outputs[part].labels),
                        doubts=doubts,
                    )
                )
    return readings


# a model nearer to the retrained ones than they are to each other is no worse than they are
PREDICTION_DISTRIBUTION = Metric(
    fn=prediction_distribution,
    readings=("prediction_max_share", "prediction_entropy", "prediction_tv"),
    wants=OUTPUTS,
    parts=frozenset(PARTS),
    votes=(
        Vote(
            metric="prediction_tv",
            part=Part.FORGET_TEST,
            family="outputs",
            scale="proportion",
            delta=0.05,
            fault="high",
            counted=False,
        ),
    ),
    kinds=EVERY_KIND,
)
