"""Measures how well the forgotten classes can be read from a model's features, without the model's own head.

A mask of outputs leaves the features alone, and a new head on them finds the class at once. So a classifier is fitted
on *held-out* samples of all classes, the forgotten ones among them, and its recall of the forgotten classes is held
against a retrained model's: features of images never seen tell classes apart as well, so the target is not chance.

Shapes: n samples, m samples to fit on, D features, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, because, size_doubts
from unlearnkit.audit.evidence import HEAD, Evidence, Subject
from unlearnkit.audit.metric import FEATURES, Metric, Vote
from unlearnkit.audit.reading import Reading, wilson
from unlearnkit.split import Part

PARTS = (Part.FORGET_TEST, Part.RETAIN_TEST)
SMALL = 100  # forgotten samples below which a recovery is doubted
MOST_PER_CLASS = 500
MOST_SAMPLES = 5_000  # of all classes, both halves together
MOST_CLASSES = 100  # with more, the forgotten ones and a fixed draw of the others
PENALTY = 0.04  # factor of ||W||^2 / 2 beside the mean loss; C = 0.01 at 2,500 samples
STEPS = 1_000  # of L-BFGS, at most
ROUNDING = 1e-12  # share of the largest variance below which a direction of float32 features is not one
NEIGHBOURS = 10
SEED = 0  # of the draw and the halves: the same for every model

Classify = Callable[[Tensor, Tensor, Tensor], Tensor]  # features (m, D), labels (m,), features (n, D) -> classes (n,)


def probe_recovery(evidence: Evidence) -> list[Reading]:
    """Recall of the forgotten classes by a linear probe (`linear_probe`) on the head's input; range [0, 1].

        number of forgotten samples that the probe gets right / number of forgotten samples,

    each sample judged by the probe that was fitted on the other half. Guessing gets 1 / K right, with K the classes
    that take part (see `halves`), yet the target is the retrained model's value. Series: the same by layer. The
    interval is Wilson's, as if the samples were judged by one probe. Needs features of `PARTS`.

    Source: G. Alain, Y. Bengio, "Understanding intermediate layers using linear classifier probes", arXiv 1610.01644;
    as a test of unlearning: arXiv 2604.08271, 2605.20282, 2503.06991.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> gone, kept = (torch.eye(2)[[k] * 8] + torch.arange(8.0)[:, None] / 100 for k in (1, 0))  # features (8, 2)
    >>> outputs = {Part.FORGET_TEST: Outputs.of([[1.0, 0.0]] * 8, [1] * 8, {HEAD: gone})}
    >>> outputs[Part.RETAIN_TEST] = Outputs.of([[1.0, 0.0]] * 8, [0] * 8, {HEAD: kept})
    >>> evidence = Evidence.of(Subject(name="unlearned", outputs=outputs), classes=["cat", "dog"], forget=["dog"])
    >>> probe_recovery(evidence)[0].value  # every prediction is cat, and the features still know the dogs
    1.0
    """
    return _recovery(evidence, "probe_recovery", linear_probe)


def knn_recovery(evidence: Evidence) -> list[Reading]:
    """Recall of the forgotten classes by the 10 nearest neighbours (`nearest_neighbours`) in the other half.

    Range, formula, target, series, interval and needs as in `probe_recovery`. Nothing is fitted: it says what lies
    beside what, in the features as they are, while the linear probe also finds a class in directions that hardly vary.

    Source: as a test of features, Z. Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance
    Discrimination", CVPR 2018 (arXiv 1805.01978), section 3.4.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> gone, kept = (torch.eye(2)[[k] * 8] + torch.arange(8.0)[:, None] / 100 for k in (1, 0))  # features (8, 2)
    >>> outputs = {Part.FORGET_TEST: Outputs.of([[1.0, 0.0]] * 8, [1] * 8, {HEAD: gone})}
    >>> outputs[Part.RETAIN_TEST] = Outputs.of([[1.0, 0.0]] * 8, [0] * 8, {HEAD: kept})
    >>> evidence = Evidence.of(Subject(name="unlearned", outputs=outputs), classes=["cat", "dog"], forget=["dog"])
    >>> knn_recovery(evidence)[0].value  # every prediction is cat, and the features still know the dogs
    1.0
    """
    return _recovery(evidence, "knn_recovery", nearest_neighbours)


def prototype_recovery(evidence: Evidence) -> list[Reading]:
    """Recall of the forgotten classes by the nearest class mean (`nearest_mean`) of the other half.

    Range, formula, target, series, interval and needs as in `probe_recovery`. Source: see `nearest_mean`.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> gone, kept = (torch.eye(2)[[k] * 8] + torch.arange(8.0)[:, None] / 100 for k in (1, 0))  # features (8, 2)
    >>> outputs = {Part.FORGET_TEST: Outputs.of([[1.0, 0.0]] * 8, [1] * 8, {HEAD: gone})}
    >>> outputs[Part.RETAIN_TEST] = Outputs.of([[1.0, 0.0]] * 8, [0] * 8, {HEAD: kept})
    >>> evidence = Evidence.of(Subject(name="unlearned", outputs=outputs), classes=["cat", "dog"], forget=["dog"])
    >>> prototype_recovery(evidence)[0].value  # every prediction is cat, and the features still know the dogs
    1.0
    """
    return _recovery(evidence, "prototype_recovery", nearest_mean)


def linear_probe(features: Tensor, labels: Tensor, unseen: Tensor) -> Tensor:
    """Classes (n,) of `unseen` (n, D) by a logistic regression fitted on `features` (m, D) and `labels` (m,).

    It minimises  mean of -log softmax(W z + b)_y + 0.02 ||W||^2  over whitened features z (see `whitened`), every class
    with the same weight in the mean, in float64; of two classes the logistic form with one row of W. There is one
    minimum, so the order of the samples plays no part, and as the penalty stands beside a mean, 0.04 is meant for any
    number of them. Features that differ by an invertible affine map give the same classes: without whitening, one
    strong mode mixed into all features hid what a class was known by from the penalty, and so from the probe.
    """
    seen, new = whitened(features, unseen)
    predicted: Tensor = torch.from_numpy(fitted(seen, labels).predict(new.numpy()))
    return predicted


def nearest_neighbours(features: Tensor, labels: Tensor, unseen: Tensor) -> Tensor:
    """Return classes (n,) by the vote of the 10 neighbours of largest cosine; on a tie, the nearer ones decide.

    The cosine's thousandth is added to each vote, which decides between equal numbers and nothing else.
    """
    nearness = F.normalize(unseen.float(), dim=1) @ F.normalize(features.float(), dim=1).T
    near = nearness.topk(min(NEIGHBOURS, len(features)), dim=1)
    votes = torch.zeros(len(unseen), int(labels.max()) + 1)
    return votes.scatter_add_(1, labels[near.indices], 1 + 1e-3 * near.values).argmax(dim=1)


def nearest_mean(features: Tensor, labels: Tensor, unseen: Tensor) -> Tensor:
    """Classes (n,) by the Euclidean distance to the class means, in features standardised as for the probe.

    Source: T. Mensink et al., "Distance-Based Image Classification: Generalizing to New Classes at Near-Zero Cost",
    TPAMI 35, 2013 (nearest class mean; there with a learned metric).
    """
    seen, new = standardised(features, unseen)
    present, members = labels.unique(return_inverse=True)
    means = torch.zeros(len(present), seen.shape[1], dtype=seen.dtype).index_add_(0, members, seen)
    means /= torch.bincount(members)[:, None]
    nearest: Tensor = present[torch.cdist(new, means).argmin(dim=1)]
    return nearest


def standardised(features: Tensor, unseen: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float64, standardised by the mean and deviation of `features`; constant features become 0."""
    seen = features.double()
    mean, spread = seen.mean(dim=0), seen.std(dim=0, correction=0)
    constant = spread <= 1e-6 * mean.abs()  # what is left of rounding in float32 must not be blown up
    scale = torch.where(constant, torch.inf, spread)
    return (seen - mean) / scale, (unseen.double() - mean) / scale


