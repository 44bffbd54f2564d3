"""Accuracy on retained and forgotten data, in all and per class."""

from __future__ import annotations

from unlearnkit.audit.evidence import Evidence, Outputs
from unlearnkit.audit.reading import Reading, Target, wilson
from unlearnkit.split import Part

PARTS = (Part.RETAIN_TRAIN, Part.FORGET_TRAIN, Part.RETAIN_TEST, Part.FORGET_TEST)
SMALL = 100  # samples below which an accuracy is doubted


def accuracy(evidence: Evidence) -> list[Reading]:
    """Share of samples whose largest logit is their label's: mean of [argmax f(x) = y].

    Range [0, 1]. The interval is Wilson's. The series is the accuracy per class (by name). Target: at least the
    retrained model's on retained data, the retrained model's on forgotten data. The pooled value weighs every sample
    alike; `balanced_accuracy` weighs every class alike.
    """
    return [
        _reading(evidence, subject.name, subject.replicate, part, subject.outputs.get(part))
        for subject in evidence.subjects
        for part in PARTS
    ]


def balanced_accuracy(evidence: Evidence) -> list[Reading]:
    """Mean over the classes of the accuracy on each; range [0, 1]. On long-tailed data the figure to read."""
    readings = []
    for reading in accuracy(evidence):
        value = None if reading.series is None else sum(reading.series.values()) / len(reading.series)
        readings.append(
            Reading(
                metric="balanced_accuracy",
                model=reading.model,
                replicate=reading.replicate,
                part=reading.part,
                value=value,
                unit="fraction",
                target=reading.target,
                doubts=reading.doubts,
            )
        )
    return readings


def _reading(evidence: Evidence, name: str, replicate: int, part: Part, outputs: Outputs | None) -> Reading:
    target: Target = "match_retrain" if part.forgotten else "higher"
    common = {
        "metric": "accuracy",
        "model": name,
        "replicate": replicate,
        "part": part.value,
        "unit": "fraction",
    }
    if outputs is None:
        return Reading(**common, value=None, target=target, doubts=(f"unknown: {part.value} has no samples",))  # type: ignore[arg-type]
    right = outputs.predictions == outputs.labels
    n = len(right)
    doubts = []
    if n < SMALL:
        doubts.append(f"small sample: {n}")
    if n < outputs.sampled_from:
        doubts.append(f"measured on {n} of {outputs.sampled_from} samples")
    series = {
        evidence.request.classes[k]: float(right[outputs.labels == k].float().mean())
        for k in outputs.labels.unique().tolist()
    }
    return Reading(
        **common,  # type: ignore[arg-type]
        value=float(right.double().mean()),
        target=target,
        interval=wilson(int(right.sum()), n),
        series=series,
        doubts=tuple(doubts),
    )
