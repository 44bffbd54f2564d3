"""The prior over settings: by hand, against scipy, and on simulated variances whose distribution is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from unlearnkit.audit.prior import MOST_DEGREES, Prior, inverse_trigamma, over_settings, scaled_f

EULER = 0.5772156649015329


def simulated(settings: int, *, scale: float, known: float, own: int, seed: int = 0) -> list[float]:
    """Sample variances with `own` degrees of freedom, of normal values whose true variances are scaled 1 / chi^2."""
    random = np.random.default_rng(seed)
    variances = scale**2 * known / random.chisquare(known, settings)
    return [float(np.var(random.normal(0, math.sqrt(v), own + 1), ddof=1)) for v in variances]


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "known", "own"), [(0.2, 4.0, 8), (1.5, 10.0, 8), (0.05, 2.0, 2)])
def test_simulated_variances_give_back_their_distribution(scale: float, known: float, own: int) -> None:
    variance, degrees = scaled_f(simulated(20_000, scale=scale, known=known, own=own), [own] * 20_000)
    assert math.sqrt(variance) == pytest.approx(scale, rel=0.03)
    assert degrees == pytest.approx(known, rel=0.1)


@pytest.mark.slow
def test_variances_with_degrees_of_their_own_give_it_back_too() -> None:
    few, many = (simulated(10_000, scale=0.3, known=5, own=own, seed=own) for own in (3, 11))
    variance, degrees = scaled_f(few + many, [3] * 10_000 + [11] * 10_000)
    assert math.sqrt(variance) == pytest.approx(0.3, rel=0.03)
    assert degrees == pytest.approx(5, rel=0.1)


def test_the_fitted_distribution_is_that_of_the_variances() -> None:
    """By scipy's F distribution: s^2 / s0^2 is F with d and d0 degrees of freedom."""
    variances = simulated(5_000, scale=0.2, known=6, own=8, seed=3)
    variance, degrees = scaled_f(variances, [8] * 5_000)
    assert scipy.stats.kstest(np.array(variances) / variance, scipy.stats.f(8, degrees).cdf).pvalue > 0.01


def test_a_case_by_hand() -> None:
    """Two degrees of freedom: psi(1) = -gamma and psi'(1) = pi^2 / 6. Variances exp(0) and exp(2 sqrt(pi^2 / 6)).

    Then e_j = log s_j^2 + gamma, their variance is 2 pi^2 / 6, the excess pi^2 / 6, so that d0 = 2 too and
    log s0^2 = sqrt(pi^2 / 6) + gamma + psi(1) - log(1) = sqrt(pi^2 / 6).
    """
    step = math.sqrt(math.pi**2 / 6)
    variance, degrees = scaled_f([1.0, math.exp(2 * step)], [2, 2])
    assert degrees == pytest.approx(2.0, rel=1e-6)
    assert variance == pytest.approx(math.exp(step), rel=1e-6)


def test_settings_that_agree_have_infinitely_many_degrees() -> None:
    variance, degrees = scaled_f([0.04] * 5, [2] * 5)
    assert degrees == math.inf
    assert variance == pytest.approx(0.04 * math.exp(EULER))  # E log(chi^2_2 / 2) = -gamma


@pytest.mark.parametrize("value", [1e-8, 1e-4, 0.02, 0.3, 1.0, 7.5, 400.0, 1e9])
def test_the_inverse_of_trigamma(value: float) -> None:
    assert scipy.special.polygamma(1, inverse_trigamma(value)) == pytest.approx(value, rel=1e-5)
    if 1e-3 < value < 1e3:
        root = scipy.optimize.brentq(lambda x: scipy.special.polygamma(1, x) - value, 1e-3, 1e4)
        assert inverse_trigamma(value) == pytest.approx(root, rel=1e-6)


def test_over_settings_few_say_nothing_and_none_says_more_than_a_bank() -> None:
    assert over_settings([0.04, 0.05], [8, 8]) is None
    agreed = over_settings([0.04] * 6, [8] * 6)
    assert agreed is not None
    assert agreed.degrees == MOST_DEGREES
    assert agreed.relative
    assert agreed.spread == pytest.approx(math.sqrt(scaled_f([0.04] * 6, [8] * 6)[0]))
    apart = over_settings([0.001, 0.01, 0.1, 1.0], [8] * 4)
    assert apart is not None
    assert apart.degrees < 2


@pytest.mark.parametrize(
    ("variances", "degrees"), [([0.04], [8]), ([0.04, 0.0], [8, 8]), ([0.04, 0.1], [8]), ([0.04, 0.1], [8, 0])]
)
def test_what_has_no_logarithm_is_refused(variances: list[float], degrees: list[float]) -> None:
    with pytest.raises(ValueError, match="Expected two or more positive variances"):
        scaled_f(variances, degrees)


@pytest.mark.parametrize(("spread", "degrees"), [(-0.1, 8), (0.1, 0), (0.1, math.inf), (math.nan, 8)])
def test_a_prior_is_finite(spread: float, degrees: float) -> None:
    with pytest.raises(ValueError, match="Expected a finite spread"):
        Prior(spread, degrees)
