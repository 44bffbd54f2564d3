"""Grows one DaRE tree, and lets it forget rows by regrowing only the subtrees whose split changes.

The upper `random_layers` layers (d_rmax of the paper) split at random: an attribute that varies among the node's rows,
and a threshold uniform between its lowest and highest value there. Below, a node draws attributes, and thresholds of
each (`thresholds.py`), and takes the best by the criterion. A node is a leaf where its rows are of one class,
fewer than `min_samples_split`, `max_depth` deep, or equal in every attribute.

Source: J. Brophy, D. Lowd, Machine Unlearning for Random Forests, ICML 2021, arXiv 2009.05567.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearnkit.classic.keyed import Keys, mixed, uniform
from unlearnkit.classic.thresholds import Candidates, Ints, Table, draw, midpoint

_ATTRIBUTES, _DRAWS, _SIDES = 1, 2, 3  # what a number drawn at a node is for


@dataclass(frozen=True)
class Growth:
    """How trees grow."""

    criterion: str
    max_depth: int
    attributes: int  # drawn at each greedy node
    thresholds: int | None  # drawn of each attribute; None: all
    random_layers: int
    min_samples_split: int


@dataclass(slots=True)
class Node:
    """A node: the rows in its slice of the tree's order, their classes, and its split; a leaf has no children."""

    start: int
    stop: int
    counts: Ints
    attribute: int = 0
    threshold: float = 0.0
    code: int = 0  # the highest code that goes to the left
    draws: int = 0  # thresholds that a random node has drawn
    candidates: Candidates | None = None  # of a greedy node
    left: Node | None = None
    right: Node | None = None

    def become_leaf(self) -> None:
        """Hold nothing of a split any more: it may tell of forgotten rows."""
        self.attribute = self.code = self.draws = 0
        self.threshold, self.candidates, self.left, self.right = 0.0, None, None, None


