"""Runs the steps of k-means so that each row brings its own randomness: k-means++ seeds, nearest centroids, sums.

Shapes: n rows, d attributes, k clusters.

Source: D. Arthur, S. Vassilvitskii, k-means++, SODA 2007; S. Lloyd, IEEE Transactions on Information Theory 28, 1982.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unlearnkit.classic.thresholds import Ints

Floats = NDArray[np.float64]


def distances(points: Floats, centroids: Floats) -> Floats:
    """Return squared distances (n, k), each summed by itself, so that no other row changes a bit of it."""
    return np.stack([np.square(points - centroid).sum(axis=1) for centroid in centroids], axis=1)


def nearest(points: Floats, centroids: Floats) -> Ints:
    """Return the nearest centroid of each row (n), the first of equally near ones.

    >>> nearest(np.array([[0.0], [9.0]]), np.array([[1.0], [8.0]])).tolist()
    [0, 1]
    """
    return np.asarray(distances(points, centroids).argmin(axis=1))


def seed_rows(points: Floats, race: Floats) -> Ints:
    """Draw k seeds as k-means++ does, each with a probability in proportion to its squared distance from those before.

    A draw is a race: row i arrives after race[i, j] / weight_i, and the first one wins, which row i does with
    probability weight_i / (sum of all weights). Whoever takes out a row that did not win leaves the winners as they
    are, and their distribution is the one of a draw without that row.

    Args:
        points: (n, d).
        race: numbers of the standard exponential distribution (n, k), each row's own.

    >>> seed_rows(np.array([[0.0], [0.0], [5.0]]), np.array([[1.0, 9.0], [2.0, 1.0], [3.0, 9.0]])).tolist()
    [0, 2]
    """
    chosen = [int(race[:, 0].argmin())]
    weights = np.full(len(points), np.inf)
    for step in range(1, race.shape[1]):
        weights = np.minimum(weights, distances(points, points[chosen[-1:]])[:, 0])
        if weights.any():
            with np.errstate(divide="ignore"):
                chosen.append(int((race[:, step] / weights).argmin()))
        else:  # every row is a seed's double
            chosen.append(int(race[:, step].argmin()))
    return np.array(chosen)


def sums(points: Floats, labels: Ints, clusters: int) -> tuple[Floats, Floats]:
    """Return the sum of each cluster's rows (k, d) and their number (k)."""
    member = (labels[:, None] == np.arange(clusters)).astype(np.float64)
    return member.T @ points, member.sum(axis=0)


def lloyd(points: Floats, race: Floats, iterations: int) -> Floats:
    """Return the centroids (k, d) after some iterations from k-means++ seeds; an empty cluster's stays where it was.

    >>> lloyd(np.array([[0.0], [2.0], [9.0]]), np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]), 3).tolist()
    [[1.0], [9.0]]
    """
    centroids = points[seed_rows(points, race)]
    for _ in range(iterations):
        total, size = sums(points, nearest(points, centroids), len(centroids))
        centroids = np.where(size[:, None] > 0, total / np.maximum(size, 1)[:, None], centroids)
    return centroids
