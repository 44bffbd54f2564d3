"""Fits linear models and removes rows from them, on matrices alone: the mathematics without networks.

One objective serves all: K outputs side by side, each a model of its own on the same rows (one against the rest),

    F(W) = sum over rows i and outputs k of l(x_i . w_k, t_ik) + penalty / 2 |W|^2 + sum of tilt * W.

`LOGISTIC` (targets 0 and 1) and `SQUARED` (any targets; half the square) are the losses. The tilt is the random linear
term of Guo et al., and absent elsewhere. `fit` finds the minimum; `remove_by_newton`, `remove_by_projection` and
`descend` go from the minimum with some rows towards that without them; `removal_sigma`, `residual_budget`,
`publishing_sigma` and `descent_error` relate noise to (epsilon, delta). Nothing is drawn at random here: noise is
whatever the caller adds.

Shapes: n rows, m rows to remove, D features, K outputs. All arrays are float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearnkit.errors import ConfigError

Array = NDArray[np.float64]

MOST_ROUNDS = 200  # of Newton's method; a dozen are usual
MOST_EPSILON = 2 * math.log(3)  # up to which delta = 1.5 exp(-c^2 / 2) holds; see `removal_sigma`


@dataclass(frozen=True)
class MarginLoss:
    """A loss l(z, t) of a score z and a target t, convex in z.

    Args:
        value, slope, curvature: l and its first two derivatives in z, element by element.
        most_curvature: bound of the curvature; its Lipschitz constant is `third`.
        most_slope: bound of the slope for the targets that the loss is made for; infinite where there is none.
    """

    value: Callable[[Array, Array], Array]
    slope: Callable[[Array, Array], Array]
    curvature: Callable[[Array], Array]
    most_curvature: float
    third: float
    most_slope: float


def _probability(z: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * z))  # never overflows


LOGISTIC = MarginLoss(
    value=lambda z, t: np.logaddexp(0.0, z) - t * z,
    slope=lambda z, t: _probability(z) - t,
    curvature=lambda z: _probability(z) * _probability(-z),
    most_curvature=0.25,
    third=1 / (6 * math.sqrt(3)),  # largest |l'''|; Guo et al. take 1/4, which is a bound too
    most_slope=1.0,
)
SQUARED = MarginLoss(
    value=lambda z, t: 0.5 * (z - t) ** 2,
    slope=lambda z, t: z - t,
    curvature=np.ones_like,
    most_curvature=1.0,
    third=0.0,
    most_slope=math.inf,
)


def one_hot(labels_n: NDArray[np.int64], classes: int) -> Array:
    """Return the targets (n, K) of one model against the rest for each class: 1 for the own class, else 0."""
    return np.eye(classes)[labels_n]


def unit_rows(features_nD: Array, *, constant: bool) -> Array:
    """Return the rows scaled to length 1, with a constant feature first appended where asked for.

    Each row's scale depends on that row alone, so no row leaves a trace in another's.

    >>> unit_rows(np.array([[3.0, 4.0]]), constant=False)
    array([[0.6, 0.8]])
    """
    rows_nD = np.hstack([features_nD, np.ones((len(features_nD), 1))]) if constant else features_nD
    scaled_nD: Array = rows_nD / np.maximum(np.linalg.norm(rows_nD, axis=1, keepdims=True), 1e-300)
    return scaled_nD


def objective(
    loss: MarginLoss, rows_nD: Array, targets_nK: Array, weights_DK: Array, penalty: float, tilt_DK: Array | None = None
) -> float:
    """Return F(W)."""
    found = loss.value(rows_nD @ weights_DK, targets_nK).sum() + penalty / 2 * np.square(weights_DK).sum()
    return float(found if tilt_DK is None else found + (tilt_DK * weights_DK).sum())


def gradient(
    loss: MarginLoss, rows_nD: Array, targets_nK: Array, weights_DK: Array, penalty: float, tilt_DK: Array | None = None
) -> Array:
    """Return the gradient (D, K) of F at W."""
    found_DK = rows_nD.T @ loss.slope(rows_nD @ weights_DK, targets_nK) + penalty * weights_DK
    return found_DK if tilt_DK is None else found_DK + tilt_DK


def newton_step(loss: MarginLoss, rows_nD: Array, weights_DK: Array, gradient_DK: Array, penalty: float) -> Array:
    """Return H^-1 g of each output, (D, K), H the second derivative of F at W on these rows."""
    curvature_nK = loss.curvature(rows_nD @ weights_DK)
    if loss.third == 0:  # one H for all outputs
        return np.linalg.solve(_hessian(rows_nD, curvature_nK[:, 0], penalty), gradient_DK).astype(np.float64)
    columns = [
        np.linalg.solve(_hessian(rows_nD, curvature_nK[:, k], penalty), gradient_DK[:, k])
        for k in range(gradient_DK.shape[1])
    ]
    return np.stack(columns, axis=1)


def fit(
    loss: MarginLoss,
    rows_nD: Array,
    targets_nK: Array,
    penalty: float,
    *,
    tilt_DK: Array | None = None,
    start_DK: Array | None = None,
    tolerance: float = 1e-10,
) -> Array:
    """Return the minimum (D, K) of F, by Newton's method with halved steps where one goes too far.

    Args:
        loss: `LOGISTIC` or `SQUARED`.
        rows_nD: features.
        targets_nK: one column for each output.
        penalty: of all rows together, more than 0.
        tilt_DK: the random linear term; None: there is none.
        start_DK: where to begin; default: 0.
        tolerance: the gradient's norm, as a multiple of 1 + its norm at 0.

    Raises:
        ConfigError: the minimum is not reached, as with features that are not finite.

    >>> rows, targets = np.array([[1.0], [2.0]]), np.array([[1.0], [1.0]])
    >>> fit(SQUARED, rows, targets, penalty=1.0)  # 3 / (5 + 1)
    array([[0.5]])
    """
    weights_DK = np.zeros((rows_nD.shape[1], targets_nK.shape[1])) if start_DK is None else start_DK.copy()
    at_zero = gradient(loss, rows_nD, targets_nK, np.zeros_like(weights_DK), penalty, tilt_DK)
    goal = tolerance * (1 + float(np.linalg.norm(at_zero)))
    for _ in range(MOST_ROUNDS):
        slope_DK = gradient(loss, rows_nD, targets_nK, weights_DK, penalty, tilt_DK)
        length = float(np.linalg.norm(slope_DK))
        if length <= goal:
            return weights_DK
        if not math.isfinite(length):
            break
        step_DK = newton_step(loss, rows_nD, weights_DK, slope_DK, penalty)
        value = objective(loss, rows_nD, targets_nK, weights_DK, penalty, tilt_DK)
        share, gain = 1.0, float((slope_DK * step_DK).sum())
        while gain > 1e-9 * (1 + abs(value)) and share > 1e-9:  # nearer, rounding hides what a step gains
            nearer = objective(loss, rows_nD, targets_nK, weights_DK - share * step_DK, penalty, tilt_DK)
            if nearer <= value - 1e-4 * share * gain:
                break
            share /= 2
        weights_DK = weights_DK - share * step_DK
    raise ConfigError(
        f"Expected the linear model's fit to reach a gradient of {goal:.2g}, but it ends at {length:.2g}; raise the "
        "penalty, and look for features that are huge or not finite."
    )


def remove_by_newton(
    loss: MarginLoss,
    kept_nD: Array,
    removed_mD: Array,
    removed_targets_mK: Array,
    weights_DK: Array,
    *,
    penalty_before: float,
    penalty_after: float,
) -> tuple[Array, float]:
    """Return W + H^-1 g without the removed rows, and a bound on the norm by which that adds to F's gradient there.

    With g the removed rows' share of the gradient at W, (penalty_before - penalty_after) W included, and H the second
    derivative on the kept rows, W + H^-1 g is one step of Newton's method from W, if W was the minimum with all rows.
    The bound is that of `residual_bound`, outputs taken together: W stacked is one vector, and F the sum of theirs.
    If W was not the minimum, what its gradient was adds to it. With the squared loss the step is exact.

    Source: C. Guo, T. Goldstein, A. Hannun, L. van der Maaten, "Certified Data Removal from Machine Learning Models",
    ICML 2020 (arXiv 1911.03030), equation 3 and corollary 1; several rows at once: section 3.
    """
    gone_DK = gradient(loss, removed_mD, removed_targets_mK, weights_DK, penalty_before - penalty_after)
    step_DK = newton_step(loss, kept_nD, weights_DK, gone_DK, penalty_after)
    return weights_DK + step_DK, residual_bound(loss, kept_nD, step_DK)


def residual_bound(loss: MarginLoss, kept_nD: Array, step_DK: Array) -> float:
    """Return the bound on the gradient's norm after a Newton step from where the step's gradient was the whole one.

        sqrt(sum over k of (third R |X| |step_k| |X step_k|)^2),   R the longest row, |X| the spectral norm

    Computed from the data of the request, and never below the true norm.
    """
    longest = float(np.linalg.norm(kept_nD, axis=1).max(initial=0.0))
    spread = math.sqrt(max(0.0, float(np.linalg.eigvalsh(kept_nD.T @ kept_nD)[-1])))
    each_K = np.linalg.norm(step_DK, axis=0) * np.linalg.norm(kept_nD @ step_DK, axis=0)
    return loss.third * longest * spread * float(np.linalg.norm(each_K))


def removal_sigma(residual: float, epsilon: float, delta: float) -> float:
    """Return the tilt's standard deviation under which a gradient of norm `residual` is hidden: c residual / epsilon.

    c = sqrt(2 ln(1.5 / delta)); Guo et al., theorem 3, and good for epsilon <= 2 ln 3 (see `MOST_EPSILON`): by the
    exact condition of Balle & Wang (ICML 2018) delta is below exp(-(c - epsilon / (2 c))^2 / 2) / 2.

    >>> round(removal_sigma(0.1, 1.0, 1e-4), 4)
    0.4385
    """
    return math.sqrt(2 * math.log(1.5 / delta)) * residual / epsilon


def residual_budget(sigma: float, epsilon: float, delta: float) -> float:
    """Return the largest gradient norm that a tilt of this standard deviation hides; inverse of `removal_sigma`."""
    return sigma * epsilon / math.sqrt(2 * math.log(1.5 / delta))


def leave_out_predictions(rows_mD: Array, targets_mK: Array, weights_DK: Array, inverse_DD: Array) -> Array:
    """Return what ridge regression without these rows would predict for them, (m, K), with no new fit.

        yhat = t - (I - S)^-1 (t - X W),   S = X inverse X^T

    Args:
        rows_mD: the rows to remove.
        targets_mK: their targets.
        weights_DK: the minimum with the squared loss on all rows.
        inverse_DD: (X^T X + penalty I)^-1 of all rows.

    Source: Z. Izzo, M. A. Smart, K. Chaudhuri, J. Zou, "Approximate Data Deletion from Machine Learning Models",
    AISTATS 2021 (arXiv 2002.10077), section 3.
    """
    hat_mm = rows_mD @ inverse_DD @ rows_mD.T
    return targets_mK - np.linalg.solve(np.eye(len(rows_mD)) - hat_mm, targets_mK - rows_mD @ weights_DK)


def remove_by_projection(rows_mD: Array, targets_mK: Array, weights_DK: Array, inverse_DD: Array) -> Array:
    """Return the projective residual update of a ridge regression: exact on the span of the removed rows.

        W - (sum x x^T)^+ sum x (x . W - yhat),   yhat the predictions that were not fitted to these rows

    So W moves by the projection of the exact change on the removed rows' span; where they span the space, and where
    they are orthogonal to all that is kept, it is the exact change. Arguments and source: `leave_out_predictions`.
    """
    apart_mK = rows_mD @ weights_DK - leave_out_predictions(rows_mD, targets_mK, weights_DK, inverse_DD)
    # (X^T X)^+ X^T is the pseudo-inverse of X: the shortest change that gives these predictions
    return weights_DK - np.linalg.lstsq(rows_mD, apart_mK, rcond=None)[0]


def curvatures(loss: MarginLoss, rows_nD: Array, penalty: float) -> tuple[float, float]:
    """Return (m, M): F has at least the curvature m and at most M in every direction, whatever W."""
    return penalty, penalty + loss.most_curvature * float(np.linalg.eigvalsh(rows_nD.T @ rows_nD)[-1])


def descend(
    loss: MarginLoss, rows_nD: Array, targets_nK: Array, weights_DK: Array, penalty: float, steps: int
) -> Array:
    """Return W after `steps` gradient steps of 2 / (m + M): each brings it nearer the minimum by (M - m) / (M + m).

    Source: S. Neel, A. Roth, S. Sharifi-Malvajerdi, "Descent-to-Delete: Gradient-Based Methods for Machine Unlearning",
    ALT 2021 (arXiv 2007.02923), algorithm 2, without the projection: nothing is so far away here.
    """
    least, most = curvatures(loss, rows_nD, penalty)
    for _ in range(steps):
        weights_DK = weights_DK - 2 / (least + most) * gradient(loss, rows_nD, targets_nK, weights_DK, penalty)
    return weights_DK


def distance_bound(loss: MarginLoss, rows_nD: Array, targets_nK: Array, weights_DK: Array, penalty: float) -> float:
    """Return |gradient| / m, which W is at most away from the minimum."""
    return float(np.linalg.norm(gradient(loss, rows_nD, targets_nK, weights_DK, penalty))) / penalty


def descent_steps(distance: float, error: float, least: float, most: float) -> int:
    """Return how many steps of `descend` bring a start at `distance` from the minimum within `error` of it.

    >>> descent_steps(1.0, 0.25, 1.0, 3.0)  # each step halves the distance
    2
    """
    if distance <= error:
        return 0
    if most <= least:
        return 1
    return math.ceil(math.log(distance / error) / math.log((most + least) / (most - least)) - 1e-9)


def publishing_sigma(error: float, epsilon: float, delta: float) -> float:
    """Return the standard deviation of the noise on weights that are within `error` of the minimum.

        sqrt(2) error / (sqrt(ln(1 / delta) + epsilon) - sqrt(ln(1 / delta)))

    Weights from another start are within `error` too, so the two are at most 2 error apart, and Gaussians that are so
    far apart have this epsilon by their Renyi divergences. Neel et al. state a larger constant, for a worst case in
    which the rows that are left are not counted anew.
    """
    return math.sqrt(2) * error / (math.sqrt(math.log(1 / delta) + epsilon) - math.sqrt(math.log(1 / delta)))


def descent_error(sigma: float, epsilon: float, delta: float) -> float:
    """Return the distance from the minimum that noise of this standard deviation hides; see `publishing_sigma`."""
    return sigma / publishing_sigma(1.0, epsilon, delta)


def _hessian(rows_nD: Array, curvature_n: Array, penalty: float) -> Array:
    found_DD = rows_nD.T @ (curvature_n[:, None] * rows_nD)
    found_DD[np.diag_indices_from(found_DD)] += penalty
    return found_DD
