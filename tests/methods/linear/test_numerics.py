"""Linear models and the removal of rows from them, against scikit-learn, closed forms and retraining."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression, Ridge

from unlearnkit.errors import ConfigError
from unlearnkit.methods.linear.numerics import (
    LOGISTIC,
    MOST_EPSILON,
    SQUARED,
    Array,
    MarginLoss,
    curvatures,
    descend,
    descent_error,
    descent_steps,
    distance_bound,
    fit,
    gradient,
    leave_out_predictions,
    one_hot,
    publishing_sigma,
    removal_sigma,
    remove_by_newton,
    remove_by_projection,
    residual_budget,
    unit_rows,
)


def problem(n: int = 120, inputs: int = 9, classes: int = 3, seed: int = 0) -> tuple[Array, Array]:
    """Rows of length 1 with a constant, and targets that have to do with them."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(n, inputs)) + 0.5
    labels = np.argmax(raw[:, :classes] + 0.5 * rng.normal(size=(n, classes)), axis=1)
    return unit_rows(raw, constant=True), one_hot(labels, classes)


def test_rows_are_scaled_by_themselves_alone() -> None:
    rows, _ = problem()
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1)
    raw = np.arange(12.0).reshape(3, 4)
    assert unit_rows(raw, constant=True)[1] == pytest.approx(unit_rows(raw[1:2], constant=True)[0])
    assert (unit_rows(np.zeros((1, 2)), constant=False) == 0).all()


def test_a_fit_is_what_scikit_learn_finds_for_each_class_by_itself() -> None:
    rows, targets = problem()
    logistic, squared = fit(LOGISTIC, rows, targets, 0.7), fit(SQUARED, rows, targets, 0.7)
    for k in range(targets.shape[1]):
        other = LogisticRegression(C=1 / 0.7, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(rows, targets[:, k])
        assert logistic[:, k] == pytest.approx(other.coef_[0], abs=1e-5)
    ridge = Ridge(alpha=0.7, fit_intercept=False, solver="cholesky").fit(rows, targets)
    assert squared == pytest.approx(ridge.coef_.T, abs=1e-10)


@pytest.mark.parametrize("loss", [LOGISTIC, SQUARED])
def test_a_tilted_fit_ends_where_the_tilted_gradient_is_zero(loss: MarginLoss) -> None:
    rows, targets = problem()
    tilt = 3 * np.random.default_rng(1).normal(size=(rows.shape[1], targets.shape[1]))
    found = fit(loss, rows, targets, 0.01, tilt_DK=tilt)
    assert np.linalg.norm(gradient(loss, rows, targets, found, 0.01, tilt)) < 1e-7
    assert gradient(loss, rows, targets, found, 0.01) == pytest.approx(-tilt, abs=1e-7)
    with pytest.raises(ConfigError, match="Expected the linear model's fit to reach"):
        fit(loss, np.full_like(rows, np.nan), targets, 0.01)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (5, 20), (40,)])
@pytest.mark.parametrize("penalty", [1e-3, 0.05])
def test_the_true_residual_is_never_above_the_bound_along_a_sequence(sizes: tuple[int, ...], penalty: float) -> None:
    """Usual mistakes: the removed rows' share of the penalty left out; one class's bound in place of all together."""
    rows, targets = problem(seed=len(sizes))
    tilt = np.random.default_rng(2).normal(size=(rows.shape[1], targets.shape[1]))
    weights = fit(LOGISTIC, rows, targets, penalty * len(rows), tilt_DK=tilt)
    spent = np.linalg.norm(gradient(LOGISTIC, rows, targets, weights, penalty * len(rows), tilt))
    for m in sizes:
        n = len(rows)
        weights, bound = remove_by_newton(
            LOGISTIC,
            rows[m:],
            rows[:m],
            targets[:m],
            weights,
            penalty_before=penalty * n,
            penalty_after=penalty * (n - m),
        )
        rows, targets, spent = rows[m:], targets[m:], spent + bound
        residual = np.linalg.norm(gradient(LOGISTIC, rows, targets, weights, penalty * (n - m), tilt))
        assert 0 < residual <= spent
    exact = fit(LOGISTIC, rows, targets, penalty * len(rows), tilt_DK=tilt)
    before = fit(LOGISTIC, *problem(seed=len(sizes)), penalty * 120, tilt_DK=tilt)
    assert np.linalg.norm(weights - exact) < np.linalg.norm(before - exact)


def test_a_newton_step_of_the_squared_loss_is_the_new_fit_and_costs_no_budget() -> None:
    rows, targets = problem()
    before = fit(SQUARED, rows, targets, 0.3)
    found, bound = remove_by_newton(
        SQUARED, rows[50:], rows[:50], targets[:50], before, penalty_before=0.3, penalty_after=0.2
    )
    assert bound == 0
    assert found == pytest.approx(fit(SQUARED, rows[50:], targets[50:], 0.2), abs=1e-9)


def gaussian_delta(epsilon: float, ratio: float) -> float:
    """Least delta of the Gaussian mechanism whose noise is `ratio` times the sensitivity (Balle & Wang, theorem 8)."""
    a, b = 1 / (2 * ratio), epsilon * ratio
    return float(norm.cdf(a - b) - math.exp(epsilon) * norm.cdf(-a - b))