def whitened(features: Tensor, unseen: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in float64, whitened so that `features` have mean 0 and covariance I; at most D columns.

    With V and l the eigenvectors and eigenvalues of the covariance of the standardised features: z = V^T x / sqrt(l).
    Directions with less than 1e-12 of the largest variance are rounding, or more directions than samples, and left out.
    """
    seen, new = standardised(features, unseen)
    values, vectors = torch.linalg.eigh(seen.T @ seen / len(seen))
    keep = values >= ROUNDING * values[-1]
    turn = vectors[:, keep] / values[keep].clamp_min(1e-300).sqrt()  # constant features stay 0
    return seen @ turn, new @ turn


def fitted(features: Tensor, labels: Tensor) -> Any:
    """Return scikit-learn's logistic regression fitted to prepared features (m, D) and labels (m,)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # short of so small a tolerance the predictions do not change any more
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = LogisticRegression(C=1 / (PENALTY * len(labels)), class_weight="balanced", max_iter=STEPS, tol=1e-5)
        return probe.fit(features.numpy(), labels.numpy())


def halves(labels: Tensor, forgotten: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Split the positions (ascending) of the samples that take part into two halves with the same share of every class.

    Of every class as many: at most 500, and at most 5,000 of all classes. With more than 100 classes these are the
    forgotten ones and a fixed draw of the others, for with a handful of samples each no classifier can be fitted. A
    class with a single sample, which only one half could have, takes no part.
    """
    generator = torch.Generator().manual_seed(SEED)
    counts = torch.bincount(labels)
    present = [k for k in range(len(counts)) if counts[k] > 1]
    retained_classes = torch.tensor([k for k in present if k not in forgotten], dtype=torch.int64)
    chosen = [k for k in present if k in forgotten]
    drawn = torch.randperm(len(retained_classes), generator=generator)[: max(1, MOST_CLASSES - len(chosen))]
    chosen += retained_classes[drawn].tolist() if len(present) > MOST_CLASSES else retained_classes.tolist()
    most = max(2, min(MOST_PER_CLASS, MOST_SAMPLES // max(1, len(chosen))))
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for k in sorted(chosen):
        members = torch.nonzero(labels == k).flatten()
        members = members[torch.randperm(len(members), generator=generator)[:most]]
        for half, part in enumerate(parts):
            part.append(members[half::2])
    first, second = (torch.cat(part).sort().values if part else torch.empty(0, dtype=torch.int64) for part in parts)
    return first, second


def held_out(subject: Subject, forgotten: tuple[int, ...]) -> tuple[dict[str, Tensor], Tensor] | Doubt:
    """Return the held-out samples' features by layer and their labels, forgotten first; or why they are missing."""
    missing = [part.value for part in PARTS if part not in subject.outputs or not len(subject.outputs[part].labels)]
    if len(missing) == 1:
        return Doubt("no_samples", {"part": missing[0]})
    if missing:
        return Doubt("no_samples_in_both", {"first": missing[0], "second": missing[1]})
    forget, retain = (subject.outputs[part] for part in PARTS)
    if HEAD not in forget.features or HEAD not in retain.features:
        return Doubt("no_features")
    features = {name: torch.cat([forget.features[name], retain.features[name]]) for name in forget.features}
    broken = next((name for name, values in features.items() if not torch.isfinite(values).all()), None)
    if broken is not None:
        return Doubt("layer_not_finite", {"layer": broken})
    labels = torch.cat([forget.labels, retain.labels])
    taken = labels[torch.cat(halves(labels, forgotten))].unique().tolist()
    if not set(taken) & set(forgotten) or not set(taken) - set(forgotten):
        return Doubt("too_few_held_out")
    return features, labels


def _recovery(evidence: Evidence, metric: str, classify: Classify) -> list[Reading]:
    forgotten = evidence.request.forget
    readings = []
    for subject in evidence.subjects:
        reading = Reading(
            metric=metric,
            model=subject.name,
            replicate=subject.replicate,
            part=Part.FORGET_TEST.value,
            value=None,
            unit="fraction",
            target="match_retrain",
        )
        known = held_out(subject, forgotten)
        if isinstance(known, Doubt):
            readings.append(replace(reading, doubts=(because(known),)))
            continue
        features, labels = known
        first, second = halves(labels, forgotten)
        right = dict.fromkeys(features, 0)
        judged = 0
        for train, test in ((first, second), (second, first)):
            test = test[torch.isin(labels[test], torch.tensor(forgotten))]
            judged += len(test)
            for name, values in features.items():
                predicted = classify(values[train], labels[train], values[test])
                right[name] += int((predicted == labels[test]).sum())
        readings.append(
            replace(
                reading,
                value=right[HEAD] / judged,
                interval=wilson(right[HEAD], judged),
                samples=judged,
                series={name: count / judged for name, count in right.items()},
                doubts=tuple(_doubts(subject, labels, torch.cat([first, second]), judged)),
            )
        )
    return readings


def _doubts(subject: Subject, labels: Tensor, taken: Tensor, judged: int) -> list[Doubt]:
    doubts = size_doubts(judged, subject.outputs[Part.FORGET_TEST].sampled_from, SMALL)
    classes, present = len(labels[taken].unique()), len(labels.unique())
    if classes < present:
        doubts.append(Doubt("few_classes", {"n": classes, "whole": present}))
    return doubts


PROBE_RECOVERY = Metric(
    fn=probe_recovery,
    readings=("probe_recovery",),
    wants=FEATURES,
    parts=frozenset(PARTS),
    votes=(
        Vote(
            metric="probe_recovery",
            part=Part.FORGET_TEST,
            family="representation",
            scale="proportion",
            delta=0.02,
        ),
    ),
)
KNN_RECOVERY = Metric(fn=knn_recovery, readings=("knn_recovery",), wants=FEATURES, parts=frozenset(PARTS))
PROTOTYPE_RECOVERY = Metric(
    fn=prototype_recovery, readings=("prototype_recovery",), wants=FEATURES, parts=frozenset(PARTS)
)
