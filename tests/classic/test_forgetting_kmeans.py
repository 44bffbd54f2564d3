"""Q-k-means and DC-k-means: what `unlearn` gives is, bit for bit, k-means on the rows left with their randomness."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from unlearnkit.classic import DCKMeans, QKMeans
from unlearnkit.classic.lloyd import seed_rows

Floats = NDArray[np.float64]
POINTS, BLOBS = make_blobs(300, 3, centers=4, cluster_std=1.5, random_state=0)


def distance(point: Floats, centroid: Floats) -> float:
    return float(((point - centroid) ** 2).sum())


def seeds_by_hand(points: Floats, race: Floats) -> Floats:
    """Seeds, row by row."""
    found = [points[race[:, 0].argmin()]]
    for step in range(1, race.shape[1]):
        weights = [min(distance(point, seed) for seed in found) for point in points]
        times = [own / weight if weight else math.inf for own, weight in zip(race[:, step], weights, strict=True)]
        found.append(points[int(np.argmin(times))])
    return np.array(found)


def quantised_by_hand(points: Floats, race: Floats, phases: Floats, step: float, balance: float) -> Floats:
    """Q-k-means on these rows alone, with sums in fractions."""
    centroids = seeds_by_hand(points, race)
    for phase in phases:
        labels = [int(np.argmin([distance(point, centroid) for centroid in centroids])) for point in points]
        moved = []
        for cluster, previous in enumerate(centroids):
            own = [point for point, label in zip(points, labels, strict=True) if label == cluster]
            share = min(1.0, len(own) / (balance * len(points) / len(centroids)))
            total = [float(sum(map(Fraction, column))) for column in zip(*own, strict=True)] if own else previous
            mean = np.array(total) / max(len(own), 1)
            mixed = share * mean + (1 - share) * previous
            moved.append(step * (np.rint(mixed / step + phase) - phase))
        centroids = np.array(moved)
    return centroids


@pytest.mark.slow
def test_quantised_unlearning_is_bit_equal_to_all_iterations_on_the_rows_left() -> None:
    model = QKMeans(6, step=0.4, balance=0.5, iterations=5, random_state=2).fit(POINTS)
    points, race, phases = model._points.copy(), model._race.copy(), model._phases.copy()
    rng = np.random.default_rng(0)
    redone = []
    for size in (40, *[1] * 12, 0):  # at last a seed
        rows = rng.choice(model.rows_, size, replace=False) if size else model._seeds[:1]
        redone.append(model.unlearn(rows).iterations_redone_)
        left = model.rows_
        assert np.array_equal(
            model.cluster_centers_, quantised_by_hand(points[left], race[left], phases, step=0.4, balance=0.5)
        )
        assert (model.labels_ == model.predict(POINTS[left])).all()
    assert redone.count(0) >= 3, "no request left every centroid in place"
    assert any(0 < count < 5 for count in redone), "no request went on from the middle"
    assert redone[-1] == 5, "a seed asks for all iterations"


def test_taking_rows_out_of_the_last_centroids_alone_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual mistake, which the oracle above finds: the iterations before are not checked."""
    right, wrong = (QKMeans(6, step=0.05, random_state=2).fit(POINTS) for _ in range(2))
    rows = np.setdiff1d(np.arange(60), right._seeds)
    right.unlearn(rows)
    monkeypatch.setattr(QKMeans, "_iterate", lambda *_: None)
    assert not np.array_equal(wrong.unlearn(rows)._centroids[-1], right.cluster_centers_)


def test_divided_unlearning_redoes_only_the_parts_of_the_rows_and_is_bit_equal() -> None:
    model = DCKMeans(4, parts=5, random_state=3).fit(POINTS)
    points, race, parts = model._points.copy(), model._race.copy(), model._part.copy()
    before = list(model._found)
    gone = np.flatnonzero(parts == 2)[:7]
    model.unlearn(gone)
    assert [new is old for new, old in zip(model._found, before, strict=True)] == [True, True, False, True, True]
    again = DCKMeans(4, parts=5, random_state=3).fit(POINTS)
    left = np.setdiff1d(np.arange(300), gone)
    again._points, again._race, again._part = points[left], race[left], parts[left]
    again._solve(np.arange(len(left)), np.arange(5))
    assert np.array_equal(model.cluster_centers_, again.cluster_centers_)


def test_a_whole_part_can_be_forgotten() -> None:
    model = DCKMeans(3, parts=4, random_state=0).fit(POINTS)
    model.unlearn(np.flatnonzero(model._part == 1))
    assert model.cluster_centers_.shape == (3, 3)
    assert len(model.labels_) == len(model.rows_)


def test_seeds_are_those_by_hand_and_drawn_as_k_means_plus_plus_draws() -> None:
    rng = np.random.default_rng(1)
    race = rng.standard_exponential((300, 5))
    assert np.array_equal(POINTS[seed_rows(POINTS, race)], seeds_by_hand(POINTS, race))
    line = np.array([[0.0], [1.0], [3.0]])
    drawn = np.zeros((3, 3))
    for race in rng.standard_exponential((3000, 3, 2)):
        first, second = seed_rows(line, race)
        drawn[first, second] += 1
    expected = 1000 * np.array([[0, 1 / 10, 9 / 10], [1 / 5, 0, 4 / 5], [9 / 13, 4 / 13, 0]])
    assert chisquare(drawn[expected > 0], expected[expected > 0]).pvalue > 1e-3


@pytest.mark.parametrize("model", [QKMeans(4, step=0.05, random_state=0), DCKMeans(4, parts=5, random_state=0)])
def test_clusters_are_those_of_scikit_learn(model: Any) -> None:
    points, blobs = make_blobs(300, 3, centers=4, cluster_std=0.5, random_state=2)
    other = KMeans(4, n_init=3, random_state=0).fit_predict(points)
    assert adjusted_rand_score(other, blobs) == 1.0
    assert adjusted_rand_score(model.fit(points).unlearn(range(50)).labels_, blobs[50:]) == 1.0


def test_doubles_can_be_fewer_than_clusters() -> None:
    points = np.repeat([[0.0], [4.0]], 5, axis=0)
    assert QKMeans(3, random_state=0).fit(points).unlearn([0, 1]).cluster_centers_.shape == (3, 1)
