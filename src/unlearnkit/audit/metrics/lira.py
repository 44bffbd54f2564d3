"""Computes the offline form of LiRA, a membership attack that holds each sample against models that never saw it.

Shapes: R reference models, n samples.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, is_unknown, unknown
from unlearnkit.audit.evidence import Evidence, Outputs, Subject
from unlearnkit.audit.metric import EVERY_KIND, OUTPUTS, Metric
from unlearnkit.audit.metrics.membership import (
    PARTS,
    attacked,
    attacked_parts,
    compared,
    logit_confidence,
    unmeasured,
)
from unlearnkit.audit.reading import Reading
from unlearnkit.split import Part

MOST = 30.0  # log-odds beyond which a margin counts as this: float32 knows no difference there


def lira_offline(target_N: Tensor, reference_RN: Tensor) -> Tensor:
    """Return how far each sample's margin lies above that under the reference models, in their standard deviations.

        score(x) = (phi(x) - mean over models of phi_r(x)) / s,   phi = log p_y - log(1 - p_y)

    s is one for all samples, the root of the mean variance over models, as a few models cannot tell one for each; with
    a single model it is 1. The larger, the more likely x is a member: 1 - Pr[N(mean, s) > phi] rises with the score.

    Args:
        target_N: phi under the attacked model, (n,) floating.
        reference_RN: phi under models that were not trained on the samples, (R, n).

    Returns:
        (n,) float64.

    Source: N. Carlini et al., "Membership Inference Attacks From First Principles", IEEE S&P 2022 (arXiv 2112.03570),
    section V.C (offline attack), with the global variance of section VI.

    >>> lira_offline(torch.tensor([3.0, 1.0]), torch.tensor([[0.0, 1.0], [2.0, 3.0]])).round(decimals=2).tolist()
    [1.41, -0.71]
    """
    references = reference_RN.double()
    spread = references.var(dim=0).mean().sqrt() if len(references) > 1 else torch.ones(())
    return (target_N.double() - references.mean(dim=0)) / spread.clamp(min=1e-12)


def lira_membership(evidence: Evidence) -> list[Reading]:
    """Run offline LiRA on each model: members are forget_train, and the (other) retrained models never saw them.

    `membership_auc_lira` and `membership_tpr_lira`, fractions from 0 to 1 with intervals as in `roc`. Non-members are
    forget_test, or for rows the samples of retain_test that are of their classes. Neither votes: RMIA, which holds
    samples against each other too, does for rows. Target: the retrained models'. Unknown without another retrained one.

    Source: see `lira_offline`.

    >>> members, others = Outputs.of([[0.0, 4.0], [0.0, 3.0]], [1, 1]), Outputs.of([[0.0, 1.0], [0.0, 0.0]], [1, 1])
    >>> outputs = {PARTS[0]: members, PARTS[1]: others}, {part: Outputs.of([[0.0, 1.0]] * 2, [1, 1]) for part in PARTS}
    >>> models = [Subject(name=n, outputs=o) for n, o in zip(("unlearned", "retrained"), outputs)]
    >>> lira_membership(Evidence.of(*models, classes=["cat", "dog"], forget=["dog"]))[0].value
    1.0
    """
    readings: list[Reading] = []
    for subject in evidence.subjects:
        parts = attacked_parts(evidence)
        base = unmeasured(subject, "membership_auc_lira", parts)
        references = [s for s in evidence.named("retrained") if s is not subject]
        if not is_unknown(base.doubts):
            if not references:
                base = replace(base, doubts=(unknown("no_other_retrained"),))
            elif any(is_unknown(unmeasured(r, base.metric, parts).doubts) for r in references):
                base = replace(base, doubts=(unknown("reference_unusable"),))
            elif len(references) == 1:
                base = replace(base, doubts=(*base.doubts, Doubt("one_reference")))
        readings += compared(base, None if is_unknown(base.doubts) else _scores(evidence, subject, references))
    return readings


def _scores(evidence: Evidence, subject: Subject, references: list[Subject]) -> tuple[Tensor, Tensor]:
    """Return the scores of members and of non-members, by the same spread."""
    target, *theirs = (torch.cat([_margins(side) for side in attacked(evidence, s)]) for s in (subject, *references))
    scores = lira_offline(target, torch.stack(theirs))
    members = len(attacked(evidence, subject)[0].labels)
    return scores[:members], scores[members:]


def _margins(outputs: Outputs) -> Tensor:
    return logit_confidence(outputs.logits, outputs.labels).clamp(-MOST, MOST)


LIRA_MEMBERSHIP = Metric(
    fn=lira_membership,
    readings=("membership_auc_lira", "membership_tpr_lira"),
    wants=OUTPUTS,
    parts=frozenset({*PARTS, Part.RETAIN_TEST}),
    retrain_free=False,
    kinds=EVERY_KIND,
)
