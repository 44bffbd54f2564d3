"""Measures whether a model's probabilities tell a forgotten class from a class that was never in the training data.

A retrained model takes the forgotten class for its nearest neighbours among the retained ones, and is about as sure as
of those. A model that has learned the class, or only hides it, is not: it keeps the class apart in its outputs, or in
how the probabilities of the retained classes are spread.

Shapes: n samples, K classes, C columns (all classes, or the retained ones).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from unlearnkit.audit.doubts import Code, Doubt, is_unknown, size_doubts, unknown
from unlearnkit.audit.evidence import Evidence, Outputs, Subject
from unlearnkit.audit.metric import OUTPUTS, Metric, Vote
from unlearnkit.audit.metrics.membership import evenly, unmeasured
from unlearnkit.audit.metrics.roc import SMALL, auc, auc_interval
from unlearnkit.audit.reading import Reading, wilson
from unlearnkit.split import Part

PARTS = (Part.RETAIN_TRAIN, Part.RETAIN_TEST, Part.FORGET_TEST)
FLOOR = -100.0  # nats: a probability that float32 calls 0; a masked class gets it
MOST = 1000  # samples a side that a discriminator is fitted to


def log_probabilities(logits: Tensor, columns: Sequence[int]) -> Tensor:
    """Log softmax of the logits of some classes, at least `FLOOR`; (n, K) to (n, C) float64, up to 0."""
    return logits[:, list(columns)].double().log_softmax(dim=1).clamp(min=FLOOR)


def nearest_class(forgotten: Sequence[Tensor], allowed: Sequence[int]) -> int:
    """Return the retained class to which reference models give a forgotten class the largest mean probability.

    Args:
        forgotten: `log_probabilities` among the retained classes, (n, C), of samples of the class; one tensor for each
            reference model.
        allowed: columns to choose from; at least one.

    Returns:
        A column; the first of equals.

    Source: Ebrahimpour-Boroojeny et al. (2506.20893), the nearest neighbour in MIA-NN.
    """
    mean = torch.stack([log_p.exp().mean(dim=0) for log_p in forgotten]).mean(dim=0)
    return max(allowed, key=lambda column: (float(mean[column]), -column))


def discriminate(
    train_nC: Tensor, labels: Tensor, neighbour: int, asked: Sequence[Tensor], *, most: int = MOST
) -> list[Tensor]:
    """Signed distance of samples to the linear boundary between one retained class and the other ones.

    A linear SVM (squared hinge, C = 1, both sides weigh alike) on standardised log probabilities. At most `most`
    samples a side, as many of each other class, taken evenly along the log probability of their own class: neither
    chance nor the order of the samples plays a part.

    Args:
        train_nC: `log_probabilities` of retained training samples.
        labels: their columns, (n,) int64; the neighbour and at least one other must occur.
        neighbour: column of the class.
        asked: log probabilities of the samples to be judged, (_, C) each.

    Returns:
        A tensor (_,) float64 for each of `asked`; positive: taken for the neighbour.

    Source: Ebrahimpour-Boroojeny et al. (2506.20893), an SVM on outputs.
    """
    from sklearn.svm import LinearSVC  # slow to import

    present = labels.unique().tolist()
    share = max(1, most // max(1, len(present) - 1))
    rows = [_along(train_nC, labels, k, most if k == neighbour else share) for k in present]
    chosen = torch.cat([row for k, row in zip(present, rows, strict=True) if k != neighbour][:most])
    own = rows[present.index(neighbour)]
    fitted = torch.cat([own, chosen])
    centre, spread = fitted.mean(dim=0), fitted.std(dim=0, correction=0)
    spread = torch.where(spread > 0, spread, 1.0)
    truth = np.repeat([True, False], [len(own), len(chosen)])
    svm = LinearSVC(C=1.0, dual=False, class_weight="balanced", max_iter=10_000)
    svm.fit(((fitted - centre) / spread).numpy(), truth)
    return [torch.from_numpy(svm.decision_function(((x - centre) / spread).numpy())) for x in asked]


def _along(log_p: Tensor, labels: Tensor, column: int, count: int) -> Tensor:
    rows = log_p[labels == column].numpy()
    order = np.lexsort((*rows.T, rows[:, column]))  # by the class's own column first, then by all others
    return torch.from_numpy(rows[order])[evenly(len(rows), min(count, len(rows)))]


def class_membership(evidence: Evidence) -> list[Reading]:
    """Measure how well probabilities tell a forgotten class from its nearest retained class.

    For each model, an SVM learns that class, n, against the other retained ones from the model's own outputs on
    retain_train, and judges unseen samples of n (retain_test) and of the forgotten class (forget_test).

    - `class_membership_auc`, from 0 to 1: AUC of "looks less like n" for the forgotten class against n. Near 1: the
      model sees that the class is none of the retained ones, as one does that was trained on it; 1/2: it takes the
      class for n. Interval as in `roc`; series: the AUC of each forgotten class, with its neighbour.
    - `class_membership_retained_auc`: the same from the probabilities among the retained classes alone. Masking the
      forgotten output does not change it: a masked original reads as the original does.
    - `class_membership_nn`, from 0 to 1: share of forget_test taken for n, Wilson's interval; series by class.

    Of several forgotten classes the AUC and the ends of its interval are means (conservative: the classes are not
    independent), the share is over all samples. n is the same for every model: chosen by the retrained models, or,
    with a doubt, by the original where there is none. Target of both: the retrained models'. The parts are
    retain_train, retain_test and forget_test; forget_train is not needed.

    Source: Ebrahimpour-Boroojeny et al., On the Necessity of Output Distribution Reweighting for Effective Class
    Unlearning (2506.20893; MIA-NN, later CMIA), as described in its abstract and its public reviews: the neighbour by
    retrained models, a discriminator by SVM on outputs, its accuracy on forget-class test samples against the retrained
    model's. The AUC, the comparison with n's own test samples, the reading from retained outputs alone and the settings
    of the SVM are ours.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> kept = Outputs.of(torch.eye(3)[[0, 1] * 4] * torch.arange(2.0, 10.0)[:, None], [0, 1] * 4)
    >>> gone = Outputs.of(torch.tensor([[1.0, 0.5, 5.0], [1.0, 0.4, 6.0]]), [2, 2])  # still taken for itself
    >>> outputs = {Part.RETAIN_TRAIN: kept, Part.RETAIN_TEST: kept, Part.FORGET_TEST: gone}
    >>> models = [Subject(name=name, outputs=outputs) for name in ("original", "unlearned")]
    >>> readings = class_membership(Evidence.of(*models, classes=["cat", "dog", "fox"], forget=["fox"]))
    >>> [(r.value, r.series) for r in readings if r.metric == "class_membership_auc" and r.model == "unlearned"]
    [(1.0, {'fox / cat': 1.0})]
    """
    references = evidence.named("retrained") or evidence.named("original")
    readings = []
    for subject in evidence.subjects:
        base = unmeasured(subject, "class_membership_auc", PARTS)
        if not is_unknown(base.doubts):
            base = _possible(base, subject, references, evidence)
        readings += _measured(base, subject, references, evidence)
    return readings


def _possible(base: Reading, subject: Subject, references: list[Subject], evidence: Evidence) -> Reading:
    """Return `base`, with the doubt `unknown` where data for the attack are missing."""
    code: Code
    if not references:
        code = "no_reference"
    elif any(is_unknown(unmeasured(s, base.metric, PARTS).doubts) for s in references):
        code = "reference_unusable"
    elif len(_seen(subject, evidence)) < 2:
        code = "too_few_retained_classes"
    else:
        known = () if references[0].name == "retrained" else (Doubt("neighbour_without_retrained"),)
        return replace(base, doubts=(*base.doubts, *known))
    return replace(base, doubts=(unknown(code),))


def _measured(base: Reading, subject: Subject, references: list[Subject], evidence: Evidence) -> list[Reading]:
    request = evidence.request
    share, inner = (replace(base, metric=f"class_membership_{name}") for name in ("nn", "retained_auc"))
    if is_unknown(base.doubts):
        return [base, inner, share]
    forget = subject.outputs[Part.FORGET_TEST].labels
    nearest = {k: _nearest(references, k, subject, evidence) for k in forget.unique().tolist()}
    everything = _judged(subject, nearest, range(len(request.classes)))
    taken = {k: unseen > 0 for k, (_, unseen) in everything.items()}
    smallest = min(len(side) for sides in everything.values() for side in sides)
    doubts = (*base.doubts, *size_doubts(smallest, None, SMALL))
    pairs = {k: f"{request.classes[k]} / {request.classes[n]}" for k, n in nearest.items()}
    total = sum(int(is_neighbour.sum()) for is_neighbour in taken.values())
    return [
        _auc_reading(replace(base, samples=smallest, doubts=doubts), everything, pairs),
        _auc_reading(
            replace(inner, samples=smallest, doubts=doubts), _judged(subject, nearest, request.retained), pairs
        ),
        replace(
            share,
            value=total / len(forget),
            interval=wilson(total, len(forget)),
            series={pairs[k]: float(is_neighbour.double().mean()) for k, is_neighbour in taken.items()},
            samples=len(forget),
            doubts=doubts,
        ),
    ]


def _judged(subject: Subject, nearest: Mapping[int, int], columns: Sequence[int]) -> dict[int, tuple[Tensor, Tensor]]:
    """Return, for each forgotten class, the distances of its neighbour's unseen samples and of its own samples."""
    train, test, forget = (subject.outputs[part] for part in PARTS)
    log_p, log_p_test, log_p_forget = (log_probabilities(o.logits, columns) for o in (train, test, forget))
    place = {k: column for column, k in enumerate(columns)}
    labels = torch.tensor([place[k] for k in train.labels.tolist()])
    judged = {}
    for k, neighbour in nearest.items():
        queries = [log_p_test[test.labels == neighbour], log_p_forget[forget.labels == k]]
        neighbour_distances, forgotten_distances = discriminate(log_p, labels, place[neighbour], queries)
        judged[k] = neighbour_distances, forgotten_distances
    return judged


