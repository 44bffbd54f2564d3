"""Computes U-LiRA, an attack that tells unlearned samples from samples that were never in the training data.

Both hypotheses need a bank of models: shadows, from which the same method removed the same classes, each made from an
original of its own, and retrained models.

Shapes: U shadows, R retrained models, n samples under attack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, is_unknown, size_doubts, unknown
from unlearnkit.audit.evidence import Evidence, Outputs, Subject
from unlearnkit.audit.metric import EVERY_KIND, Metric
from unlearnkit.audit.metrics.membership import logit_confidence, unmeasured, usable
from unlearnkit.audit.metrics.roc import SMALL
from unlearnkit.audit.reading import Reading
from unlearnkit.errors import ConfigError, DataError
from unlearnkit.split import Part

PARTS = (Part.FORGET_TRAIN,)
MANY = 64  # models in a bank from which each sample has a standard deviation of its own (Carlini et al. 2022)


def u_lira(
    unlearned_UN: Tensor,
    retrained_RN: Tensor,
    observed_N: Tensor,
    *,
    least_sd: float = 1e-6,
    shared_sd: bool = False,
) -> Tensor:
    """Return the log likelihood ratio of "trained on and unlearned" to "never trained on" for each sample.

        log N(o; mean_u, sd_u) - log N(o; mean_r, sd_r)

    with a normal distribution fitted, by maximum likelihood, to the scores of each sample under the models of either
    bank. Its sigmoid is the probability that the paper thresholds at 1/2.

    Args:
        unlearned_UN: `membership.logit_confidence` of each sample under models that were trained on it and then
            unlearned it, (U, n) floating and finite, U of at least 2.
        retrained_RN: the same under models that never saw it, (R, n), R of at least 2.
        observed_N: the same under the attacked model, (n,).
        least_sd: standard deviations below count as this; in the unit of the scores, positive.
        shared_sd: one standard deviation for all samples of a bank, the root of the mean of their unbiased variances:
            of a few models a sample's own says little.

    Returns:
        (n,) float64, positive where the sample looks unlearned rather than unseen.

    Raises:
        DataError: fewer than two models in a bank, shapes that do not fit, or a score that is not finite.
        ConfigError: `least_sd` is not positive.

    Source: Hayes et al., Inexact Unlearning Needs More Careful Evaluations to Avoid a False Sense of Privacy
    (2403.01218), U-LiRA; after Carlini et al. 2022, who share the variance where there are few models.
    """
    if not least_sd > 0:
        raise ConfigError(f"Expected a positive least_sd, but got {least_sd}; 1e-6 is the default.")
    observed = observed_N.double()

    def log_density(name: str, bank: Tensor) -> Tensor:
        fits = bank.ndim == 2 and len(bank) >= 2 and bank.shape[1:] == observed.shape
        if not fits or not bool(bank.isfinite().all() and observed.isfinite().all()):
            raise DataError(
                f"Expected finite scores of at least two {name} models, (models, {len(observed)}), but got "
                f"{tuple(bank.shape)}; train more models, or leave out the samples without a finite score."
            )
        exact = bank.double()
        variance = exact.var(dim=0, correction=1).mean() if shared_sd else exact.var(dim=0, correction=0)
        sd = variance.sqrt().clamp(min=least_sd)
        return -(((observed - exact.mean(dim=0)) / sd) ** 2) / 2 - sd.log()

    return log_density("unlearned", unlearned_UN) - log_density("retrained", retrained_RN)


def u_lira_membership(evidence: Evidence) -> list[Reading]:
    """Run U-LiRA on each model: share of forget_train samples that look unlearned rather than unseen.

    `membership_u_lira`, from 0 to 1; samples that look as much like the one as the other count half. The series is the
    share by forgotten class. The banks are the shadows and the (other) retrained models, so a retrained model has one
    reference less than the unlearned one has. Below 64 models in a bank all its samples share a standard deviation.
    Target: the retrained models', for which 0 would be right. An unlearned model near 1 where they are near 0 bears
    the method's mark: an attacker who knows the method can tell that something was removed, and what. The mean of the
    unlearned model's share and of 1 less the retrained models' is the attack's balanced accuracy. The spread between
    the retrained models is its only scale: samples of one model are right or wrong together, so no interval is given.

    Nothing is said of the original, for which both hypotheses are false. No readings where no shadows were given;
    unknown with fewer than two of them, or of the other retrained models.

    Source: Hayes et al. (2403.01218), U-LiRA, with its threshold of 1/2. There every shadow has training data and a
    request of its own and many unlearned models are attacked; here all shadows share data and request, their seeds
    differ, and one unlearned model is attacked: what is told is the mark of forgetting this class in this data.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> seen = [{Part.FORGET_TRAIN: Outputs.of([[0.0, z]] * 3, [1, 1, 1])} for z in (-4.0, -3.5, -3.0, 2.0, 2.5, 3.0)]
    >>> retrained = [Subject(name="retrained", replicate=i, outputs=o) for i, o in enumerate(seen[3:])]
    >>> models = Subject(name="unlearned", outputs=seen[0]), *retrained
    >>> evidence = Evidence.of(*models, classes=["cat", "dog"], forget=["dog"], shadows=seen[1:3])
    >>> [(r.model, r.value) for r in u_lira_membership(evidence)]
    [('unlearned', 1.0), ('retrained', 0.0), ('retrained', 0.0), ('retrained', 0.0)]
    """
    if not evidence.shadows:
        return []
    return [_reading(evidence, subject) for subject in evidence.subjects if subject.name != "original"]


def _reading(evidence: Evidence, subject: Subject) -> Reading:
    base = unmeasured(subject, "membership_u_lira", PARTS)
    retrained = [s.outputs for s in evidence.named("retrained") if s is not subject]
    if is_unknown(base.doubts):
        return base
    if len(evidence.shadows) < 2:
        return replace(base, doubts=(unknown("too_few_shadows"),))
    if len(retrained) < 2:
        return replace(base, doubts=(unknown("too_few_retrained_beside"),))
    every: list[Mapping[Part, Outputs]] = [subject.outputs, *evidence.shadows, *retrained]
    if not all(PARTS[0] in outputs and usable(outputs[PARTS[0]].logits) for outputs in every):
        return replace(base, doubts=(unknown("reference_unusable"),))
    scores = torch.stack([logit_confidence(outputs[PARTS[0]].logits, outputs[PARTS[0]].labels) for outputs in every])
    if not bool(scores.isfinite().all()):
        return replace(base, doubts=(unknown("certain_of_a_sample"),))
    observed, shadows, references = scores.split([1, len(evidence.shadows), len(retrained)])
    few = min(len(shadows), len(references)) < MANY
    ratio = u_lira(shadows, references, observed[0], shared_sd=few)
    taken = (ratio > 0).double() + (ratio == 0).double() / 2
    doubts = [*base.doubts]
    if few:
        doubts.append(Doubt("u_lira_banks", {"shadows": len(shadows), "retrained": len(references)}))
    doubts += size_doubts(len(taken), None, SMALL)
    labels = subject.outputs[PARTS[0]].labels
    return replace(
        base,
        value=float(taken.mean()),
        series={evidence.request.classes[k]: float(taken[labels == k].mean()) for k in labels.unique().tolist()},
        samples=len(taken),
        doubts=tuple(doubts),
    )


U_LIRA_MEMBERSHIP = Metric(
    fn=u_lira_membership,
    readings=("membership_u_lira",),
    wants=frozenset({"outputs", "shadows"}),
    parts=frozenset(PARTS),
    retrain_free=False,
    kinds=EVERY_KIND,
)