@pytest.mark.parametrize("epsilon", [0.05, 1.0, MOST_EPSILON])
@pytest.mark.parametrize("delta", [1e-2, 1e-4, 1e-8])
def test_the_tilt_hides_the_residual_as_well_as_the_theorem_says(epsilon: float, delta: float) -> None:
    """Usual mistakes: sigma for sigma^2, 1.25 for 1.5, epsilon beyond the formula's range."""
    sigma = removal_sigma(0.2, epsilon, delta)
    assert sigma == pytest.approx(0.2 / epsilon * math.sqrt(2 * math.log(1.5 / delta)))
    assert residual_budget(sigma, epsilon, delta) == pytest.approx(0.2)
    assert gaussian_delta(epsilon, sigma / 0.2) <= delta
    assert gaussian_delta(8.0, removal_sigma(1.0, 8.0, 1e-2)) > 1e-2  # beyond, it would not


def test_leave_out_predictions_are_those_of_the_new_fit() -> None:
    """Usual mistake: each row's own leave-one-out residual, without what the removed rows do to one another."""
    rows, targets = problem()
    weights, inverse = fit(SQUARED, rows, targets, 0.1), np.linalg.inv(rows.T @ rows + 0.1 * np.eye(rows.shape[1]))
    exact = fit(SQUARED, rows[4:], targets[4:], 0.1)
    found = leave_out_predictions(rows[:4], targets[:4], weights, inverse)
    assert found == pytest.approx(rows[:4] @ exact, abs=1e-10)
    singly = np.vstack([leave_out_predictions(rows[i : i + 1], targets[i : i + 1], weights, inverse) for i in range(4)])
    assert np.abs(singly - found).max() > 1e-3


@pytest.mark.parametrize("m", [1, 4, 40])
def test_the_projective_update_is_the_exact_change_on_the_span_of_the_removed_rows(m: int) -> None:
    rows, targets = problem()
    weights, inverse = fit(SQUARED, rows, targets, 0.1), np.linalg.inv(rows.T @ rows + 0.1 * np.eye(rows.shape[1]))
    exact, found = (
        fit(SQUARED, rows[m:], targets[m:], 0.1),
        remove_by_projection(rows[:m], targets[:m], weights, inverse),
    )
    span = np.linalg.pinv(rows[:m]) @ rows[:m]
    assert found - weights == pytest.approx(span @ (exact - weights), abs=1e-9)
    assert (np.abs(found - exact).max() < 1e-9) == (m == 40)  # 40 rows span 10 inputs


def test_the_projective_update_is_exact_where_removed_and_kept_rows_are_orthogonal() -> None:
    rng = np.random.default_rng(3)
    rows = np.zeros((20, 6))
    rows[:3, :2], rows[3:, 2:] = rng.normal(size=(3, 2)), rng.normal(size=(17, 4))
    targets = rng.normal(size=(20, 2))
    weights, inverse = fit(SQUARED, rows, targets, 0.1), np.linalg.inv(rows.T @ rows + 0.1 * np.eye(6))
    exact = fit(SQUARED, rows[3:], targets[3:], 0.1)
    assert remove_by_projection(rows[:3], targets[:3], weights, inverse) == pytest.approx(exact, abs=1e-10)


@pytest.mark.parametrize("loss", [LOGISTIC, SQUARED])
def test_descent_contracts_by_the_factor_of_its_curvatures_and_ends_within_the_error(loss: MarginLoss) -> None:
    """Usual mistake: a step of 1 / M, whose factor (M - m) / M is worse than what the steps are counted by."""
    rows, targets = problem()
    before, exact = fit(loss, rows, targets, 6.0), fit(loss, rows[30:], targets[30:], 4.5)
    rows, targets = rows[30:], targets[30:]
    least, most = curvatures(loss, rows, 4.5)
    apart = np.linalg.norm(before - exact)
    assert apart <= distance_bound(loss, rows, targets, before, 4.5)
    for steps in (1, 5):
        reached = np.linalg.norm(descend(loss, rows, targets, before, 4.5, steps) - exact)
        assert reached <= ((most - least) / (most + least)) ** steps * apart * (1 + 1e-9)
    steps = descent_steps(distance_bound(loss, rows, targets, before, 4.5), 1e-4, least, most)
    assert np.linalg.norm(descend(loss, rows, targets, before, 4.5, steps) - exact) <= 1e-4
    assert descent_steps(1e-5, 1e-4, least, most) == 0
    assert descent_steps(1.0, 1e-4, 2.0, 2.0) == 1


def renyi(shift: float, sigma: float, delta: float) -> float:
    """The epsilon of two Gaussians that are `shift` apart, by their Renyi divergences (Mironov 2017, proposition 3)."""
    orders = 1 + np.exp(np.linspace(-5, 12, 4000))
    return float(np.min(orders * shift**2 / (2 * sigma**2) + math.log(1 / delta) / (orders - 1)))


@pytest.mark.parametrize(("epsilon", "delta"), [(1.0, 1e-5), (0.1, 1e-3), (20.0, 1e-6)])
def test_published_noise_hides_two_starts_as_well_as_the_theorem_says(epsilon: float, delta: float) -> None:
    """Usual mistake: the noise for one error, where both the descent and the retraining are an error away."""
    sigma = publishing_sigma(0.03, epsilon, delta)
    assert descent_error(sigma, epsilon, delta) == pytest.approx(0.03)
    assert renyi(2 * 0.03, sigma, delta) == pytest.approx(epsilon, rel=1e-4)
    # Neel et al.: error gamma^I (2 L / (m n)) / (1 - gamma^I) is what I steps leave, request after request
    gamma, moved = 0.9, 0.5
    error = gamma**7 * moved / (1 - gamma**7)
    assert gamma**7 * (error + moved) == pytest.approx(error)
    assert descent_steps(error + moved, error, 1.0, 19.0) == 7
