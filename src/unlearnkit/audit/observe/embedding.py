"""Projects the features before the head onto their two principal components, to be drawn as points.

Points of single samples can be personal data: they are for drawing, and are written nowhere as numbers. No verdict is
made of them.

Shapes: n samples, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearnkit.audit.doubts import Code, Doubt
from unlearnkit.audit.evidence import HEAD, Evidence, Outputs, Subject
from unlearnkit.audit.reading import ModelName
from unlearnkit.split import Part

PARTS = (Part.FORGET_TEST, Part.RETAIN_TEST)
MOST = 200  # samples of each part that become points
NOT_FINITE: dict[ModelName, Code] = {
    "original": "original_not_finite",
    "unlearned": "unlearned_not_finite",
    "retrained": "retrained_not_finite",
}


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Samples as points in the plane of two principal components of one model's features.

    Args:
        points: (n, 2) float64.
        forgotten: (n,) bool.
        explained: share of the features' variance along either axis, in [0, 1].
    """

    points: Tensor
    forgotten: Tensor
    explained: tuple[float, float]


def principal_plane(features: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """Return the first two principal components of features, and the share of the variance along each.

    With the centred features X = U S V^T, singular values descending, the points are the first two columns of U S and
    the shares s_i^2 / sum s_j^2. The sign of a component is that in which the largest entry of its direction is
    positive, so that it does not depend on the order of the samples or on the machine. A component that is not there,
    with one feature, one sample or no spread, is 0.

    Args:
        features: (n, D) floating, finite.

    Returns:
        (n, 2) float64, and two shares in [0, 1].
    """
    centred = features.double() - features.double().mean(dim=0)
    left, values, directions = torch.linalg.svd(centred, full_matrices=False)
    signs = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True)).squeeze(1).sign()
    points, shares = torch.zeros(len(features), 2, dtype=torch.float64), [0.0, 0.0]
    rounding = 1e-12 * float(features.double().norm())
    for i in range(min(2, int((values > rounding).sum()))):
        points[:, i] = left[:, i] * values[i] * signs[i]
        shares[i] = float(values[i].square() / values.square().sum())
    return points, (shares[0], shares[1])


def embedding(evidence: Evidence) -> dict[str, Plane] | Doubt:
    """Return the plane of the original, the unlearned and the first retrained model, or why there is none.

    Each is fitted to that model's features at the head's input, of up to `MOST` forgotten and as many retained test
    samples, the same for every model and spread evenly over those that the audit looked at.
    """
    found: dict[str, Plane] = {}
    for subject in evidence.subjects:
        if subject.name in found:
            continue
        missing = [part for part in PARTS if part not in subject.outputs]
        if missing:
            return Doubt("no_samples", {"part": missing[0].value})
        chosen = _features(subject)
        if chosen is None:
            return Doubt("no_head_features")
        features, forgotten = chosen
        if not features.isfinite().all():
            return Doubt(NOT_FINITE[subject.name])
        points, explained = principal_plane(features)
        found[subject.name] = Plane(points=points, forgotten=forgotten, explained=explained)
    return found


def _features(subject: Subject) -> tuple[Tensor, Tensor] | None:
    groups = [_evenly(subject.outputs[part]) for part in PARTS]
    known = [group for group in groups if group is not None]
    if len(known) < len(PARTS):
        return None
    marks = [torch.full((len(group),), part.forgotten) for group, part in zip(known, PARTS, strict=True)]
    return torch.cat(known), torch.cat(marks)


def _evenly(outputs: Outputs) -> Tensor | None:
    features: Mapping[str, Tensor] = outputs.features
    if HEAD not in features:
        return None
    n = len(features[HEAD])
    return features[HEAD][torch.arange(min(n, MOST)) * n // min(n, MOST)]
