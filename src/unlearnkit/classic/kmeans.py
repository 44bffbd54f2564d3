"""Clusters by k-means that forgets rows exactly: Q-k-means (quantised) and DC-k-means (divided).

Source: A. Ginart, M. Guan, G. Valiant, J. Zou, Making AI Forget You: Data Deletion in Machine Learning, NeurIPS 2019,
arXiv 1907.05012.
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.random import RandomState
from numpy.typing import ArrayLike
from sklearn.base import ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from unlearnkit.classic.base import Unlearner
from unlearnkit.classic.lloyd import Floats, lloyd, nearest, seed_rows, sums
from unlearnkit.classic.settings import check_real, check_whole
from unlearnkit.classic.thresholds import Ints
from unlearnkit.errors import DataError

FINER = 2.0**-20  # the lattice of rows, as part of that of centroids


class _KMeans(ClusterMixin, Unlearner):  # type: ignore[misc]
    """What both have: rows, the random numbers that belong to them, and nearest centroids."""

    n_clusters: int
    cluster_centers_: Floats

    @property
    def labels_(self) -> Ints:
        """Cluster of each row that is left, in the order of `rows_`."""
        check_is_fitted(self)
        return nearest(self._points[self.kept_], self.cluster_centers_)

    def predict(self, X: ArrayLike) -> Ints:
        """Return the nearest centroid of each sample (samples)."""
        check_is_fitted(self)
        return nearest(self._rounded(validate_data(self, X, dtype=np.float64, reset=False)), self.cluster_centers_)

    def _rounded(self, points: Floats) -> Floats:
        return points

    def _hold(self, X: ArrayLike, random_state: object) -> np.random.Generator:
        check_whole("n_clusters", self.n_clusters, least=1)
        points = validate_data(self, X, dtype=np.float64, ensure_min_samples=self.n_clusters)
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31))
        self._points = self._rounded(points).copy()
        self._race = rng.standard_exponential((len(points), self.n_clusters))
        self._number(len(points))
        return rng

    def _least_rows(self) -> int:
        return self.n_clusters

    def _left(self, gone: Ints) -> Ints:
        """Numbers of the rows that are left after these, of which nothing is held any more."""
        self._points[gone] = self._race[gone] = 0.0
        left = self.kept_.copy()
        left[gone] = False
        return np.flatnonzero(left)


class QKMeans(_KMeans):
    """Quantised k-means: centroids lie on a lattice, so that most deletions move none of them.

    In iteration t, with the rows of cluster c summed up to S_c and counted n_c, of n rows in all,

        w_c = min(1, n_c k / (balance n)),   m_c = w_c S_c / n_c + (1 - w_c) c_prev,
        c = step (round(m_c / step + phase_t) - phase_t),   phase_t uniform in [-1/2, 1/2) for each attribute.

    Sums and counts of every iteration are held. `unlearn` takes rows out of them, and where every centroid is still the
    same point of the lattice, that is all; otherwise the iterations from there on are done again, and all of them where
    a row was a seed. The result is bit for bit that of all iterations on the rows that are left, with the random
    numbers of these rows and the same phases. Rows are rounded to a lattice finer by 2^-20, on which sums are exact.
    As in the paper's analysis the number of iterations is fixed: no early end that asks for the loss over all rows.

    Args:
        n_clusters: k.
        step: side of the lattice (epsilon in the paper), in units of the features: coarse steps forget faster and
            cluster less well.
        balance: clusters smaller than this part of n / k move less (gamma in the paper, 0.2), 0 to 1.
        iterations: of Lloyd, at least 1 (10 in the paper).
        random_state: a whole number repeats the clusters; None draws one.

    Attributes:
        cluster_centers_: (k, d).
        labels_: cluster of each row that is left.
        iterations_redone_: iterations that the last `unlearn` has done again.
        rows_: numbers of the rows that are left.

    Raises:
        ConfigError: a setting is out of its range.
        DataError: features are too large for exact sums.

    >>> points = np.concatenate([np.linspace(0, 1, 50), np.linspace(9, 10, 50)])[:, None]
    >>> model = QKMeans(2, step=0.5, random_state=0).fit(points)
    >>> model.unlearn([3, 60]).iterations_redone_, len(set(model.predict([[0.5], [9.5]])))
    (0, 2)
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        step: float = 0.1,
        balance: float = 0.2,
        iterations: int = 10,
        random_state: int | RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.step = step
        self.balance = balance
        self.iterations = iterations
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # noqa: ARG002
        """Cluster rows (n, d); y is ignored."""
        check_real("step", self.step, above=0)
        check_real("balance", self.balance, least=0)
        check_whole("iterations", self.iterations, least=1)
        rng = self._hold(X, self.random_state)
        self._phases = rng.random((self.iterations, self._points.shape[1])) - 0.5
        self._begin(np.arange(len(self._points)))
        return self

    def _rounded(self, points: Floats) -> Floats:
        unit = 2.0 ** math.floor(math.log2(self.step)) * FINER
        most = 2.0**53 * unit / max(len(points), 1)
        if np.abs(points).max(initial=0.0) >= most:
            raise DataError(
                f"Expected features between {-most:.3g} and {most:.3g} for a step of {self.step:g}, so that sums are "
                f"exact, but got {np.abs(points).max():.3g}; scale them, or raise step."
            )
        return np.rint(points / unit) * unit

    def _begin(self, rows: Ints) -> None:
        """Draw seeds among rows and do all iterations."""
        self._seeds = rows[seed_rows(self._points[rows], self._race[rows])]
        shape = (self.iterations, self.n_clusters)
        self._sums, self._sizes = np.zeros((*shape, self._points.shape[1])), np.zeros(shape)
        self._centroids = np.zeros((self.iterations + 1, *self._sums.shape[1:]))
        self._centroids[0] = self._points[self._seeds]
        self._iterate(rows, 0)

    def _iterate(self, rows: Ints, first: int) -> None:
        """Do the iterations from one on, on rows."""
        for t in range(first, self.iterations):
            labels = nearest(self._points[rows], self._centroids[t])
            self._sums[t], self._sizes[t] = sums(self._points[rows], labels, self.n_clusters)
            self._centroids[t + 1] = self._moved(t, len(rows))
        self.cluster_centers_ = self._centroids[-1]

    def _moved(self, t: int, count: int) -> Floats:
        """Return the centroids after iteration t, from its sums."""
        size, floor = self._sizes[t], self.balance * count / self.n_clusters
        share = np.where(size >= floor, size > 0, size / max(floor, 1e-300))[:, None]
        means = self._sums[t] / np.maximum(size, 1)[:, None]
        mixed = share * means + (1 - share) * self._centroids[t]
        return np.asarray(self.step * (np.rint(mixed / self.step + self._phases[t]) - self._phases[t]))

    def _forget(self, gone: Ints) -> None:
        points = self._points[gone]
        left = self._left(gone)
        self.iterations_redone_ = 0
        if np.isin(self._seeds, gone).any():
            self._begin(left)
            self.iterations_redone_ = self.iterations
            return
        for t in range(self.iterations):
            total, size = sums(points, nearest(points, self._centroids[t]), self.n_clusters)
            self._sums[t] -= total
            self._sizes[t] -= size
            moved = self._moved(t, len(left))
            if not np.array_equal(moved, self._centroids[t + 1]):
                self._centroids[t + 1] = moved
                self._iterate(left, t + 1)
                self.iterations_redone_ = self.iterations - t - 1
                return


