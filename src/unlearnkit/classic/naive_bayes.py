"""Classifies counts by multinomial naive Bayes, which is made of sums over rows: forgetting subtracts.

Source: Y. Cao, J. Yang, Towards Making Systems Forget with Machine Unlearning, IEEE S&P 2015: a model that depends on
the rows only through sums forgets a row by taking it out of each sum.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

from unlearnkit.classic.base import Unlearner
from unlearnkit.classic.lloyd import Floats, sums
from unlearnkit.classic.settings import check_real
from unlearnkit.classic.thresholds import Ints


class SummedNaiveBayes(ClassifierMixin, Unlearner):  # type: ignore[misc]
    """Multinomial naive Bayes whose `unlearn` subtracts the rows from its sums.

        log p(c | x) = log N_c + sum_j x_j log((S_cj + alpha) / sum_j (S_cj + alpha)) + constant,

    N_c being the number of rows of class c and S_c their sum. With whole numbers, as counts are, the result is bit for
    bit that of a fit without the rows; with others it is that up to rounding. A class without rows left has
    probability 0.

    Args:
        alpha: added to each sum, above 0.

    Attributes:
        classes_: the K classes.
        sums_: S (K, attributes).
        counts_: N (K).
        rows_: numbers of the rows that are left.

    Raises:
        ConfigError: alpha is out of its range.

    >>> words = np.array([[2, 0], [3, 1], [0, 4], [1, 3]])
    >>> model = SummedNaiveBayes().fit(words, ["ham", "ham", "spam", "spam"]).unlearn([3])
    >>> model.sums_.tolist(), model.predict([[0, 2]]).tolist()
    ([[5.0, 1.0], [0.0, 4.0]], ['spam'])
    """

    def __init__(self, *, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.classifier_tags.poor_score = True  # as scikit-learn says of its own: not for features that are no counts
        return tags

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Sum up features of at least 0 (rows, attributes) by class (rows)."""
        check_real("alpha", self.alpha, above=0)
        features, labels = validate_data(self, X, y, dtype=np.float64)
        check_non_negative(features, type(self).__name__)
        check_classification_targets(labels)
        self.classes_, self._codes = np.unique(labels, return_inverse=True)
        self._features = features.copy()
        self.sums_, self.counts_ = sums(features, self._codes, len(self.classes_))
        self._number(len(features))
        return self

    def predict_log_proba(self, X: ArrayLike) -> Floats:
        """Return the log of each class's probability (samples, K)."""
        check_is_fitted(self)
        features = validate_data(self, X, dtype=np.float64, reset=False)
        check_non_negative(features, type(self).__name__)
        smoothed = self.sums_ + self.alpha
        with np.errstate(divide="ignore"):  # a class without rows
            joint = features @ np.log(smoothed / smoothed.sum(axis=1, keepdims=True)).T + np.log(self.counts_)
        return np.asarray(joint - logsumexp(joint, axis=1, keepdims=True))

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Return the probability of each class (samples, K)."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each sample (samples)."""
        best = self.predict_log_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def _forget(self, gone: Ints) -> None:
        total, count = sums(self._features[gone], self._codes[gone], len(self.classes_))
        self.sums_ = self.sums_ - total
        self.counts_ = self.counts_ - count
        self._features[gone] = self._codes[gone] = 0
