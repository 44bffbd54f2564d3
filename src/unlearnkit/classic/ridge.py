"""Fits ridge regression from X'X and X'y, which are sums over rows: forgetting subtracts and solves again.

Source: Y. Cao, J. Yang, Towards Making Systems Forget with Machine Unlearning, IEEE S&P 2015 (the summation form);
the closed form is A. Hoerl, R. Kennard, Ridge Regression, Technometrics 12, 1970.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from unlearnkit.classic.base import Unlearner
from unlearnkit.classic.lloyd import Floats
from unlearnkit.classic.settings import check_real
from unlearnkit.classic.thresholds import Ints
from unlearnkit.errors import DataError


class SummedRidge(RegressorMixin, Unlearner):  # type: ignore[misc]
    """Ridge regression whose `unlearn` takes the rows out of its sums and solves again.

        (A'A + alpha D) w = A'y,   A = [X 1],   D the identity without the row of the constant,

    which minimises |y - X w - b|^2 + alpha |w|^2. The result is that of a fit without the rows, up to the rounding of
    sums: what was subtracted is held to some 1e-16 of the largest sum. `unlearn` costs m d^2 + d^3 for m rows, a fit
    n d^2 + d^3.

    Args:
        alpha: penalty, above 0.

    Attributes:
        coef_: w (attributes), or (targets, attributes) for several targets.
        intercept_: b, or (targets).
        rows_: numbers of the rows that are left.

    Raises:
        ConfigError: alpha is out of its range.

    >>> model = SummedRidge(alpha=1e-9).fit([[0.0], [1.0], [2.0], [3.0]], [1.0, 3.0, 5.0, 99.0])
    >>> model.unlearn([3]).predict([[10.0]]).round(6).tolist()
    [21.0]
    """

    def __init__(self, *, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Sum up and solve, from features (rows, attributes) and targets (rows) or (rows, targets)."""
        check_real("alpha", self.alpha, above=0)
        features, targets = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._rows = np.column_stack([features, np.ones(len(features))])
        self._targets = np.array(targets, dtype=np.float64)
        self._gram, self._moment = self._rows.T @ self._rows, self._rows.T @ self._targets
        self._number(len(features))
        self._solve()
        return self

    def predict(self, X: ArrayLike) -> Floats:
        """Return the targets of samples (samples), or (samples, targets)."""
        check_is_fitted(self)
        features = validate_data(self, X, dtype=np.float64, reset=False)
        return np.asarray(features @ self.coef_.T + self.intercept_)

    def _solve(self) -> None:
        penalised = self._gram.copy()
        penalised[np.diag_indices(len(penalised) - 1)] += self.alpha
        try:
            factor = cho_factor(penalised)
        except LinAlgError as error:
            raise DataError(
                "Expected X'X + alpha to be positive definite, but rounding has made it singular; scale the features, "
                "or raise alpha, and fit again."
            ) from error
        weights = cho_solve(factor, self._moment)
        self.coef_, self.intercept_ = weights[:-1].T, weights[-1]

    def _forget(self, gone: Ints) -> None:
        rows, targets = self._rows[gone], self._targets[gone]
        self._gram = self._gram - rows.T @ rows
        self._moment = self._moment - rows.T @ targets
        self._rows[gone] = self._targets[gone] = 0.0
        self._solve()
