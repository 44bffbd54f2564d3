"""DaRE forests: what `unlearn` gives is what `fit` grows without the rows, bit for bit or in distribution."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest, chi2_contingency, kstest, uniform
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import RandomForestClassifier

from unlearnkit.classic import DareForestClassifier
from unlearnkit.classic.thresholds import Candidates
from unlearnkit.classic.tree import DareTree, Node

EXHAUSTIVE: dict[str, Any] = {"thresholds": None, "max_features": None, "max_depth": 30}


def shown(node: Node) -> Any:
    """A tree as nested tuples: class counts, then attribute, threshold and children."""
    counts = tuple(node.counts.tolist())
    if node.left is None or node.right is None:
        assert (node.attribute, node.threshold, node.candidates) == (0, 0.0, None), "a leaf holds an old split"
        return counts
    return counts, node.attribute, node.threshold, shown(node.left), shown(node.right)


def trees(forest: DareForestClassifier) -> list[Any]:
    return [shown(tree.root) for tree in forest.trees_]


def by_hand(rows: list[tuple[tuple[float, ...], int]], classes: int) -> Any:
    """The tree by all thresholds of all attributes, in exact fractions and without a line of the package."""
    counts = tuple(sum(label == c for _, label in rows) for c in range(classes))
    best: tuple[Fraction, int, float] | None = None
    for attribute in range(len(rows[0][0])):
        for low, high in pairwise(sorted({features[attribute] for features, _ in rows})):
            beside = [{label for features, label in rows if features[attribute] == value} for value in (low, high)]
            if len(beside[0] | beside[1]) < 2:
                continue
            sides: list[list[int]] = [[], []]
            for features, label in rows:
                sides[features[attribute] > low].append(label)
            score = sum(Fraction(sum(n * n for n in Counter(side).values()), len(side)) for side in sides)
            if best is None or score > best[0]:
                best = (Fraction(score), attribute, (low + high) / 2)
    if best is None:
        return counts
    _, attribute, threshold = best
    below = [row for row in rows if row[0][attribute] <= threshold]
    above = [row for row in rows if row[0][attribute] > threshold]
    return counts, attribute, threshold, by_hand(below, classes), by_hand(above, classes)


def small(seed: int, rows: int = 70) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rows with doubles, ties between attributes, a constant attribute, and three classes."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([rng.integers(-3, 5, (rows, 2)), rng.normal(size=(rows, 2)).round(1), np.ones(rows)])
    labels = (features[:, 0] + features[:, 2] + rng.normal(size=rows) > 1).astype(np.int64)
    return features, labels + (rng.random(rows) < 0.3)


def test_the_exhaustive_forest_is_the_tree_by_hand_after_every_request() -> None:
    features, labels = small(0)
    forest = DareForestClassifier(1, random_state=5, **EXHAUSTIVE).fit(features, labels)
    rng = np.random.default_rng(1)
    while len(forest.rows_) > 6:
        forest.unlearn(rng.choice(forest.rows_, min(len(forest.rows_) // 3, rng.integers(1, 9)), replace=False))
        left = [(tuple(features[row].tolist()), int(labels[row])) for row in forest.rows_]
        assert trees(forest) == [by_hand(left, 3)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        EXHAUSTIVE,
        {},
        {"thresholds": 2, "max_features": 1},
        {"thresholds": 3, "max_features": 2, "criterion": "entropy", "max_depth": 4, "min_samples_split": 5},
    ],
    ids=["exhaustive", "default", "few", "entropy"],
)
def test_without_random_layers_unlearning_is_bit_equal_to_a_fit_with_the_same_seed(settings: dict[str, Any]) -> None:
    several = [small(3), make_classification(150, 6, n_informative=4, random_state=2)]
    rng = np.random.default_rng(7)
    kept_whole = regrown = 0
    for features, labels in several:
        forest = DareForestClassifier(3, random_state=11, **settings).fit(features, labels)
        for size in (1, 1, 1, 2, 5, 30):
            nodes = [id(tree.root.left) for tree in forest.trees_]
            forest.unlearn(rng.choice(forest.rows_, size, replace=False))
            same = [id(tree.root.left) == before for tree, before in zip(forest.trees_, nodes, strict=True)]
            kept_whole, regrown = kept_whole + sum(same), regrown + len(same) - sum(same)
            again = DareForestClassifier(3, random_state=11, **settings).fit(
                features[forest.rows_], labels[forest.rows_]
            )
            assert trees(forest) == trees(again)
            assert (forest.predict_proba(features) == again.predict_proba(features)).all()
    assert kept_whole, "no subtree was kept"
    assert regrown, "no subtree was grown again"


def signatures(forest: DareForestClassifier) -> Counter[Any]:
    """How many trees have each upper split, with the attributes of those below."""
    return Counter(
        (tree.root.attribute, round(tree.root.threshold), *(child.attribute for child in children(tree.root)))
        for tree in forest.trees_
    )


def children(node: Node) -> list[Node]:
    return [child for child in (node.left, node.right) if child is not None]


def different(one: Counter[Any], other: Counter[Any]) -> float:
    """The p-value of a chi-square test that two samples of trees have one distribution; rare kinds are one kind."""
    often = [kind for kind in one.keys() | other.keys() if one[kind] + other[kind] >= 10]
    table = np.array([[each[kind] for kind in often] for each in (one, other)])
    rest = np.array([[each.total()] for each in (one, other)]) - table.sum(axis=1, keepdims=True)
    table = np.hstack([table, rest]) if rest.any() else table
    assert table.shape[1] > 5, "the trees are too much alike to tell anything"
    return float(chi2_contingency(table).pvalue)


SIGNIFICANCE = 1e-3


@pytest.mark.slow
def test_unlearning_is_equal_in_distribution_to_a_fit_with_other_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = small(4, rows=30)
    settings: dict[str, Any] = {"thresholds": 2, "max_features": 2, "max_depth": 2, "random_layers": 1}
    gone, left = np.arange(0, 30, 3), np.setdiff1d(np.arange(30), np.arange(0, 30, 3))
    again = DareForestClassifier(300, random_state=1, **settings).fit(features[left], labels[left])

    def unlearned(*requests: Any) -> Counter[Any]:
        forest = DareForestClassifier(300, random_state=2, **settings).fit(features, labels)
        for request in requests:
            forest.unlearn(request)
        return signatures(forest)

    assert different(signatures(again), unlearned(gone[:2], gone[2:7], gone[7:])) > SIGNIFICANCE
    with monkeypatch.context() as patch:  # a forest that only takes rows out of its counts
        patch.setattr(DareTree, "_split_again", lambda *_: True)
        assert different(signatures(again), unlearned(gone)) < SIGNIFICANCE


@pytest.mark.slow
def test_random_thresholds_are_uniform_between_the_values_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = np.arange(11.0)[:, None], np.arange(11) % 2

    def p_value() -> float:
        forest = DareForestClassifier(400, random_layers=1, max_depth=1, random_state=4).fit(features, labels)
        forest.unlearn([0, 10]).unlearn([1, 5, 7, 8, 9])
        return float(kstest([tree.root.threshold for tree in forest.trees_], uniform(2, 4).cdf).pvalue)

    assert p_value() > SIGNIFICANCE
    monkeypatch.setattr(DareTree, "_split_again", lambda *_: True)
    assert p_value() < SIGNIFICANCE


@pytest.mark.slow
def test_a_threshold_that_a_lost_value_makes_takes_part_in_the_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without 2 the valid thresholds of 1, 3, 4 are 2 and 3.5, each drawn by half of the trees."""
    features, labels = np.array([[1.0], [2.0], [3.0], [4.0]]), [0, 1, 2, 0]

    def p_value() -> float:
        forest = DareForestClassifier(600, thresholds=1, max_depth=1, random_state=3).fit(features, labels).unlearn([1])
        found = Counter(tree.root.threshold for tree in forest.trees_)
        assert found.keys() == {2.0, 3.5}
        return float(binomtest(found[2.0], found.total()).pvalue)

    assert p_value() > SIGNIFICANCE
    # the usual mistake: only what became invalid is drawn again
    monkeypatch.setattr(Candidates, "_entered", lambda *_: False)
    assert p_value() < SIGNIFICANCE


def test_a_forgotten_class_has_probability_0_and_one_class_alone_has_1() -> None:
    features, labels = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[labels]
    forest = DareForestClassifier(5, random_state=0, random_layers=1).fit(features, names).unlearn(range(50))
    assert (forest.predict_proba(features)[:, 0] == 0).all()
    forest.unlearn(range(50, 100))
    assert (forest.predict(features) == "virginica").all()


def test_it_classifies_as_well_as_a_forest_of_scikit_learn() -> None:
    features, labels = make_classification(400, 10, n_informative=6, n_classes=3, random_state=1)
    ours = (
        DareForestClassifier(10, random_state=0).fit(features[:250], labels[:250]).score(features[250:], labels[250:])
    )
    other = RandomForestClassifier(10, max_depth=10, random_state=0).fit(features[:250], labels[:250])
    assert ours > other.score(features[250:], labels[250:]) - 0.05