class DCKMeans(_KMeans):
    """Divide-and-conquer k-means: rows are dealt to parts, and k-means of the parts' centroids gives the clusters.

    Each part has its own k-means, and a last one clusters their centroids, unweighted (the paper's tree of depth 1). A
    deletion redoes the parts that held the rows, and the last k-means. The result is bit for bit that of all of them on
    the rows that are left, with the parts and random numbers of these rows.

    Args:
        n_clusters: k.
        parts: into which rows are dealt (w in the paper), at least 1: with more of them, less is done again.
        iterations: of Lloyd, at least 1 (10 in the paper).
        random_state: a whole number repeats the clusters; None draws one.

    Attributes:
        cluster_centers_: (k, d).
        labels_: cluster of each row that is left.
        rows_: numbers of the rows that are left.

    Raises:
        ConfigError: a setting is out of its range.

    >>> points = np.concatenate([np.linspace(0, 1, 50), np.linspace(9, 10, 50)])[:, None]
    >>> model = DCKMeans(2, parts=4, random_state=0).fit(points).unlearn([3, 60])
    >>> len(set(model.predict([[0.5], [9.5]])))
    2
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        parts: int = 16,
        iterations: int = 10,
        random_state: int | RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.parts = parts
        self.iterations = iterations
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: Any = None) -> Self:  # noqa: ARG002
        """Cluster rows (n, d); y is ignored."""
        check_whole("parts", self.parts, least=1)
        check_whole("iterations", self.iterations, least=1)
        rng = self._hold(X, self.random_state)
        self._part = rng.integers(self.parts, size=len(self._points))
        self._last_race = rng.standard_exponential((self.parts, self.n_clusters, self.n_clusters))
        self._found: list[Floats] = [np.zeros((0, self._points.shape[1]))] * self.parts
        self._solve(np.arange(len(self._points)), np.arange(self.parts))
        return self

    def _solve(self, rows: Ints, parts: Ints) -> None:
        """Do the k-means of some parts, and the last one."""
        for part in parts:
            own = rows[self._part[rows] == part]
            points, race = self._points[own], self._race[own, : min(self.n_clusters, len(own))]
            self._found[part] = lloyd(points, race, self.iterations) if len(own) else points
        races = [race[: len(found)] for race, found in zip(self._last_race, self._found, strict=True)]
        self.cluster_centers_ = lloyd(np.concatenate(self._found), np.concatenate(races), self.iterations)

    def _forget(self, gone: Ints) -> None:
        parts = np.unique(self._part[gone])
        self._solve(self._left(gone), parts)
