"""Finds the thresholds that a node of a DaRE tree chooses among, and keeps their counts while rows are forgotten.

A threshold of an attribute lies between two neighbouring values v1 < v2 of a node's rows. It is valid where two rows
with these values differ in class. Of the valid ones of an attribute k are drawn without replacement: here those with
the lowest priorities, where a priority is a random number that belongs to (node, attribute, v1, v2) alone. That draw
is uniform, and its outcome on the rows that are left is known without drawing again: a threshold leaves it when it is
no longer valid, and one enters it that has the next lowest priority, or that has become one by the loss of a value
between v1 and v2.

Values are held as codes: ranks of the different values of an attribute, shifted so that no two attributes share one.

Source: J. Brophy, D. Lowd, Machine Unlearning for Random Forests, ICML 2021, arXiv 2009.05567. The priorities are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from unlearnkit.classic.keyed import Keys, bits_of, mixed

Ints = NDArray[np.int64]
_ALL = np.uint64(2**64 - 1)


@dataclass
class Table:
    """The fitted rows: codes of their values (attributes, rows), their classes, and what the codes stand for."""

    codes: Ints
    labels: Ints
    classes: int
    levels: NDArray[np.float64]  # value of each code
    attribute: Ints  # attribute of each code
    alive: NDArray[np.bool_]  # rows that are not forgotten, and False for the number after the last

    @classmethod
    def of(cls, features: NDArray[np.float64], labels: Ints, classes: int) -> Table:
        """Hold features (rows, attributes) and classes 0 to K-1 (rows).

        >>> table = Table.of(np.array([[5.0, 1.0], [3.0, 1.0]]), np.array([0, 1]), 2)
        >>> table.codes.tolist(), table.levels.tolist(), table.attribute.tolist()
        ([[1, 0], [2, 2]], [3.0, 5.0, 1.0], [0, 0, 1])
        """
        found = [np.unique(column, return_inverse=True) for column in (features + 0.0).T]
        sizes = [len(values) for values, _ in found]
        shifts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        codes = np.stack([ranks + shift for (_, ranks), shift in zip(found, shifts, strict=True)])
        levels = np.concatenate([values for values, _ in found])
        alive = np.append(np.ones(len(labels), dtype=bool), False)
        return cls(codes, labels, classes, levels, np.repeat(np.arange(len(sizes)), sizes), alive)

    def sorted_keys(self, attributes: Ints, rows: Ints) -> Ints:
        """Sort values with their classes: by attribute (given in ascending order), value, class."""
        return np.sort((self.codes[attributes[:, None], rows] * self.classes + self.labels[rows]).ravel())

    def varies(self, attributes: Ints, rows: Ints) -> NDArray[np.bool_]:
        """Which attributes have more than one value among the rows."""
        codes = self.codes[attributes[:, None], rows]
        return np.asarray((codes != codes[:, :1]).any(axis=1))

    def counts(self, rows: Ints) -> Ints:
        """How many of the rows each class has."""
        return np.bincount(self.labels[rows], minlength=self.classes)

    def forget(self, gone: Ints) -> None:
        """Mark rows as forgotten. A value that no row has any more is replaced by a neighbour that some row has."""
        self.alive[gone] = False
        there = np.zeros(len(self.levels), dtype=bool)
        there[self.codes[:, self.alive[:-1]]] = True
        # the last value at or below that is there; below the first of an attribute, the first that is there
        index = np.maximum.accumulate(np.where(there, np.arange(len(there)), -1))
        lost = (index < 0) | (self.attribute[index] != self.attribute)
        index[lost] = np.flatnonzero(there)[np.searchsorted(np.flatnonzero(there), np.flatnonzero(lost))]
        self.levels = self.levels[index]

    def erase(self, gone: Ints) -> None:
        """Hold nothing of forgotten rows any more, once no tree asks for them."""
        self.codes[:, gone] = 0
        self.labels[gone] = 0


def midpoint(low: float, high: float) -> float:
    """Return a threshold between two numbers: `low <= threshold < high`, also where no number lies between them.

    >>> midpoint(1.0, 2.0), midpoint(1.0, np.nextafter(1.0, 2.0))
    (1.5, 1.0)
    """
    middle = low / 2 + high / 2
    return float(middle) if low <= middle < high else float(low)


@dataclass(slots=True)
class Candidates:
    """The thresholds that a node chooses among, and how many rows of each class lie below each of them."""

    attributes: Ints  # that were drawn, ascending (A)
    low: Ints  # code of the value below each threshold, ascending (C)
    high: Ints  # and of the value above (C)
    left: Ints  # rows of each class at or below (C, K)
    cut: Keys  # a new threshold of an attribute enters the draw with a priority below this (A)

    def best(self, counts: Ints, criterion: str) -> int:
        """Return the position of the best threshold; of equal ones the first attribute's lowest."""
        return int(np.argmax(SCORES[criterion](self.left, counts - self.left)))

    def follow(self, table: Table, gone: Ints, keys: Ints, node: Keys) -> bool:
        """Take forgotten rows out of the counts; return whether the draw on the rows left is still this one.

        Args:
            table: all rows.
            gone: rows of this node that are forgotten.
            keys: what `sorted_keys` gives for the attributes and the rows of this node that are left.
            node: the key of the node.
        """
        lost = table.codes[self.attributes[:, None], gone]
        block = np.searchsorted(self.attributes, table.attribute[self.low])
        below = lost[block] <= self.low[:, None]
        self.left -= below.astype(np.int64) @ np.eye(table.classes, dtype=np.int64)[table.labels[gone]]
        return self._valid(table.classes, keys) and not self._entered(table, np.unique(lost), keys, node)

    def _valid(self, classes: int, keys: Ints) -> bool:
        """Whether every threshold still has rows of two classes at its two values."""
        edges = [np.searchsorted(keys, code * classes) for code in (self.low, self.low + 1, self.high, self.high + 1)]
        if (edges[0] == edges[1]).any() or (edges[2] == edges[3]).any():
            return False
        first, last, other_first, other_last = (keys[e - i] % classes for e, i in zip(edges, (0, 1, 0, 1), strict=True))
        return bool(_differ(first, last, other_first, other_last).all())

    def _entered(self, table: Table, lost: Ints, keys: Ints, node: Keys) -> bool:
        """Whether the loss of values has made a threshold whose priority is low enough, or an attribute constant."""
        at = np.searchsorted(keys, lost * table.classes)
        held = np.minimum(at, len(keys) - 1)
        vanished = lost[keys[held] // table.classes != lost]
        if not vanished.size:
            return False
        codes = keys.reshape(len(self.attributes), -1)[:, [0, -1]] // table.classes
        if (codes[:, 0] == codes[:, 1]).any():
            return True
        at = np.searchsorted(keys, vanished * table.classes)
        inside = (at > 0) & (at < len(keys))
        low, high = keys[at[inside] - 1] // table.classes, keys[at[inside]] // table.classes
        same = table.attribute[low] == table.attribute[high]
        cut = self.cut[np.searchsorted(self.attributes, table.attribute[low[same]])]
        return bool((priorities(table, low[same], high[same], node) <= cut).any())


def draw(table: Table, attributes: Ints, keys: Ints, counts: Ints, node: Keys, thresholds: int | None) -> Candidates:
    """Draw up to `thresholds` valid thresholds of each attribute (None: all of them).

    >>> table = Table.of(np.array([[1.0], [2.0], [2.0], [3.0]]), np.array([0, 0, 1, 1]), 2)
    >>> keys = table.sorted_keys(np.array([0]), np.arange(4))
    >>> found = draw(table, np.array([0]), keys, np.array([2, 2]), mixed(0), None)
    >>> found.low.tolist(), found.high.tolist(), found.left.tolist()
    ([0, 1], [1, 2], [[1, 0], [2, 1]])
    """
    code, label = np.divmod(keys, table.classes)
    ends = np.flatnonzero(np.diff(code, append=-1))
    starts = np.concatenate([[0], ends[:-1] + 1])
    values, first, last = code[ends], label[starts], label[ends]
    group = np.repeat(np.arange(len(ends)), ends - starts + 1)
    below = np.bincount(group * table.classes + label, minlength=len(ends) * table.classes)
    below = below.reshape(len(ends), table.classes).cumsum(axis=0)
    valid = _differ(first[:-1], last[:-1], first[1:], last[1:])
    at = np.flatnonzero(valid & (table.attribute[values[:-1]] == table.attribute[values[1:]]))
    # thresholds of one attribute are neighbours, since attributes and codes ascend together
    bounds = np.searchsorted(table.attribute[values[at]], attributes, side="left")
    bounds = np.append(bounds, len(at))
    cut = np.full(len(attributes), _ALL)
    chosen = [at]
    if thresholds is not None and (np.diff(bounds) >= thresholds).any():
        order = priorities(table, values[at], values[at + 1], node)
        chosen = []
        for which, (begin, end) in enumerate(pairwise(bounds)):
            lowest = np.arange(begin, end)
            if end - begin >= thresholds:
                lowest = begin + np.sort(np.argpartition(order[begin:end], thresholds - 1)[:thresholds])
                cut[which] = order[lowest].max()
            chosen.append(at[lowest])
    at = np.concatenate(chosen)
    block = np.searchsorted(attributes, table.attribute[values[at]])
    left = below[at] - block[:, None] * counts  # the attributes before were counted too
    return Candidates(attributes, values[at], values[at + 1], left, cut)


def priorities(table: Table, low: Ints, high: Ints, node: Keys) -> Keys:
    """Return the priorities of thresholds at a node: numbers of its key, the attribute and the two values alone."""
    return mixed(node, table.attribute[low], bits_of(table.levels[low]), bits_of(table.levels[high]))


def _differ(first: Ints, last: Ints, other_first: Ints, other_last: Ints) -> NDArray[np.bool_]:
    """Whether two values have rows of different classes, from the lowest and highest class at each."""
    return np.asarray((first != last) | (other_first != other_last) | (first != other_first))


def gini(left: Ints, right: Ints) -> NDArray[np.float64]:
    """Return (sum l_c^2 / n_l + sum r_c^2 / n_r) of each split (C): the higher, the lower the weighted Gini index.

    Numerator and denominator are whole numbers, so that equal splits are equal to the last bit (up to 200,000 rows).

    >>> gini(np.array([[3, 0], [2, 1]]), np.array([[0, 1], [1, 0]])).tolist()
    [4.0, 2.6666666666666665]
    """
    n_left, n_right = left.sum(axis=1), right.sum(axis=1)
    squares = (left * left).sum(axis=1) * n_right + (right * right).sum(axis=1) * n_left
    return np.asarray(squares / (n_left * n_right))


def entropy(left: Ints, right: Ints) -> NDArray[np.float64]:
    """Return -(n_l H_l + n_r H_r) of each split (C), H being the entropy in nats.

    >>> entropy(np.array([[3, 0], [1, 1]]), np.array([[0, 2], [0, 0]])).round(3).tolist()
    [0.0, -1.386]
    """

    def information(counts: Ints) -> NDArray[np.float64]:
        total = counts.sum(axis=1)
        # summed one after another, so that a class without rows changes no bit of it
        return np.asarray(xlogy(counts, counts).cumsum(axis=1)[:, -1] - xlogy(total, total))

    return information(left) + information(right)


SCORES = {"gini": gini, "entropy": entropy}
