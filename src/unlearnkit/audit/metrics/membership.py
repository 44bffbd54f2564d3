"""Measures whether forgotten training samples can be told from unseen samples of the same class.

Scores are computed in float64 from the logits, each row by itself. A logit of -inf (a masked class) is allowed; the
outputs of classes that were forgotten earlier are taken as they are.

Shapes: n samples, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, is_unknown, no_samples, size_doubts, unknown
from unlearnkit.audit.evidence import Evidence, Outputs, Subject
from unlearnkit.audit.metric import EVERY_KIND, OUTPUTS, Metric, Vote
from unlearnkit.audit.metrics.roc import SMALL, auc_reading, tpr_reading
from unlearnkit.audit.reading import Reading, wilson
from unlearnkit.errors import DataError
from unlearnkit.split import Part

PARTS = (Part.FORGET_TRAIN, Part.FORGET_TEST)
SVC_PARTS = (Part.RETAIN_TRAIN, Part.RETAIN_TEST, Part.FORGET_TRAIN)
SVC_MOST = 1000  # samples a side that the SVC is fitted to
SVC_WEAK = 0.55  # balanced accuracy on its own samples up to which the SVC is doubted

# ---- scores -------------------------------------------------------------------------------------------------------


def logit_confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit-scaled confidence phi = log p_y - log(1 - p_y) = z_y - log sum over i != y of exp z_i.

    Written as a difference of logits it keeps its precision where p_y is 1 or 0 to the last digit.

    Args:
        logits: (n, K) floating; finite or -inf.
        labels: (n,) int64.

    Returns:
        (n,) float64, from -inf to inf.

    Raises:
        DataError: a logit is NaN or inf, a row has no finite logit, or the shapes do not fit.

    Source: Carlini et al., Membership Inference Attacks From First Principles, 2022, section IV-C.
    """
    shapes_fit = logits.ndim == 2 and labels.shape == logits.shape[:1]
    if not shapes_fit or not usable(logits):
        raise DataError(
            f"Expected logits (n, K), finite or -inf, with labels (n,), but got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)} with {int((~logits.isfinite()).sum())} logits that are not finite; "
            "check the model's outputs."
        )
    exact = logits.double()
    chosen = labels[:, None]
    return exact.gather(1, chosen).squeeze(1) - exact.scatter(1, chosen, -torch.inf).logsumexp(dim=1)


def usable(logits: Tensor) -> bool:
    """Return whether scores can be computed: no NaN, no inf, and a finite value in every row."""
    return bool((logits < torch.inf).all() and logits.isfinite().any(dim=1).all())  # NaN < inf is False


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats, -log p_y = log(1 + exp(-phi)); (n,) float64, from 0 to inf (label masked).

    Arguments and errors as in `logit_confidence`. Source: Yeom et al., CSF 2018.
    """
    return _softplus(-logit_confidence(logits, labels))


def confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """Return p_y, (n,) float64 in [0, 1]; it orders the samples as -loss does, so it has no metric of its own.

    Arguments and errors as in `logit_confidence`. Source: Song and Mittal, USENIX Security 2021, section 3.
    """
    return logit_confidence(logits, labels).sigmoid()


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats, -sum p_i log p_i with 0 log 0 = 0; (n,) float64 from 0 to log K.

    Argument and errors as in `logit_confidence`. Source: Shokri et al., S&P 2017; Song and Mittal, section 3.
    """
    probabilities, log_p, _ = _distribution(logits)
    return -torch.where(probabilities > 0, probabilities * log_p, 0.0).sum(dim=1)


def modified_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mentr(p, y) = -(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i); (n,) float64 from 0 to inf.

    Unlike the entropy it is large for a sample that is wrong with confidence. Arguments and errors as in
    `logit_confidence`. Source: Song and Mittal, USENIX Security 2021, section 3.
    """
    probabilities, _, log_rest = _distribution(logits)
    phi = logit_confidence(logits, labels)
    other_terms = torch.where(probabilities > 0, -probabilities * log_rest, 0.0).scatter(1, labels[:, None], 0.0)
    label_terms = torch.where(phi < torch.inf, (-phi).sigmoid() * _softplus(-phi), 0.0)
    return label_terms + other_terms.sum(dim=1)


def _distribution(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return p, log p and log(1 - p), (n, K) float64.

    At most one probability of a row is above 1/2. That one's logarithms come from its logit-scaled confidence; for the
    others log_softmax and log1p lose nothing.
    """
    top = logits.argmax(dim=1)
    phi = logit_confidence(logits, top)[:, None]
    log_p = logits.double().log_softmax(dim=1).scatter(1, top[:, None], -_softplus(-phi))
    log_rest = torch.log1p(-log_p.exp()).scatter(1, top[:, None], -_softplus(phi))
    return log_p.exp(), log_p, log_rest


