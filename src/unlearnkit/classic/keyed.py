"""Computes random numbers that depend on what they are for, and on nothing that was drawn before.

A model that is trained without some rows asks for other numbers in another order. With a stream of random numbers
everything after the first difference would differ; here the number for one purpose (a threshold of an attribute at a
node, say) is the same whether or not others were asked for. The numbers are those of SplitMix64 (G. Steele, D. Lea,
C. Flood, OOPSLA 2014), its output function applied once for each part of the key.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mixed(*parts: NDArray[np.integer] | np.integer | int) -> Keys:
    """Return 64 random bits for each key; the parts of keys are broadcast, and their order counts.

    >>> int(mixed(0, 1)) == int(mixed(0, 1)), int(mixed(0, 1)) == int(mixed(1, 0))
    (True, False)
    >>> mixed(7, np.arange(3)).shape
    (3,)
    """
    state = np.zeros(1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            bits = np.asarray(part).astype(np.uint64) ^ state
            bits = bits + _GOLDEN
            bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
            bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
            state = bits ^ (bits >> np.uint64(31))
    return state if any(np.ndim(part) for part in parts) else state[0]


def bits_of(values: NDArray[np.float64]) -> Keys:
    """Return the bits of numbers, as a part of keys: equal numbers have equal bits.

    >>> bool(bits_of(np.array([0.0])) == bits_of(np.array([-0.0])))
    True
    """
    return (values + 0.0).view(np.uint64)


def uniform(keys: Keys) -> NDArray[np.float64]:
    """Return numbers in [0, 1) from 64 random bits each.

    >>> numbers = uniform(mixed(1, np.arange(10_000)))
    >>> bool(abs(numbers.mean() - 0.5) < 0.01), bool(numbers.max() < 1)
    (True, True)
    """
    return np.asarray((keys >> np.uint64(11)) * 2.0**-53, dtype=np.float64)
