"""Defines Prior, what is known of a reading's spread before an audit's own retrained models are seen, and fits one.

The variances s_j^2 of a reading over the seeds of J settings, with d_j degrees of freedom each, are taken for draws
from a scaled F distribution, s_j^2 ~ s0^2 F(d_j, d0): the true variance of a setting is s0^2 d0 / chi^2_d0. d0 says how
much one setting tells of another: infinite where all have the same variance, near 0 where they share nothing. With
e_j = log s_j^2 - psi(d_j / 2) + log(d_j / 2), e their mean, psi the digamma and psi' the trigamma function,

    psi'(d0 / 2) = sum_j (e_j - e)^2 / (J - 1) - mean_j psi'(d_j / 2)
    log s0^2     = e + psi(d0 / 2) - log(d0 / 2)

and d0 is infinite, log s0^2 = e, where the first right-hand side is not positive. Source: G. K. Smyth, "Linear models
and empirical Bayes methods for assessing differential expression in microarray experiments", Statistical Applications
in Genetics and Molecular Biology 3(1), 2004, article 3, section 6.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_DEGREES = 8.0  # a prior over settings never weighs more than a setting's own bank of nine models
FEWEST_SETTINGS = 3


@dataclass(frozen=True)
class Prior:
    """The standard deviation of a reading over seeds, as known from elsewhere.

    Args:
        spread: s0, on the reading's scale.
        degrees: d0, the degrees of freedom that it counts for beside the k - 1 of the audit's own models.
        relative: whether s0 is in units of the scale's own (`Scale.unit`), which depends on the number of samples.

    Raises:
        ValueError: the spread is negative, or the degrees are not positive.
    """

    spread: float
    degrees: float
    relative: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.spread < math.inf and 0 < self.degrees < math.inf):
            raise ValueError(
                f"Expected a finite spread of 0 or more and a finite, positive number of degrees of freedom, but got "
                f"{self.spread} and {self.degrees}."
            )


def scaled_f(variances: Sequence[float], degrees: Sequence[float]) -> tuple[float, float]:
    """Return s0^2 and d0, which may be infinite, of a scaled F distribution by the moments of log s^2.

    Args:
        variances: s_j^2, positive; a variance of 0 has no logarithm, so raise it to the smallest that matters first.
        degrees: d_j, positive.

    Raises:
        ValueError: there are fewer than two variances, or one is not positive.

    >>> [round(x, 3) for x in scaled_f([1.0, 2.0, 4.0, 9.0], [4, 4, 4, 4])]
    [3.413, 9.261]
    """
    from scipy.special import digamma, polygamma

    if len(variances) < 2 or len(variances) != len(degrees) or min(variances) <= 0 or min(degrees) <= 0:
        raise ValueError(
            f"Expected two or more positive variances with their degrees of freedom, but got {list(variances)} with "
            f"{list(degrees)}."
        )
    shifted = [
        math.log(variance) - float(digamma(d / 2)) + math.log(d / 2)
        for variance, d in zip(variances, degrees, strict=True)
    ]
    mean = sum(shifted) / len(shifted)
    spread = sum((e - mean) ** 2 for e in shifted) / (len(shifted) - 1)
    excess = spread - sum(float(polygamma(1, d / 2)) for d in degrees) / len(degrees)
    if excess <= 0:
        return math.exp(mean), math.inf
    half = inverse_trigamma(excess)
    return math.exp(mean + float(digamma(half)) - math.log(half)), 2 * half


def inverse_trigamma(value: float) -> float:
    """Return the x > 0 whose trigamma function is `value` > 0, by Newton's method on 1 / psi'(x).

    1 / psi' is convex and nearly linear, so that the steps from 1/2 + 1/value go down to the root without overshooting.
    Source: Smyth 2004, appendix.
    """
    from scipy.special import polygamma

    if value > 1e7:  # the ends of its range, where it is 1 / x^2 and 1 / x
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, x))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, x))
        x += step
        if -step / x < 1e-10:
            break
    return x


def over_settings(variances: Sequence[float], degrees: Sequence[float]) -> Prior | None:
    """Return the prior that the relative variances of several settings give a setting of which nothing is known.

    Its degrees of freedom are capped at `MOST_DEGREES`: where a few settings happen to agree, d0 is estimated as
    infinite, and the bands would trust that more than an audit's own models. s0 is that of the d0 before the cap, which
    is the larger one.

    Args:
        variances: s_j^2 in units of the scale's own, positive (see `scaled_f`).
        degrees: d_j.

    Returns:
        None where there are fewer than `FEWEST_SETTINGS`.
    """
    if len(variances) < FEWEST_SETTINGS:
        return None
    variance, found = scaled_f(variances, degrees)
    return Prior(math.sqrt(variance), min(found, MOST_DEGREES), relative=True)