def _softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))  # F.softplus is only exact to 1e-9 above its threshold


# ---- thresholds ---------------------------------------------------------------------------------------------------

SCORES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "loss": loss,
    "entropy": lambda logits, _labels: entropy(logits),
    "mentropy": modified_entropy,
}


def sample_membership(evidence: Evidence) -> list[Reading]:
    """Run threshold attacks on each model, with forget_train as members and held-out samples as non-members.

    `membership_auc_NAME` and `membership_tpr_NAME` (at a false positive rate of 1 %), NAME of loss, entropy and
    mentropy; fractions from 0 to 1, intervals as in `roc`. The attack calls the smaller loss or entropy a member,
    which is fixed beforehand: below 1/2 the members have the larger loss, as after ascent on them. The series of an
    AUC is its distance from 1/2 to either side, that of a TPR the rates at other false positive rates. Target: the
    retrained models', for which nobody is a member; with few samples, or test data from elsewhere, that need not be
    1/2. Missing parts give unknown readings. Held-out samples are forget_test, and for single rows, which have none of
    their kind, the samples of retain_test that are of the rows' classes.

    Source: Yeom et al., CSF 2018 (loss); Song and Mittal, USENIX Security 2021 (entropies).

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> members, others = Outputs.of([[0.0, 4.0], [0.0, 3.0]], [1, 1]), Outputs.of([[0.0, 1.0], [0.0, 3.5]], [1, 1])
    >>> model = Subject(name="unlearned", outputs={Part.FORGET_TRAIN: members, Part.FORGET_TEST: others})
    >>> readings = sample_membership(Evidence.of(model, classes=["cat", "dog"], forget=["dog"]))
    >>> [(r.metric, r.value) for r in readings][:2]
    [('membership_auc_loss', 0.75), ('membership_tpr_loss', 0.5)]
    """
    readings: list[Reading] = []
    for subject in evidence.subjects:
        for name, score in SCORES.items():
            base = unmeasured(subject, f"membership_auc_{name}", attacked_parts(evidence))
            scores = None
            if not is_unknown(base.doubts):
                members, non_members = attacked(evidence, subject)
                scores = -score(members.logits, members.labels), -score(non_members.logits, non_members.labels)
            readings += compared(base, scores)
    return readings


def attacked_parts(evidence: Evidence) -> tuple[Part, Part]:
    """Return the part of the members, and that of the held-out samples that they are compared with."""
    return Part.FORGET_TRAIN, Part.RETAIN_TEST if "rows" in evidence.request.kinds else Part.FORGET_TEST


def attacked(evidence: Evidence, subject: Subject) -> tuple[Outputs, Outputs]:
    """Return the outputs on members and on held-out samples; beside rows only those of the rows' classes."""
    members, others = (subject.outputs[part] for part in attacked_parts(evidence))
    if "rows" not in evidence.request.kinds:
        return members, others
    alike = torch.isin(others.labels, members.labels)
    chosen = replace(others, logits=others.logits[alike], labels=others.labels[alike], features={})
    return members, chosen if bool(alike.any()) else others


def compared(base: Reading, scores: tuple[Tensor, Tensor] | None) -> tuple[Reading, Reading]:
    """Return the AUC and TPR readings of the scores of members and non-members; `base` twice where there are none."""
    second = replace(base, metric=base.metric.replace("_auc_", "_tpr_"))
    return (auc_reading(base, *scores), tpr_reading(second, *scores)) if scores else (base, second)


def unmeasured(subject: Subject, metric: str, parts: tuple[Part, ...]) -> Reading:
    """Return a reading to fill in, with doubts on parts that were sampled or, as `unknown`, on what is missing."""
    missing = [no_samples(part.value) for part in parts if part not in subject.outputs]
    outputs_by_part = {part: subject.outputs[part] for part in parts if part in subject.outputs}
    broken = [
        unknown("outputs_not_finite", {"part": part.value})
        for part, o in outputs_by_part.items()
        if not usable(o.logits)
    ]
    partial = [
        Doubt("partial_part", {"part": part.value, "n": len(o.labels), "whole": o.sampled_from})
        for part, o in outputs_by_part.items()
        if len(o.labels) < o.sampled_from
    ]
    return Reading(
        metric=metric,
        model=subject.name,
        replicate=subject.replicate,
        value=None,
        unit="fraction",
        target="match_retrain",
        doubts=tuple(missing + broken) or tuple(partial),
    )


# ---- SVC ----------------------------------------------------------------------------------------------------------


