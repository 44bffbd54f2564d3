"""Computes RMIA, a membership attack that calibrates each sample by reference models and by other samples.

Shapes: R reference models, n samples under attack, Z samples of the population.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, is_unknown, unknown
from unlearnkit.audit.evidence import Evidence, Outputs, Subject
from unlearnkit.audit.metric import EVERY_KIND, OUTPUTS, ROWS, Metric, Vote
from unlearnkit.audit.metrics.membership import PARTS, attacked, attacked_parts, compared, loss, unmeasured
from unlearnkit.audit.reading import Reading
from unlearnkit.errors import ConfigError, DataError
from unlearnkit.split import Part

GAMMA = 1.0
OFFLINE_A = 0.3


def average_log_probability(reference_RN: Tensor, inside_RN: Tensor | None = None, *, a: float = OFFLINE_A) -> Tensor:
    """Estimate log p(x), with p(x) the mean probability of a sample's label over models trained on it or not.

    With models of both kinds for a sample, p(x) = (mean over IN + mean over OUT) / 2; with OUT models alone, as
    after retraining, the mean over IN is taken to be a OUT + 1 - a:

        p(x) = ((1 + a) OUT(x) + 1 - a) / 2

    Args:
        reference_RN: log p_y by reference model and sample, (R, n) floating, -inf to 0.
        inside_RN: (R, n) bool, which model was trained on which sample; None: none was.
        a: from 0 (nothing is known of a member but p = 1) to 1 (members look like non-members).

    Returns:
        (n,) float64, up to 0; -inf only where a = 1 and all references say 0.

    Raises:
        DataError: shapes do not fit, a value is NaN or above 0, or a sample has no OUT model.
        ConfigError: `a` is out of range.

    Source: Zarifzadeh et al., Low-Cost High-Power Membership Inference Attacks, ICML 2024 (2312.03262), section 3 and
    appendix B (offline).
    """
    if not 0 <= a <= 1:
        raise ConfigError(f"Expected a from 0 to 1, but got {a}; 0.3 is the default.")
    scores = reference_RN.double()
    inside = torch.zeros_like(scores, dtype=torch.bool) if inside_RN is None else inside_RN
    if scores.ndim != 2 or inside.shape != scores.shape or not bool((scores <= 0).all()):
        raise DataError(
            f"Expected log probabilities (R, n), at most 0, and a mask of the same shape, but got "
            f"{tuple(scores.shape)} and {tuple(inside.shape)}; give log p_y of every reference model."
        )
    ins, outs = inside.sum(dim=0), (~inside).sum(dim=0)
    if not bool((outs > 0).all()):
        raise DataError(
            "Expected for every sample a reference model that was not trained on it, but some sample has none; add "
            "such models."
        )
    mean_in = scores.masked_fill(~inside, -torch.inf).logsumexp(dim=0) - ins.double().log()
    mean_out = scores.masked_fill(inside, -torch.inf).logsumexp(dim=0) - outs.double().log()
    guessed_in = torch.logaddexp(mean_out + _log(a), torch.full_like(mean_out, _log(1 - a)))
    return torch.logaddexp(torch.where(ins > 0, mean_in, guessed_in), mean_out) - math.log(2)


def rmia(
    target_N: Tensor,
    reference_RN: Tensor,
    population_target_Z: Tensor | None = None,
    population_reference_RZ: Tensor | None = None,
    *,
    inside_RN: Tensor | None = None,
    gamma: float = GAMMA,
    a: float = OFFLINE_A,
) -> Tensor:
    """Return the RMIA score: the share of population samples z that x beats in a likelihood ratio test.

        LR(x, z) = (p(x | model) / p(x)) / (p(z | model) / p(z)),   score(x) = mean over z of [LR(x, z) >= gamma]

    The larger, the more likely x is a member. 0 / 0 counts as a ratio of 0.

    Args:
        target_N: log p_y under the attacked model, (n,) floating, -inf to 0.
        reference_RN: the same under the reference models, (R, n).
        population_target_Z, population_reference_RZ: the same for samples that no model was trained on, (Z,) and
            (R, Z). None: the attacked samples are the population, each without itself.
        inside_RN: (R, n) bool, which reference was trained on which attacked sample; None: none was.
        gamma: how clearly x must win, at least 1.
        a: as in `average_log_probability`.

    Returns:
        (n,) float64 from 0 to 1.

    Raises:
        DataError: as in `average_log_probability`, or the population is empty.
        ConfigError: `gamma` or `a` is out of range.

    Source: Zarifzadeh et al. (2312.03262), section 3, equations of LR and score; gamma and a as in the authors' code.
    """
    if not 1 <= gamma < math.inf:
        raise ConfigError(f"Expected a finite gamma of at least 1, but got {gamma}; 1 is the default.")
    ratio = _log_ratio(target_N, reference_RN, inside_RN, a)
    alone = population_target_Z is None or population_reference_RZ is None
    if population_target_Z is None or population_reference_RZ is None:
        population = ratio
    else:
        population = _log_ratio(population_target_Z, population_reference_RZ, None, a)
    other_samples = len(population) - alone
    if other_samples < 1:
        raise DataError("Expected at least one other sample as the population of RMIA, but there is none; add some.")
    beaten = torch.searchsorted(population.sort().values, ratio - math.log(gamma), right=True)
    if alone:  # x beats itself where gamma is 1, whatever it is; a ratio of 0 where gamma is more
        beaten = beaten - (ratio - math.log(gamma) >= ratio).long()
    return beaten.double() / other_samples


def rmia_membership(evidence: Evidence) -> list[Reading]:
    """Run RMIA on each model: members are forget_train, and the (other) retrained models are OUT references.

    `membership_auc_rmia` and `membership_tpr_rmia`, fractions from 0 to 1 with intervals as in `roc`. The population
    are the non-members themselves, each without itself: forget_test, or for rows the samples of retain_test that are of
    their classes. Other classes would leave every score at 0 or 1, as a model is sure of them and not of forgotten
    ones. A retrained model has one reference less than the others have.
    Where the references give the forgotten class no probability at all, p(x) is the same for all samples, and the
    attack orders them as their loss does. Target: the retrained models'. Unknown without another retrained model.

    Source: Zarifzadeh et al. (2312.03262), offline, gamma = 1, a = 0.3.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> members, others = Outputs.of([[0.0, 4.0], [0.0, 3.0]], [1, 1]), Outputs.of([[0.0, 1.0], [0.0, 2.0]], [1, 1])
    >>> outputs = {PARTS[0]: members, PARTS[1]: others}, {part: Outputs.of([[0.0, 1.0]] * 2, [1, 1]) for part in PARTS}
    >>> models = [Subject(name=n, outputs=o) for n, o in zip(("unlearned", "retrained"), outputs)]
    >>> rmia_membership(Evidence.of(*models, classes=["cat", "dog"], forget=["dog"]))[0].value
    0.75
    """
    readings: list[Reading] = []
    for subject in evidence.subjects:
        parts = attacked_parts(evidence)
        base = unmeasured(subject, "membership_auc_rmia", parts)
        references = [s for s in evidence.named("retrained") if s is not subject]
        if not is_unknown(base.doubts):
            if not references:
                base = replace(base, doubts=(unknown("no_other_retrained"),))
            elif len(attacked(evidence, subject)[1].labels) < 2:
                base = replace(base, doubts=(unknown("no_population"),))
            elif any(is_unknown(unmeasured(r, base.metric, parts).doubts) for r in references):
                base = replace(base, doubts=(unknown("reference_unusable"),))
            elif len(references) == 1:
                base = replace(base, doubts=(*base.doubts, Doubt("one_reference")))
        readings += compared(base, None if is_unknown(base.doubts) else _scores(evidence, subject, references))
    return readings


def _scores(evidence: Evidence, subject: Subject, references: list[Subject]) -> tuple[Tensor, Tensor]:
    members, non_members = map(_log_p, attacked(evidence, subject))
    members_by_references, non_members_by_references = (
        torch.stack([_log_p(attacked(evidence, r)[side]) for r in references]) for side in (0, 1)
    )
    return rmia(members, members_by_references, non_members, non_members_by_references), rmia(
        non_members, non_members_by_references
    )


def _log_p(outputs: Outputs) -> Tensor:
    return -loss(outputs.logits, outputs.labels)


def _log_ratio(target: Tensor, reference: Tensor, inside: Tensor | None, a: float) -> Tensor:
    average = average_log_probability(reference, inside, a=a)
    if target.shape != average.shape or not bool((target <= 0).all()):
        raise DataError(
            f"Expected log probabilities {tuple(average.shape)}, at most 0, of the attacked model, but got "
            f"{tuple(target.shape)}; give log p_y of the same samples."
        )
    exact = target.double()
    return torch.where(exact == -torch.inf, exact, exact - average)  # 0 / 0 is 0


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


RMIA_MEMBERSHIP = Metric(
    fn=rmia_membership,
    readings=("membership_auc_rmia", "membership_tpr_rmia"),
    wants=OUTPUTS,
    parts=frozenset({*PARTS, Part.RETAIN_TEST}),
    # of rows this attack votes and not the plain loss: rows may be harder or easier than held-out samples, as
    # mislabelled ones are, and only a score that is calibrated sample by sample tells members from others then
    votes=(Vote(metric="membership_auc_rmia", family="membership", scale="proportion", delta=0.02, kinds=ROWS),),
    retrain_free=False,
    kinds=EVERY_KIND,
)