def _auc_reading(base: Reading, judged: Mapping[int, tuple[Tensor, Tensor]], pairs: Mapping[int, str]) -> Reading:
    series = {pairs[k]: auc(-unseen, -own) for k, (own, unseen) in judged.items()}
    ends = [auc_interval(-unseen, -own) for own, unseen in judged.values()]
    interval = sum(low for low, _ in ends) / len(ends), sum(high for _, high in ends) / len(ends)
    return replace(base, value=sum(series.values()) / len(series), interval=interval, series=series)


def _seen(subject: Subject, evidence: Evidence) -> list[int]:
    """Return the columns of the retained classes that have training and test samples."""
    sides = [set(subject.outputs[part].labels.tolist()) for part in (Part.RETAIN_TRAIN, Part.RETAIN_TEST)]
    return [column for column, k in enumerate(evidence.request.retained) if all(k in side for side in sides)]


def _nearest(references: list[Subject], k: int, subject: Subject, evidence: Evidence) -> int:
    """Return the id of the retained class that the references predict most for class k."""
    retained = evidence.request.retained
    outputs: list[Outputs] = [s.outputs[Part.FORGET_TEST] for s in references]
    forgotten = [log_probabilities(o.logits[o.labels == k], retained) for o in outputs]
    return retained[nearest_class(forgotten, _seen(subject, evidence))]


CLASS_MEMBERSHIP = Metric(
    fn=class_membership,
    readings=("class_membership_auc", "class_membership_retained_auc", "class_membership_nn"),
    wants=OUTPUTS,
    parts=frozenset(PARTS),
    votes=(Vote(metric="class_membership_auc", family="membership", scale="proportion", delta=0.02),),
)
