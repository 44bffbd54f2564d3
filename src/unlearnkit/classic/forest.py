"""Classifies with a random forest that forgets rows exactly: a DaRE forest (data removal-enabled).

Source: J. Brophy, D. Lowd, Machine Unlearning for Random Forests, ICML 2021, arXiv 2009.05567.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from unlearnkit.classic.base import Unlearner
from unlearnkit.classic.keyed import mixed
from unlearnkit.classic.settings import check_choice, check_whole
from unlearnkit.classic.thresholds import SCORES, Ints, Table
from unlearnkit.classic.tree import DareTree, Growth

DEEPEST = 200  # trees grow by recursion


class DareForestClassifier(ClassifierMixin, Unlearner):  # type: ignore[misc]
    """A random forest whose `unlearn` gives a forest that was grown without the rows.

    Each tree sees all rows (no bootstrap). With `random_layers=0` the forest after `unlearn` is the one that `fit`
    grows from the rows that are left with the same `random_state`, bit for bit; with random layers it is equal to that
    in distribution, for requests that were chosen without looking at the forest. Classes keep their columns in
    `predict_proba` when all of their rows are forgotten.

    Args:
        n_estimators: trees, at least 1.
        criterion: "gini" or "entropy", by which greedy nodes choose.
        max_depth: layers of splits, 1 to 200.
        max_features: attributes that a greedy node draws: "sqrt" of all, a number of them, or None for all.
        thresholds: thresholds that it draws of each (k in the paper), or None for all.
        random_layers: upper layers that split at random (d_rmax in the paper): more of them forget faster and fit less.
        min_samples_split: rows that a node needs to be split, at least 2.
        random_state: a whole number repeats the forest; None draws one.

    Attributes:
        classes_: the K classes.
        trees_: the trees.
        rows_: numbers of the rows that are left.

    Raises:
        ConfigError: a setting is out of its range.

    >>> from sklearn.datasets import load_iris
    >>> features, labels = load_iris(return_X_y=True)
    >>> forest = DareForestClassifier(n_estimators=5, random_state=0).fit(features, labels)
    >>> forest.unlearn(range(100, 150)).predict_proba(features[:1]).tolist()
    [[1.0, 0.0, 0.0]]
    >>> forest.score(features[:100], labels[:100])
    1.0
    """

    def __init__(
        self,
        n_estimators: int = 100,
        *,
        criterion: Literal["gini", "entropy"] = "gini",
        max_depth: int = 10,
        max_features: int | Literal["sqrt"] | None = "sqrt",
        thresholds: int | None = 25,
        random_layers: int = 0,
        min_samples_split: int = 2,
        random_state: int | RandomState | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.criterion = criterion
        self.max_depth = max_depth
        self.max_features = max_features
        self.thresholds = thresholds
        self.random_layers = random_layers
        self.min_samples_split = min_samples_split
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Grow the forest from features (rows, attributes) and classes (rows)."""
        check_whole("n_estimators", self.n_estimators, least=1)
        features, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        growth = self._growth(features.shape[1])
        self.classes_, codes = np.unique(labels, return_inverse=True)
        seed = check_random_state(self.random_state).randint(2**31)
        self._table = Table.of(features, codes.astype(np.int64), len(self.classes_))
        self.trees_ = [DareTree(self._table, growth, mixed(seed, tree)) for tree in range(self.n_estimators)]
        self._number(len(features))
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the mean over the trees of the share of each class in a sample's leaf (samples, K)."""
        check_is_fitted(self)
        features = validate_data(self, X, dtype=np.float64, reset=False)
        total = np.zeros((len(features), len(self.classes_)))
        for tree in self.trees_:
            total += tree.probabilities(features)
        return total / len(self.trees_)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each sample (samples)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def _growth(self, attributes: int) -> Growth:
        check_choice("criterion", self.criterion, tuple(SCORES))
        check_whole("max_depth", self.max_depth, least=1, most=DEEPEST)
        check_whole("min_samples_split", self.min_samples_split, least=2)
        check_whole("random_layers", self.random_layers, least=0)
        if self.thresholds is not None:
            check_whole("thresholds", self.thresholds, least=1)
        drawn = attributes
        if isinstance(self.max_features, str):
            check_choice("max_features", self.max_features, ("sqrt",))
            drawn = math.isqrt(attributes)
        elif self.max_features is not None:
            check_whole("max_features", self.max_features, least=1)
            drawn = min(self.max_features, attributes)
        return Growth(
            criterion=self.criterion,
            max_depth=self.max_depth,
            attributes=drawn,
            thresholds=self.thresholds,
            random_layers=self.random_layers,
            min_samples_split=self.min_samples_split,
        )

    def _forget(self, gone: Ints) -> None:
        self._table.forget(gone)
        for tree in self.trees_:
            tree.forget(gone)
        self._table.erase(gone)