class DareTree:
    """A tree over rows of a table.

    >>> table = Table.of(np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([0, 0, 1, 1]), 2)
    >>> tree = DareTree(table, Growth("gini", 3, 1, None, 0, 2), mixed(0))
    >>> tree.root.threshold, tree.probabilities(np.array([[1.2], [3.9]])).tolist()
    (2.5, [[1.0, 0.0], [0.0, 1.0]])
    >>> table.forget(np.array([1]))
    >>> tree.forget(np.array([1]))
    >>> tree.root.threshold
    2.0
    """

    def __init__(self, table: Table, growth: Growth, key: Keys) -> None:
        self.table, self.growth, self.key = table, growth, key
        rows = np.flatnonzero(table.alive)
        self.order = rows.copy()  # a node's rows are a slice of it
        self.root = self._grow(0, rows, 0, key)

    def forget(self, gone: Ints) -> None:
        """Forget rows, which the table has forgotten already."""
        self._forget(self.root, gone, 0, self.key)
        self.order[~self.table.alive[self.order]] = len(self.table.alive) - 1

    def probabilities(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the share of each class (samples, K) in the leaves that samples (samples, attributes) fall into."""
        found = np.empty((len(features), self.table.classes))
        waiting = [(self.root, np.arange(len(features)))]
        while waiting:
            node, samples = waiting.pop()
            if node.left is None or node.right is None:
                found[samples] = node.counts / node.counts.sum()
            else:
                left = features[samples, node.attribute] <= node.threshold
                waiting += [(node.left, samples[left]), (node.right, samples[~left])]
        return found

    def _grow(self, start: int, rows: Ints, depth: int, key: Keys) -> Node:
        """Grow a node and all below it."""
        node = Node(start, start + len(rows), self.table.counts(rows))
        if not self._must_be_leaf(node, depth) and self._split(node, rows, depth, key):
            self._grow_children(node, rows, depth, key)
        return node

    def _must_be_leaf(self, node: Node, depth: int) -> bool:
        return (
            depth >= self.growth.max_depth
            or int(node.counts.sum()) < self.growth.min_samples_split
            or int(np.count_nonzero(node.counts)) < 2
        )

    def _split(self, node: Node, rows: Ints, depth: int, key: Keys) -> bool:
        """Choose a node's split; False where the rows are equal in every attribute."""
        random = depth < self.growth.random_layers
        attributes = self._draw_attributes(rows, 1 if random else self.growth.attributes, key)
        if not attributes.size:
            return False
        if random:
            node.attribute, node.draws = int(attributes[0]), 0
            self._draw_threshold(node, rows, key)
        else:
            keys = self.table.sorted_keys(attributes, rows)
            self._choose(node, draw(self.table, attributes, keys, node.counts, key, self.growth.thresholds))
        return True

    def _draw_attributes(self, rows: Ints, count: int, key: Keys) -> Ints:
        """Draw attributes from those that vary among the rows, ascending: the first in a random order of all."""
        order = np.argsort(mixed(key, _ATTRIBUTES, np.arange(len(self.table.codes))))
        found = order[:0]
        while len(found) < count and order.size:
            some, order = np.split(order, [count - len(found)])
            found = np.concatenate([found, some[self.table.varies(some, rows)]])
        return np.sort(found)

    def _draw_threshold(self, node: Node, rows: Ints, key: Keys) -> None:
        """Draw the threshold of a random node, uniform in [lowest, highest)."""
        lowest, highest = self._range(node, rows)
        share = float(uniform(mixed(key, _DRAWS, node.attribute, node.draws)))
        drawn = lowest * (1 - share) + highest * share
        node.threshold = float(min(max(drawn, lowest), np.nextafter(highest, lowest)))
        node.draws += 1
        begin, end = np.searchsorted(self.table.attribute, [node.attribute, node.attribute + 1])
        levels = self.table.levels[begin:end]
        node.code = int(begin + np.searchsorted(levels, node.threshold, side="right") - 1)

    def _range(self, node: Node, rows: Ints) -> tuple[float, float]:
        codes = self.table.codes[node.attribute, rows]
        return float(self.table.levels[codes.min()]), float(self.table.levels[codes.max()])

    def _choose(self, node: Node, candidates: Candidates) -> None:
        """Take the best of the candidates."""
        best = candidates.best(node.counts, self.growth.criterion)
        node.candidates = candidates
        node.code = int(candidates.low[best])
        node.attribute = int(self.table.attribute[node.code])
        levels = self.table.levels
        node.threshold = midpoint(float(levels[node.code]), float(levels[candidates.high[best]]))

    def _grow_children(self, node: Node, rows: Ints, depth: int, key: Keys) -> None:
        """Divide the rows of a node, and grow both of its children."""
        below = self.table.codes[node.attribute, rows] <= node.code
        left, right = rows[below], rows[~below]
        slots = self.order[node.start : node.stop]
        # forgotten rows go to the end, where the slices of the children leave them out
        slots[:] = np.concatenate([left, right, slots[~self.table.alive[slots]]])
        node.left = self._grow(node.start, left, depth + 1, mixed(key, _SIDES, 0))
        node.right = self._grow(node.start + len(left), right, depth + 1, mixed(key, _SIDES, 1))

    def _forget(self, node: Node, gone: Ints, depth: int, key: Keys) -> None:
        """Forget rows of a node, in it and below it."""
        node.counts = node.counts - self.table.counts(gone)
        if node.left is None or node.right is None:
            return
        rows = self.order[node.start : node.stop]
        rows = rows[self.table.alive[rows]]
        attribute, code = node.attribute, node.code
        if self._must_be_leaf(node, depth) or not self._split_again(node, rows, gone, depth, key):
            node.become_leaf()
        elif node.attribute == attribute and self._divide_alike(attribute, rows, code, node.code):
            below = self.table.codes[attribute, gone] <= code
            for child, part, side in ((node.left, gone[below], 0), (node.right, gone[~below], 1)):
                if part.size:
                    self._forget(child, part, depth + 1, mixed(key, _SIDES, side))
        else:
            self._grow_children(node, rows, depth, key)

    def _split_again(self, node: Node, rows: Ints, gone: Ints, depth: int, key: Keys) -> bool:
        """Bring a node's split to what it is on the rows that are left; False where they are equal throughout."""
        if node.candidates is None:
            lowest, highest = self._range(node, rows)
            if lowest == highest:
                return self._split(node, rows, depth, key)
            if not lowest <= node.threshold < highest:
                self._draw_threshold(node, rows, key)
            return True
        keys = self.table.sorted_keys(node.candidates.attributes, rows)
        if not node.candidates.follow(self.table, gone, keys, key):
            return self._split(node, rows, depth, key)
        self._choose(node, node.candidates)
        return True

    def _divide_alike(self, attribute: int, rows: Ints, code: int, other: int) -> bool:
        """Whether two thresholds of an attribute send the same rows to the left."""
        codes = self.table.codes[attribute, rows]
        return code == other or bool(((codes <= code) == (codes <= other)).all())
