"""Defines the base of all estimators here: which rows may be forgotten, and which are left."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from unlearnkit.errors import RequestError


class Unlearner(BaseEstimator, ABC):  # type: ignore[misc]
    """A scikit-learn estimator that can forget rows of the data that it was fitted to.

    Rows are numbered as `fit` got them, from 0, and keep their numbers however many are forgotten. A subclass calls
    `_number` in its `fit` and writes `_forget`, which gets numbers that were checked; what it holds of these rows
    it must not hold afterwards.

    >>> import numpy as np
    >>> from unlearnkit.classic import SummedRidge
    >>> model = SummedRidge().fit(np.eye(4), [1.0, 2.0, 3.0, 4.0]).unlearn([2])
    >>> model.rows_.tolist()
    [0, 1, 3]
    >>> model.unlearn([2])
    Traceback (most recent call last):
    unlearnkit.errors.RequestError: Expected rows that are not forgotten yet, but got 2 again; leave it out.
    """

    kept_: NDArray[np.bool_]

    @property
    def rows_(self) -> NDArray[np.int64]:
        """Numbers of the rows that are left, ascending."""
        check_is_fitted(self)
        return np.flatnonzero(self.kept_)

    def unlearn(self, rows: ArrayLike) -> Self:
        """Forget rows of the fitted data, so that the model is one that was fitted without them.

        Args:
            rows: their numbers, a sequence of integers, none of them twice.

        Raises:
            RequestError: a row does not exist or is already forgotten, or too few rows would be left.
        """
        check_is_fitted(self)
        gone = _row_numbers(rows, self.kept_)
        least, left = self._least_rows(), int(self.kept_.sum()) - len(gone)
        if left < least:
            raise RequestError(
                f"Expected at least {least} of the fitted rows to be left, but {left} would be; forget fewer, or "
                "delete the model."
            )
        self._forget(gone)
        self.kept_[gone] = False
        return self

    def _number(self, count: int) -> None:
        """Number the rows of the data that `fit` got."""
        self.kept_ = np.ones(count, dtype=bool)

    def _least_rows(self) -> int:
        """How many rows the model needs."""
        return 1

    @abstractmethod
    def _forget(self, gone: NDArray[np.int64]) -> None:
        """Forget rows that were checked."""


def _row_numbers(rows: ArrayLike, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Numbers of rows, each of which is there."""
    found: NDArray[Any] = np.asarray(rows)
    if found.ndim != 1 or found.size == 0 or found.dtype.kind not in "iu":
        raise RequestError(
            f"Expected a sequence of row numbers, but got {found.dtype} of shape {found.shape}; a mask becomes "
            "numbers by numpy.flatnonzero(mask)."
        )
    outside = found[(found < 0) | (found >= len(kept))]
    if outside.size:
        raise RequestError(f"Expected rows between 0 and {len(kept) - 1}, but got {outside[0]}; see rows_.")
    numbers, times = np.unique(found.astype(np.int64), return_counts=True)
    if (times > 1).any():
        raise RequestError(f"Expected each row once, but got {numbers[times > 1][0]} several times; name it once.")
    if not kept[numbers].all():
        again = numbers[~kept[numbers]][0]
        raise RequestError(f"Expected rows that are not forgotten yet, but got {again} again; leave it out.")
    return numbers
