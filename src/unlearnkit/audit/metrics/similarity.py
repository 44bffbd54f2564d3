"""Compares the features of two models (CKA), and measures what features tell about the forgotten classes (IDI).

Shapes: n samples, D features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, because, no_samples, size_doubts, unknown
from unlearnkit.audit.evidence import HEAD, Evidence, Subject
from unlearnkit.audit.metric import FEATURES, Metric
from unlearnkit.audit.metrics.classifiers import fitted, standardised
from unlearnkit.audit.metrics.representation import PARTS, halves, held_out
from unlearnkit.audit.reading import ModelName, Reading
from unlearnkit.split import Part

SMALL = 100  # samples below which a similarity is doubted
MOST_SAMPLES = 1_000  # of a part that CKA is computed on
SEED = 0  # of their draw: the same for every model
LEAST_DIFFERENCE = 0.05  # nats, over all layers, between original and retrained models for an index to be given

ByLayer = Mapping[str, float]


def cka(features: Tensor, others: Tensor) -> float | None:
    """Linear CKA of two models' features of the same n samples, (n, D) and (n, D'), debiased; None where undefined.

        CKA = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)),   K = X X^T, L = Y Y^T,
        HSIC(K, L) = [tr(K~ L~) + 1'K~1 1'L~1 / ((n-1)(n-2)) - 2 1'K~L~1 / (n-2)] / (n (n-3)),   K~: K, diagonal 0.

    1 for equal features, whatever rotation, shift and scale lie between; about 0, also below, for independent ones.
    The plain estimate is far above 0 for independent features where n is not large beside D, and two models would
    seem alike; hence the unbiased estimate of each HSIC. Undefined for fewer than 4 samples and constant features.

    Sources: S. Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019,
    arXiv 1905.00414 (linear CKA); L. Song et al., "Feature Selection via Dependence Maximization", JMLR 13, 2012,
    equation 5 (unbiased HSIC); used for CKA in T. Nguyen et al., "Do Wide and Deep Networks Learn the Same Things?",
    ICLR 2021, arXiv 2010.15327.
    """
    first, second = centred_gram(features), centred_gram(others)
    return None if first is None or second is None else float((first * second).sum())


def centred_gram(features: Tensor) -> Tensor | None:
    """U-centred Gram matrix (n, n) float64 of norm 1, from (n, D); None for n < 4 and where it is zero.

    K~_ij - (row sum i + row sum j) / (n-2) + total / ((n-1)(n-2)) off the diagonal, which is 0. The inner product of
    two of them is n (n-3) times the unbiased HSIC, so that each is computed once for all its comparisons.

    Source: G. J. Székely, M. L. Rizzo, "Partial distance correlation with methods for dissimilarities", Annals of
    Statistics 42, 2014.
    """
    n = len(features)
    if n < 4:
        return None
    values = features.double()
    size = values.square().sum()
    values = values - values.mean(dim=0)  # changes nothing but the rounding
    if not torch.isfinite(size) or values.square().sum() <= 1e-12 * size:
        return None
    gram = (values @ values.T).fill_diagonal_(0)
    rows = gram.sum(dim=1)
    gram += rows.sum() / ((n - 1) * (n - 2)) - (rows[:, None] + rows[None, :]) / (n - 2)
    norm = gram.fill_diagonal_(0).norm()
    return gram / norm if norm > 0 else None


def cka_original(evidence: Evidence) -> list[Reading]:
    """Linear CKA (`cka`) of every other model's features to the original's, on held-out data; range about [0, 1].

    On forgotten and on retained samples, at most 1,000 of each. The value is the head's input's, the series has all
    layers. Target: the retrained model's value. Descriptive: CKA can change much without what a model does, and
    little with it (M. Davari et al., arXiv 2210.16156).

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> seen = [torch.arange(12.0).reshape(6, 2).sin(), -2 * torch.arange(12.0).reshape(6, 2).sin() + 1]
    >>> outputs = [{Part.FORGET_TEST: Outputs.of([[1.0, 0.0]] * 6, [1] * 6, {HEAD: each})} for each in seen]
    >>> models = [Subject(name=n, outputs=o) for n, o in zip(("original", "unlearned"), outputs)]
    >>> readings = cka_original(Evidence.of(*models, classes=["cat", "dog"], forget=["dog"]))
    >>> [(r.model, round(r.value, 3)) for r in readings if r.value is not None]
    [('unlearned', 1.0)]
    """
    return _similarity(evidence, "cka_original", "original")


def cka_retrained(evidence: Evidence) -> list[Reading]:
    """Mean linear CKA (`cka`) of a model's features to those of the retrained models; range about [0, 1].

    A retrained model is held against the others. Target: what retrained models have among each other, which is
    below 1. Samples, value and series as in `cka_original`.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> seen = [torch.arange(12.0).reshape(6, 2).sin(), -2 * torch.arange(12.0).reshape(6, 2).sin() + 1]
    >>> outputs = [{Part.FORGET_TEST: Outputs.of([[1.0, 0.0]] * 6, [1] * 6, {HEAD: each})} for each in seen]
    >>> models = [Subject(name=n, outputs=o) for n, o in zip(("retrained", "unlearned"), outputs)]
    >>> readings = cka_retrained(Evidence.of(*models, classes=["cat", "dog"], forget=["dog"]))
    >>> [(r.model, round(r.value, 3)) for r in readings if r.value is not None]
    [('unlearned', 1.0)]
    """
    return _similarity(evidence, "cka_retrained", "retrained")


def linear_information(features: Tensor, labels: Tensor, forgotten: tuple[int, ...]) -> float:
    """Return the nats that a linear probe of (n, D) features gives on whether a sample is forgotten, in [0, log 2].

        log 2 - min(log 2, mean over both sides of the mean of -log q(side | z) over its samples),

    q a logistic regression as in `linear_probe`, each sample judged by the one fitted on the other half. Both sides
    count alike, so the entropy of the side is log 2 however many classes are forgotten. In expectation it is at most
    the mutual information of side and features: cross-entropy is at least conditional entropy (D. Barber,
    F. Agakov, "The IM Algorithm", NIPS 2003), and what a family of probes finds is the usable information of Y. Xu
    et al., "A Theory of Usable Information under Computational Constraints", ICLR 2020, arXiv 2002.10689.
    """
    first, second = halves(labels, forgotten)
    side = torch.isin(labels, torch.tensor(forgotten))
    losses = torch.zeros(len(labels), dtype=torch.float64)
    for train, test in ((first, second), (second, first)):
        seen, new = standardised(features[train], features[test])
        odds = torch.from_numpy(fitted(seen, side[train].long()).decision_function(new.numpy()))
        losses[test] = torch.nn.functional.softplus(torch.where(side[test], -odds, odds))
    taken = torch.cat([first, second])
    loss = sum(float(losses[taken[side[taken] == forgotten_side]].mean()) for forgotten_side in (True, False)) / 2
    return max(0.0, math.log(2) - loss)


def information_difference(evidence: Evidence) -> list[Reading]:
    """Measure what the features tell about forgotten classes: in nats, and as an index between retrained and original.

    `linear_information`: `linear_information` of the head's input, in [0, log 2]; its series has all layers. Target:
    the retrained model's. `linear_idi`, of the other models than the original:

        ID(m) = sum over layers of I_m - mean over the retrained models of I,   linear IDI(m) = ID(m) / ID(original),

    0 for a model like the retrained ones, 1 for one like the original, negative where more is gone; its series is the
    difference by layer in nats. A retrained model is held against the others. *Unknown* where the original tells less
    than 0.05 nats more than the retrained models: the index would be noise over noise.

    It is the Information Difference Index of D. Jeon et al., "An Information Theoretic Evaluation Metric for Strong
    Unlearning", arXiv 2405.17878, with a cheaper estimate of the mutual information, and therefore not comparable
    with published values: there an InfoNCE bound, its critic trained from the rest of the network behind each
    block, on training data; here a linear probe of pooled features, on held-out data and at fewer layers. It cannot
    see what only a nonlinear reader would.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> def seen(gone: float) -> dict[Part, Outputs]:  # features of forgotten and retained samples, so far apart
    ...     sides = ((Part.FORGET_TEST, 1, gone), (Part.RETAIN_TEST, 0, 0.0))
    ...     known = {part: (k, torch.arange(20.0)[:, None].sin() + shift) for part, k, shift in sides}
    ...     return {part: Outputs.of([[1.0, 0.0]] * 20, [k] * 20, {HEAD: f}) for part, (k, f) in known.items()}
    >>> apart = {"original": 3.0, "unlearned": 0.0, "retrained": 0.0}
    >>> models = [Subject(name=name, outputs=seen(gone)) for name, gone in apart.items()]
    >>> readings = information_difference(Evidence.of(*models, classes=["cat", "dog"], forget=["dog"]))
    >>> [(r.metric, round(r.value, 3)) for r in readings if r.model == "unlearned"]
    [('linear_information', 0.0), ('linear_idi', 0.0)]
    """
    forgotten = evidence.request.forget
    informations: list[ByLayer | Doubt] = []
    for subject in evidence.subjects:
        known = held_out(subject, forgotten)
        if isinstance(known, Doubt):
            informations.append(known)
        else:
            informations.append(
                {name: linear_information(values, known[1], forgotten) for name, values in known[0].items()}
            )
    readings = []
    for subject, information in zip(evidence.subjects, informations, strict=True):
        reading = _blank(subject, "linear_information", Part.FORGET_TEST, "nats")
        if isinstance(information, Doubt):
            readings.append(replace(reading, doubts=(because(information),)))
        else:
            readings.append(
                replace(reading, value=information[HEAD], series=information, doubts=_small(subject, Part.FORGET_TEST))
            )
        if subject.name != "original":
            readings.append(_index(subject, information, evidence.subjects, informations))
    return readings


def _index(
    subject: Subject, mine: ByLayer | Doubt, subjects: Sequence[Subject], told: Sequence[ByLayer | Doubt]
) -> Reading:
    reading = _blank(subject, "linear_idi", Part.FORGET_TEST, "ratio")
    if isinstance(mine, Doubt):
        return replace(reading, doubts=(because(mine),))
    known = [
        (s, information) for s, information in zip(subjects, told, strict=True) if not isinstance(information, Doubt)
    ]
    originals = [information for s, information in known if s.name == "original"]
    # in the order of the replicates, so that sums do not depend on the order of the models
    known.sort(key=lambda pair: pair[0].replicate)
    other_retrained = [information for s, information in known if s.name == "retrained" and s is not subject]
    if not originals or not other_retrained:
        return replace(reading, doubts=(_missing("retrained" if originals else "original"),))
    base = {name: sum(information[name] for information in other_retrained) / len(other_retrained) for name in mine}
    series = {name: mine[name] - base[name] for name in mine}
    whole = sum(originals[0][name] - base[name] for name in mine)
    if whole < LEAST_DIFFERENCE:
        doubt = unknown("difference_too_small", {"nats": round(whole, 3)})
        return replace(reading, series=series, doubts=(doubt,))
    doubts = _small(subject, Part.FORGET_TEST, len(other_retrained))
    return replace(reading, value=sum(series.values()) / whole, series=series, doubts=doubts)


def _similarity(evidence: Evidence, metric: str, reference: ModelName) -> list[Reading]:
    readings = []
    for part in PARTS:
        known = [s for s in evidence.subjects if part in s.outputs and HEAD in s.outputs[part].features]
        known.sort(key=lambda subject: subject.replicate)  # sums do not depend on the order of the models
        values: dict[int, dict[str, float]] = {id(subject): {} for subject in known}
        for layer in known[0].outputs[part].features if known else ():
            grams = {id(s): centred_gram(_drawn(s.outputs[part].features[layer])) for s in known}
            for subject in known:
                own_gram, reference_grams = (
                    grams[id(subject)],
                    [grams[id(s)] for s in _references(known, subject, reference)],
                )
                similar = [
                    float((own_gram * reference_gram).sum())
                    for reference_gram in reference_grams
                    if own_gram is not None and reference_gram is not None
                ]
                if similar:
                    values[id(subject)][layer] = sum(similar) / len(similar)
        for subject in evidence.subjects:
            if subject.name == reference == "original":
                continue
            reading = _blank(subject, metric, part, "ratio")
            others_count = len(_references(known, subject, reference))
            if part not in subject.outputs or not len(subject.outputs[part].labels):
                doubts: tuple[Doubt, ...] = (no_samples(part.value),)
            elif id(subject) not in values:
                doubts = (unknown("no_features"),)
            elif not others_count:
                doubts = (_missing(reference),)
            elif HEAD not in values[id(subject)]:
                doubts = (unknown("features_unusable"),)
            else:
                doubts = _small(subject, part, others_count if reference == "retrained" else None)
            series = values.get(id(subject), {})
            readings.append(replace(reading, value=series.get(HEAD), series=series or None, doubts=doubts))
    return readings


def _references(known: Sequence[Subject], subject: Subject, name: ModelName) -> list[Subject]:
    return [other for other in known if other.name == name and other is not subject]


def _drawn(features: Tensor) -> Tensor:
    return features[torch.randperm(len(features), generator=torch.Generator().manual_seed(SEED))[:MOST_SAMPLES]]


def _missing(reference: ModelName) -> Doubt:
    return unknown("needs_original_features" if reference == "original" else "needs_retrained_features")


def _small(subject: Subject, part: Part, retrained: int | None = None) -> tuple[Doubt, ...]:
    outputs = subject.outputs[part]
    doubts = size_doubts(len(outputs.labels), outputs.sampled_from, SMALL)
    return (*doubts, Doubt("one_retrained")) if retrained == 1 else tuple(doubts)


def _blank(subject: Subject, metric: str, part: Part, unit: str) -> Reading:
    return Reading(
        metric=metric,
        model=subject.name,
        replicate=subject.replicate,
        part=part.value,
        value=None,
        unit=unit,
        target="match_retrain",
    )


CKA_ORIGINAL = Metric(fn=cka_original, readings=("cka_original",), wants=FEATURES, parts=frozenset(PARTS))
CKA_RETRAINED = Metric(
    fn=cka_retrained, readings=("cka_retrained",), wants=FEATURES, parts=frozenset(PARTS), retrain_free=False
)
INFORMATION_DIFFERENCE = Metric(
    fn=information_difference,
    readings=("linear_information", "linear_idi"),
    wants=FEATURES,
    parts=frozenset(PARTS),
)
