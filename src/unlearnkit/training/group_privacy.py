"""Says what differential privacy for one sample means for a request of k samples, and when it means nothing."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

FALSE_ALARMS = 0.01  # rate at which the bound on an adversary's hits is stated
VACUOUS = 0.99  # bound on the hits from which on the statement says nothing


@dataclass(frozen=True, kw_only=True)
class RequestPrivacy:
    """The statement on all samples of a request together.

    Args:
        rows: number k of samples that were trained on.
        epsilon, delta: of the group; infinite ones are cut to the largest float and to 1.
        hits: bound on the share of true cases that any adversary tells, whose rate of false alarms is `FALSE_ALARMS`.
        vacuous: whether that bound says nothing.
    """

    rows: int
    epsilon: float
    delta: float
    hits: float
    vacuous: bool

    def as_record(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {**asdict(self), "false_alarms": FALSE_ALARMS}


def for_request(epsilon: float, delta: float, rows: int) -> RequestPrivacy:
    r"""Return what (epsilon, delta) for one sample gives for k samples.

    By group privacy \(\epsilon_k = k \epsilon\) and \(\delta_k = k e^{(k - 1) \epsilon} \delta\). What one sample is to
    the statement, k samples are to \((\epsilon_k, \delta_k)\): with and without them, models can be told apart no
    better than `hits_bound` says.

    Source: C. Dwork, A. Roth, "The Algorithmic Foundations of Differential Privacy", 2014, theorem 2.2, with delta:
    Vadhan, "The Complexity of Differential Privacy", 2017, lemma 2.2.

    Args:
        epsilon, delta: of one sample, where neighbours differ by the presence of one.
        rows: number k.

    >>> for_request(1.0, 1e-5, 2).epsilon, round(for_request(1.0, 1e-5, 2).hits, 4)
    (2.0, 0.0739)
    >>> for_request(8.0, 1e-5, 500).vacuous
    True
    """
    if rows == 0:
        return RequestPrivacy(rows=0, epsilon=0.0, delta=0.0, hits=FALSE_ALARMS, vacuous=False)
    exponent = math.log(rows) + (rows - 1) * epsilon + math.log(delta)
    group_delta = 1.0 if exponent >= 0 else math.exp(exponent)
    hits = hits_bound(rows * epsilon, group_delta, FALSE_ALARMS)
    return RequestPrivacy(rows=rows, epsilon=rows * epsilon, delta=group_delta, hits=hits, vacuous=hits >= VACUOUS)


def hits_bound(epsilon: float, delta: float, false_alarms: float) -> float:
    r"""Return the largest rate of hits of any test that tells two neighbouring models apart, at a rate of false alarms.

    min(1, \(e^\epsilon a + \delta\), \(1 - e^{-\epsilon} (1 - \delta - a)\)) for a rate a.

    Source: P. Kairouz, S. Oh, P. Viswanath, "The Composition Theorem for Differential Privacy", ICML 2015, theorem 2.1
    (after L. Wasserman, S. Zhou, 2010).
    """
    steep = math.exp(min(epsilon, 700.0)) * false_alarms + delta
    flat = 1 - math.exp(-epsilon) * max(0.0, 1 - delta - false_alarms)
    return min(1.0, steep, flat)
