"""Measures how well the forgotten classes can be read from a model's features, without the model's own head.

A mask of outputs leaves the features alone, and a new head on them finds the class at once. So a classifier is fitted
on *held-out* samples of all classes, the forgotten ones among them, and its recall of the forgotten classes is held
against a retrained model's: features of images never seen tell classes apart as well, so the target is not chance.

Shapes: n samples, m samples to fit on, D features, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, because, size_doubts
from unlearnkit.audit.evidence import HEAD, Evidence, Subject
from unlearnkit.audit.metric import FEATURES, Metric, Vote
from unlearnkit.audit.metrics.classifiers import (
    SAMPLES_PER_DIRECTION,
    linear_probe,
    nearest_mean,
    nearest_neighbours,
    standard_probe,
)
from unlearnkit.audit.reading import Reading, wilson
from unlearnkit.split import Part

PARTS = (Part.FORGET_TEST, Part.RETAIN_TEST)
SMALL = 100  # forgotten samples below which a recovery is doubted
MOST_PER_CLASS = 500
MOST_SAMPLES = 5_000  # of all classes, both halves together
MOST_CLASSES = 100  # with more, the forgotten ones and a fixed draw of the others
BELOW = 0.1  # that the original's probe may miss of its own accuracy without a doubt
SEED = 0  # of the draw and the halves: the same for every model

Classify = Callable[[Tensor, Tensor, Tensor], Tensor]  # features (m, D), labels (m,), features (n, D) -> classes (n,)


def class_recovery(evidence: Evidence) -> list[Reading]:
    """Recall of the forgotten classes from the features: by a probe, by class means, and at the layer that knows most.

    `probe_recovery` and `prototype_recovery`, at the head's input, in [0, 1]: with R the forgotten samples,

        a = number of R that the classifier gets right / |R|,

    each sample judged by the classifier that was fitted on the other half. Of the probe on whitened and that on
    standardised features (`linear_probe`, `standard_probe`) the better counts, for every model alike; the other one is
    of the nearest class mean (`nearest_mean`), which has power where a linear probe finds the class in any features.
    Guessing gets 1 / K right, with K the classes that take part (see `halves`), yet the target is the retrained
    model's value. Series: the same by layer. The interval is Wilson's, as if the samples were judged by one classifier.

    `depth_recovery`, in log-odds: over the layers l and both classifiers, how far what is there of the classes is from
    what retrained models have there, at the place where the difference is largest,

        max over l of  | logit a_l - mean over retrained models of logit a_l |,

    logit a = log((a |R| + 1/2) / (|R| - a |R| + 1/2)). A class that is hidden from the head's input stands in an
    earlier layer; and a layer that is scrambled to hide it has less than a retrained model's. A retrained model is held
    against the others, so its value is above 0 too: a maximum is judged against maxima. A sum over layers would cancel.
    Series: by layer, above 0 where there is more.

    Needs features of `PARTS`.

    Source: G. Alain, Y. Bengio, "Understanding intermediate layers using linear classifier probes", arXiv 1610.01644;
    as a test of unlearning: arXiv 2604.08271, 2605.20282, 2503.06991. The maximum over the layers is ours.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> gone, kept = (torch.eye(2)[[k] * 8] + torch.arange(8.0)[:, None] / 100 for k in (1, 0))  # features (8, 2)
    >>> outputs = {Part.FORGET_TEST: Outputs.of([[1.0, 0.0]] * 8, [1] * 8, {HEAD: gone})}
    >>> outputs[Part.RETAIN_TEST] = Outputs.of([[1.0, 0.0]] * 8, [0] * 8, {HEAD: kept})
    >>> evidence = Evidence.of(Subject(name="unlearned", outputs=outputs), classes=["cat", "dog"], forget=["dog"])
    >>> class_recovery(evidence)[0].value  # every prediction is cat, and the features still know the dogs
    1.0
    """
    found = [
        _recalled(s, evidence.request.forget, (linear_probe, standard_probe, nearest_mean)) for s in evidence.subjects
    ]
    pairs = list(zip(evidence.subjects, found, strict=True))
    probes = [_recovery(subject, recalled, "probe_recovery", (0, 1)) for subject, recalled in pairs]
    means = [_recovery(subject, recalled, "prototype_recovery", (2,)) for subject, recalled in pairs]
    depths = [reading for subject, recalled in pairs for reading in _depth(subject, recalled, pairs)]
    return [*probes, *means, *depths]


def knn_recovery(evidence: Evidence) -> list[Reading]:
    """Recall of the forgotten classes by the 10 nearest neighbours (`nearest_neighbours`) in the other half.

    Range, formula, target, series, interval and needs as `probe_recovery` in `class_recovery`. Nothing is fitted: it
    says what lies beside what, in the features as they are, while the linear probe also finds a class in directions
    that hardly vary.

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
    found = [(s, _recalled(s, evidence.request.forget, (nearest_neighbours,))) for s in evidence.subjects]
    return [_recovery(subject, recalled, "knn_recovery", (0,)) for subject, recalled in found]


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


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """How many forgotten samples each classifier gets right, by layer.

    Args:
        right: one mapping for each classifier, from the layer to the number.
        judged: of so many.
        doubts: about the number of samples and classes.
    """

    right: tuple[Mapping[str, int], ...]
    judged: int
    doubts: tuple[Doubt, ...]

    def best(self, classifiers: Sequence[int]) -> dict[str, int]:
        """Return the larger number of these classifiers, by layer."""
        return {name: max(self.right[i][name] for i in classifiers) for name in self.right[0]}

    def odds(self, classifiers: Sequence[int]) -> dict[str, float]:
        """Return the log-odds of the larger number, with 1/2 added on both sides, by layer."""
        best = self.best(classifiers)
        return {name: math.log((right + 0.5) / (self.judged - right + 0.5)) for name, right in best.items()}


