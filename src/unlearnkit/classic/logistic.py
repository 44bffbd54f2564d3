"""Fits logistic regression that forgets rows by one Newton step, with a certificate of what the step leaves.

Source: C. Guo, T. Goldstein, A. Hannun, L. van der Maaten, Certified Data Removal from Machine Learning Models, ICML
2020, arXiv 1911.03030. The mathematics are those of the linear heads (`methods/linear/numerics.py`).
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from unlearnkit.classic.base import Unlearner
from unlearnkit.classic.lloyd import Floats
from unlearnkit.classic.settings import check_real
from unlearnkit.classic.thresholds import Ints
from unlearnkit.errors import ConfigError
from unlearnkit.methods.linear.numerics import (
    LOGISTIC,
    MOST_EPSILON,
    fit,
    gradient,
    one_hot,
    remove_by_newton,
    residual_budget,
)


class CertifiedLogisticRegression(ClassifierMixin, Unlearner):  # type: ignore[misc]
    """Logistic regression, one class against the rest, whose `unlearn` is (epsilon, delta)-certified removal.

    With A = [X 1], targets T of 0 and 1 (one column for two classes, K for more), n rows and B ~ N(0, sigma^2),

        fit:     W = argmin of sum l(A w_k, t_k) + n penalty / 2 |W|^2 + sum of B * W
        unlearn: W + H^-1 (gradient of the rows), H the second derivative on the rows that are left,

    and the bound of the gradient that this leaves is added to `spent_`. Where that would be more than `budget_`, which
    is sigma epsilon / sqrt(2 ln(1.5 / delta)), the rows that are left are fitted with a new B. So whatever can be seen
    in the weights is seen with at most exp(epsilon) times the probability, plus delta, that a fit without the rows has.
    The statement is empty for whoever knows B or `random_state`, has the object itself (it holds the rows that are
    left, and its generator), or has seen the weights before. The bound grows with the rows' length: scale the features,
    by figures that are not taken from the rows.

    Args:
        penalty: of each row, above 0.
        sigma: standard deviation of B, above 0.
        epsilon: above 0 and at most 2 ln 3.
        delta: above 0 and below 1.
        random_state: a whole number repeats the fit; None draws one.

    Attributes:
        classes_: the K classes.
        coef_: weights (outputs, attributes), one output for two classes.
        intercept_: (outputs).
        spent_, budget_: what has been spent since the last fit, and what may be.
        fits_: fits until now, the first included.
        rows_: numbers of the rows that are left.

    Raises:
        ConfigError: a setting is out of its range.

    >>> points = np.linspace(-1, 1, 200)[:, None]
    >>> model = CertifiedLogisticRegression(sigma=1.0, random_state=0).fit(points, points[:, 0] > 0).unlearn([5, 9])
    >>> model.fits_, bool(0 < model.spent_ < model.budget_), model.predict([[-0.9], [0.9]]).tolist()
    (1, True, [False, True])
    """

    def __init__(
        self,
        *,
        penalty: float = 1e-3,
        sigma: float = 0.1,
        epsilon: float = 1.0,
        delta: float = 1e-4,
        random_state: int | RandomState | None = None,
    ) -> None:
        self.penalty = penalty
        self.sigma = sigma
        self.epsilon = epsilon
        self.delta = delta
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Fit to features (rows, attributes) and classes (rows)."""
        for name in ("penalty", "sigma", "epsilon", "delta"):
            check_real(name, getattr(self, name), above=0)
        if self.epsilon > MOST_EPSILON or self.delta >= 1:
            raise ConfigError(
                f"Expected epsilon of at most {MOST_EPSILON:.3f} and delta below 1, but got {self.epsilon} and "
                f"{self.delta}; the certificate holds for these only."
            )
        features, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        self._rows = np.column_stack([features, np.ones(len(features))])
        targets = one_hot(codes, len(self.classes_))
        self._targets = targets[:, 1:] if len(self.classes_) == 2 else targets
        self._rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        self.budget_ = residual_budget(self.sigma, self.epsilon, self.delta)
        self.fits_ = 0
        self._number(len(features))
        self._fit(np.arange(len(features)))
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """Return scores (samples) for two classes, else (samples, K)."""
        check_is_fitted(self)
        features = validate_data(self, X, dtype=np.float64, reset=False)
        scores = np.asarray(features @ self.coef_.T + self.intercept_)
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Return the probability of each class (samples, K); those of several classes are scaled to sum to 1."""
        found = expit(self.decision_function(X))
        if len(self.classes_) == 2:
            return np.stack([1 - found, found], axis=1)
        return np.asarray(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-300))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the class with the highest score of each sample (samples)."""
        scores = self.decision_function(X)
        found = (scores > 0).astype(np.int64) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[found])

    def _fit(self, left: Ints) -> None:
        """Fit the rows that are left with a new B, which is held nowhere."""
        rows, targets, penalty = self._rows[left], self._targets[left], self.penalty * len(left)
        tilt = self.sigma * self._rng.standard_normal((rows.shape[1], targets.shape[1]))
        self._weights = fit(LOGISTIC, rows, targets, penalty, tilt_DK=tilt)
        self.spent_ = float(np.linalg.norm(gradient(LOGISTIC, rows, targets, self._weights, penalty, tilt)))
        self.fits_ += 1
        self._publish()

    def _publish(self) -> None:
        self.coef_, self.intercept_ = self._weights[:-1].T, self._weights[-1]

    def _forget(self, gone: Ints) -> None:
        kept = self.kept_.copy()
        kept[gone] = False
        left = np.flatnonzero(kept)
        weights, residual = remove_by_newton(
            LOGISTIC,
            self._rows[left],
            self._rows[gone],
            self._targets[gone],
            self._weights,
            penalty_before=self.penalty * (len(left) + len(gone)),
            penalty_after=self.penalty * len(left),
        )
        self._rows[gone] = self._targets[gone] = 0.0
        if self.spent_ + residual > self.budget_:
            self._fit(left)
        else:
            self._weights = weights
            self.spent_ += residual
            self._publish()
