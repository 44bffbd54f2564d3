"""Measures how well a score separates two groups: AUC, and true positive rate at a low false positive rate.

A score is larger for what the attack takes for a member, a direction that theory fixes beforehand: it is never turned
round on the data that it is judged on, so an AUC may lie below 1/2. Only the order of the scores counts; infinite ones
are allowed.

Shapes: m positives, n negatives.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, size_doubts
from unlearnkit.audit.reading import Reading, wilson
from unlearnkit.errors import DataError

SMALL = 100  # samples on a side below which a comparison is doubted
LOW_FPR = 0.01
CURVE = (LOW_FPR, 0.02, 0.05, *(k / 10 for k in range(1, 11)))  # false positive rates of the curve that is written
FEWEST = 20  # samples on a side below which no curve is: its points would be about few people
Z_95 = 1.959963984540054  # normal quantile at 0.975
Z_9875 = 2.2414027276049473  # normal quantile at 0.9875


def auc(positives: Tensor, negatives: Tensor) -> float:
    """Exact Mann-Whitney estimate of P(positive > negative) + P(equal) / 2.

    Args:
        positives, negatives: scores (m,) and (n,), any floating dtype.

    Returns:
        From 0 to 1; 1/2 where the scores say nothing.

    Raises:
        DataError: a side is empty or has a NaN.

    Source: Hanley and McNeil, Radiology 143, 1982.
    """
    below, upto = _counts(positives, negatives)
    return int((below + upto).sum()) / (2 * len(positives) * len(negatives))


def auc_interval(positives: Tensor, negatives: Tensor) -> tuple[float, float]:
    """Return the 95 % interval of `auc`, within [0, 1]; its width is never 0.

    The outer ends of two intervals. DeLong's variance on the logit scale holds whatever the distributions are (also
    where half of the members lie on either side of all others), but is 0 for groups that do not overlap:

        logit A -+ z sqrt(s_m^2 / m + s_n^2 / n) / (A (1 - A)),   s^2 the variances of the placements

    Newcombe's method 5 is sound there, as Wilson's interval is for a share of 0: all t with |A - t| <= z sqrt(V(t)),

        V(t) = t (1 - t) (1 + N (1 - t) / (2 - t) + N t / (1 + t)) / (m n),   N = (m + n) / 2 - 1

    Args:
        positives, negatives: scores (m,) and (n,).

    Raises:
        DataError: a side is empty or has a NaN.

    Source: DeLong et al., Biometrics 44, 1988; Pohar Perme and Manevski, Stat. Methods Med. Res. 28, 2019 (why the
    logit scale); Newcombe, Statistics in Medicine 25, 2006, part 2, method 5.
    """
    m, n = len(positives), len(negatives)
    value = auc(positives, negatives)
    low, high = _newcombe(value, m, n)
    if m < 2 or n < 2 or not 0 < value < 1:
        return low, high
    below, upto = _counts(positives, negatives)
    variance = float(((below + upto).double() / (2 * n)).var()) / m
    below, upto = _counts(negatives, positives)
    variance += float(((below + upto).double() / (2 * m)).var()) / n
    centre, spread = math.log(value / (1 - value)), Z_95 * math.sqrt(variance) / (value * (1 - value))
    ends = torch.tensor([centre - spread, centre + spread], dtype=torch.float64).sigmoid()
    return min(low, float(ends[0])), max(high, float(ends[1]))


def tpr_at_fpr(positives: Tensor, negatives: Tensor, fpr: float = LOW_FPR) -> float:
    """Return the largest true positive rate of a threshold whose false positive rate is at most `fpr`.

    A sample is called positive where its score is at least the threshold, so equal scores are called alike; nothing is
    drawn by lot or interpolated. With f = floor(fpr n) it is the share of positives above the (f + 1)-th largest
    negative; with fewer than 1 / fpr negatives, above all of them.

    Args:
        positives, negatives: scores (m,) and (n,).
        fpr: from 0 to 1, where everything is called positive.

    Returns:
        From 0 to 1; `fpr` is what guessing gives.

    Raises:
        DataError: a side is empty or has a NaN.

    Source: Carlini et al., Membership Inference Attacks From First Principles, 2022, section III.
    """
    _check(positives, negatives)
    return _reached(positives, negatives, _allowed(fpr, len(negatives))) / len(positives)


def tpr_interval(positives: Tensor, negatives: Tensor, fpr: float = LOW_FPR) -> tuple[float, float]:
    """Return an interval of at least 95 % for the true positive rate at the false positive rate `fpr`, within [0, 1].

    The threshold is estimated too: how many negatives lie above the true one is binomial(n, fpr). The lower end is
    Wilson's at the threshold with that distribution's lower 1.25 % point, the upper end at that with the upper one,
    each with a level of 1.25 % of its own (Bonferroni). Below 437 negatives no rate of 1 % can be told from one of 0,
    and the lower end is 0.

    Raises:
        DataError: a side is empty or has a NaN.

    Source: the two parts are combined as in Campbell, Statistics in Medicine 13, 1994.
    """
    _check(positives, negatives)
    m, n = len(positives), len(negatives)
    k = torch.arange(n + 1, dtype=torch.float64)
    whole = torch.tensor(float(n), dtype=torch.float64)
    ways = torch.lgamma(whole + 1) - torch.lgamma(k + 1) - torch.lgamma(whole - k + 1)
    chance = (ways + torch.xlogy(k, torch.tensor(fpr).double()) + (whole - k) * math.log1p(-fpr)).exp().cumsum(dim=0)
    fewest, most = int((chance < 0.0125).sum()), min(n, int((chance < 0.9875).sum()))
    # the true threshold lies at or below the negative of rank `fewest`; of rank 0, it may lie above every sample
    low = wilson(_reached(positives, negatives, fewest - 1), m, z=Z_9875)[0] if fewest else 0.0
    _, high = wilson(_reached(positives, negatives, most), m, z=Z_9875)
    return low, high


def curve(positives: Tensor, negatives: Tensor) -> dict[str, float]:
    """Return `tpr_at_fpr` at each false positive rate of `CURVE`: the receiver operating characteristic."""
    return {f"{fpr:g}": tpr_at_fpr(positives, negatives, fpr) for fpr in CURVE}


def auc_reading(base: Reading, positives: Tensor, negatives: Tensor) -> Reading:
    """Fill the AUC, its interval and its doubts into `base`; the series holds its distance from 1/2."""
    value = auc(positives, negatives)
    return replace(
        base,
        value=value,
        interval=auc_interval(positives, negatives),
        series={"two_sided": abs(value - 0.5)},
        samples=min(len(positives), len(negatives)),
        doubts=(*base.doubts, *_doubts(positives, negatives)),
    )


def tpr_reading(base: Reading, positives: Tensor, negatives: Tensor) -> Reading:
    """Fill the true positive rate at `LOW_FPR`, its interval and its doubts into `base`.

    The series has the rates at the false positive rates of `CURVE`, None with less than `FEWEST` samples on a side.
    """
    doubts = _doubts(positives, negatives)
    if _allowed(LOW_FPR, len(negatives)) == 0:
        doubts.append(Doubt("few_non_members", {"n": len(negatives)}))
    return replace(
        base,
        value=tpr_at_fpr(positives, negatives),
        interval=tpr_interval(positives, negatives),
        series=curve(positives, negatives) if min(len(positives), len(negatives)) >= FEWEST else None,
        samples=len(positives),
        doubts=(*base.doubts, *doubts),
    )


def _doubts(positives: Tensor, negatives: Tensor) -> list[Doubt]:
    doubts = size_doubts(min(len(positives), len(negatives)), None, SMALL)
    if len(torch.cat([positives, negatives]).unique()) == 1:
        doubts.append(Doubt("equal_scores"))
    return doubts


def _check(positives: Tensor, negatives: Tensor) -> None:
    for name, scores in (("positives", positives), ("negatives", negatives)):
        if scores.ndim != 1 or len(scores) == 0 or bool(scores.isnan().any()):
            raise DataError(
                f"Expected scores (n,) of at least one sample without NaN as {name}, but got {tuple(scores.shape)} "
                f"with {int(scores.isnan().sum())} NaN; leave the samples out, or the reading unknown."
            )


def _counts(scores: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """For each score, how many of the others are less, and how many are less or equal; int64, in ascending order."""
    _check(scores, others)
    scores, ordered = scores.sort().values, others.sort().values  # no result depends on the order of the samples
    return torch.searchsorted(ordered, scores), torch.searchsorted(ordered, scores, right=True)


def _allowed(fpr: float, n: int) -> int:
    return math.floor(fpr * n + 1e-9)  # 0.01 * 2900 is a little less than 29


def _reached(positives: Tensor, negatives: Tensor, allowed: int) -> int:
    """Number of positives above all but `allowed` of the negatives."""
    if allowed >= len(negatives):
        return len(positives)
    return int((positives > negatives.sort(descending=True).values[allowed]).sum())


def _newcombe(value: float, m: int, n: int) -> tuple[float, float]:
    def outside(t: float) -> bool:
        size = (m + n) / 2 - 1
        variance = t * (1 - t) * (1 + size * (1 - t) / (2 - t) + size * t / (1 + t)) / (m * n)
        return (value - t) ** 2 > Z_95**2 * variance

    def end(far: float) -> float:
        near = value
        for _ in range(60):  # halving: far beyond the precision of a float
            middle = (near + far) / 2
            near, far = (near, middle) if outside(middle) else (middle, far)
        return far

    return end(0.0), end(1.0)