def _recalled(subject: Subject, forgotten: tuple[int, ...], classifiers: Sequence[Classify]) -> Recalled | Doubt:
    known = held_out(subject, forgotten)
    if isinstance(known, Doubt):
        return known
    features, labels = known
    first, second = halves(labels, forgotten)
    right = tuple(dict.fromkeys(features, 0) for _ in classifiers)
    judged = 0
    for train, test in ((first, second), (second, first)):
        test = test[torch.isin(labels[test], torch.tensor(forgotten))]
        judged += len(test)
        for count, classify in zip(right, classifiers, strict=True):
            for name, values in features.items():
                if classify is standard_probe and values.shape[1] <= len(train) // SAMPLES_PER_DIRECTION:
                    continue  # whitening lost nothing, so the other probe sees all that this one would
                predicted = classify(values[train], labels[train], values[test])
                count[name] += int((predicted == labels[test]).sum())
    doubts = tuple(_doubts(subject, labels, torch.cat([first, second]), judged))
    return Recalled(right=right, judged=judged, doubts=doubts)


def _recovery(subject: Subject, recalled: Recalled | Doubt, metric: str, classifiers: Sequence[int]) -> Reading:
    reading = _blank(subject, metric)
    if isinstance(recalled, Doubt):
        return replace(reading, doubts=(because(recalled),))
    right, judged = recalled.best(classifiers), recalled.judged
    value = right[HEAD] / judged
    doubts = recalled.doubts
    if metric == "probe_recovery" and subject.name == "original":
        outputs = subject.outputs[Part.FORGET_TEST]
        accuracy = float((outputs.predictions == outputs.labels).double().mean())
        if value < accuracy - BELOW:
            doubts = (*doubts, Doubt("probe_below_accuracy", {"probe": value, "accuracy": accuracy}))
    return replace(
        reading,
        value=value,
        interval=wilson(right[HEAD], judged),
        samples=judged,
        series={name: count / judged for name, count in right.items()},
        doubts=doubts,
    )


def _depth(
    subject: Subject, recalled: Recalled | Doubt, pairs: Sequence[tuple[Subject, Recalled | Doubt]]
) -> list[Reading]:
    reading = replace(_blank(subject, "depth_recovery"), unit="log-odds")
    if isinstance(recalled, Doubt):
        return [replace(reading, doubts=(because(recalled),))]
    others = [r for s, r in pairs if s.name == "retrained" and s is not subject and isinstance(r, Recalled)]
    if not others:
        return []
    series: dict[str, float] = {}
    for classifiers in ((0, 1), (2,)):
        theirs = [other.odds(classifiers) for other in others]
        for name, odds in recalled.odds(classifiers).items():
            excess = odds - sum(other[name] for other in theirs) / len(theirs)
            series[name] = max(series.get(name, 0.0), excess, key=abs)
    single = (Doubt("one_retrained"),) if len(others) == 1 else ()
    return [
        replace(
            reading,
            value=max(map(abs, series.values())),
            samples=recalled.judged,
            series=series,
            doubts=(*recalled.doubts, *single),
        )
    ]


def _blank(subject: Subject, metric: str) -> Reading:
    return Reading(
        metric=metric,
        model=subject.name,
        replicate=subject.replicate,
        part=Part.FORGET_TEST.value,
        value=None,
        unit="fraction",
        target="match_retrain",
    )


def _doubts(subject: Subject, labels: Tensor, taken: Tensor, judged: int) -> list[Doubt]:
    doubts = size_doubts(judged, subject.outputs[Part.FORGET_TEST].sampled_from, SMALL)
    classes, present = len(labels[taken].unique()), len(labels.unique())
    if classes < present:
        doubts.append(Doubt("few_classes", {"n": classes, "whole": present}))
    return doubts


CLASS_RECOVERY = Metric(
    fn=class_recovery,
    readings=("probe_recovery", "prototype_recovery", "depth_recovery"),
    wants=FEATURES,
    parts=frozenset(PARTS),
    votes=(
        Vote(metric="probe_recovery", part=Part.FORGET_TEST, family="representation", scale="proportion", delta=0.02),
        Vote(
            metric="prototype_recovery", part=Part.FORGET_TEST, family="representation", scale="proportion", delta=0.02
        ),
        Vote(
            metric="depth_recovery",
            part=Part.FORGET_TEST,
            family="representation",
            scale="excess",
            delta=0.25,  # of log-odds: from 70 to 75 %
            fault="high",
        ),
    ),
)
KNN_RECOVERY = Metric(fn=knn_recovery, readings=("knn_recovery",), wants=FEATURES, parts=frozenset(PARTS))