def svc_membership(evidence: Evidence) -> list[Reading]:
    """Measure the share of forget_train samples that an SVC takes for members, with Wilson's interval.

    The SVC (RBF, C = 3, gamma = 1) learns retained members (retain_train) from non-members (retain_test) by p_y, with
    as many of each class on either side and at most 1,000 a side. Series: its balanced accuracy on these samples; near
    1/2 it knows nothing and what it says of forgotten samples means little. Target: the retrained models'. Papers
    often give 1 minus this share as "MIA efficacy".

    Source: Jia et al., Model Sparsity Can Simplify Machine Unlearning, NeurIPS 2023, appendix C.3; settings of the
    published code of Fan et al., SalUn, ICLR 2024. There the samples are drawn at random, here evenly along p_y.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> sure, unsure = Outputs.of([[4.0, 0.0], [5.0, 0.0]], [0, 0]), Outputs.of([[0.0, 0.0], [0.1, 0.0]], [0, 0])
    >>> outputs = {Part.RETAIN_TRAIN: sure, Part.RETAIN_TEST: unsure, Part.FORGET_TRAIN: Outputs.of([[0.0, 4.5]], [1])}
    >>> evidence = Evidence.of(Subject(name="unlearned", outputs=outputs), classes=["cat", "dog"], forget=["dog"])
    >>> [(r.value, r.series) for r in svc_membership(evidence)]
    [(1.0, {'attack_accuracy': 1.0})]
    """
    return [_svc_reading(unmeasured(s, "membership_svc", SVC_PARTS), s) for s in evidence.subjects]


def _svc_reading(base: Reading, subject: Subject) -> Reading:
    from sklearn.svm import SVC  # slow to import

    if is_unknown(base.doubts):
        return base
    members, non_members, queried = (subject.outputs[part] for part in SVC_PARTS)
    known = balanced(members, non_members, SVC_MOST)
    fitted = torch.cat(known)[:, None].numpy()
    if fitted.size == 0 or fitted.min() == fitted.max():
        return replace(base, doubts=(unknown("no_scores"),))
    truth = torch.tensor([True, False]).repeat_interleave(len(known[0])).numpy()
    svc = SVC(kernel="rbf", C=3.0, gamma=1.0).fit(fitted, truth)
    called = svc.predict(confidence(queried.logits, queried.labels)[:, None].numpy())
    skill = float((svc.predict(fitted) == truth).mean())
    doubts = [*base.doubts, *size_doubts(min(len(called), len(known[0])), None, SMALL)]
    if skill <= SVC_WEAK:
        doubts.append(Doubt("weak_attack", {"share": skill}))
    return replace(
        base,
        value=float(called.mean()),
        interval=wilson(int(called.sum()), len(called)),
        series={"attack_accuracy": skill},
        samples=len(called),
        doubts=tuple(doubts),
    )


def balanced(members: Outputs, others: Outputs, most: int) -> tuple[Tensor, Tensor]:
    """Return p_y of as many members as non-members, as many of each class, at most `most` a side; two tensors (k,).

    They are taken evenly along the sorted p_y of a class: no chance is involved, and no order of the samples.
    """
    common = [k for k in members.labels.unique().tolist() if bool((others.labels == k).any())][:most]
    sides: tuple[list[Tensor], list[Tensor]] = ([], [])
    for k in common:
        rows = [outputs.labels == k for outputs in (members, others)]
        count = min(int(rows[0].sum()), int(rows[1].sum()), max(1, most // len(common)))
        for side, outputs, row in zip(sides, (members, others), rows, strict=True):
            ordered = confidence(outputs.logits[row], outputs.labels[row]).sort().values
            side.append(ordered[evenly(len(ordered), count)])
    empty = torch.empty(0, dtype=torch.float64)
    return torch.cat([empty, *sides[0]]), torch.cat([empty, *sides[1]])


def evenly(n: int, count: int) -> Tensor:
    """Return `count` positions, (count,) int64, that are spread evenly over n sorted samples."""
    return ((torch.arange(count, dtype=torch.float64) + 0.5) * n / count).long()


SAMPLE_MEMBERSHIP = Metric(
    fn=sample_membership,
    readings=tuple(f"membership_{kind}_{score}" for score in SCORES for kind in ("auc", "tpr")),
    wants=OUTPUTS,
    parts=frozenset({*PARTS, Part.RETAIN_TEST}),
    votes=(Vote(metric="membership_auc_loss", family="membership", scale="proportion", delta=0.02),),
    kinds=EVERY_KIND,
)
SVC_MEMBERSHIP = Metric(
    fn=svc_membership, readings=("membership_svc",), wants=OUTPUTS, parts=frozenset(SVC_PARTS), kinds=EVERY_KIND
)
