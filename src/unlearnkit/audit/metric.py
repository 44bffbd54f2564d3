"""Defines Metric: a pure function of the evidence, the evidence it needs, and which of its readings have a vote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from unlearnkit.audit.evidence import Evidence, Want
from unlearnkit.audit.reading import Reading
from unlearnkit.request import CLASSES, EVERY_KIND, Kind
from unlearnkit.split import Part

Family = Literal["accuracy", "outputs", "membership", "representation", "relearn"]
ScaleKind = Literal["proportion", "distance", "time", "excess"]

__all__ = [
    "CLASSES",
    "EVERY_KIND",
    "FEATURES",
    "OUTPUTS",
    "ROWS",
    "TRAINING",
    "Family",
    "Kind",
    "Metric",
    "ScaleKind",
    "Vote",
]

ROWS: frozenset[Kind] = EVERY_KIND - CLASSES  # requests for rows and for subclasses, which are rows of one class
OUTPUTS: frozenset[Want] = frozenset({"outputs"})
FEATURES: frozenset[Want] = frozenset({"outputs", "features"})
TRAINING: frozenset[Want] = frozenset(
    {"relearn", "return", "attacks"}
)  # what trains a copy of every model: most of the time


@dataclass(frozen=True, kw_only=True)
class Vote:
    """A reading that has a vote in the verdict, and how it is compared with that of the retrained models.

    Args:
        metric, part: which reading.
        family: readings of one kind of evidence.
        scale: what kind of number it is, and so the scale on which it is compared.
        delta: margin that is no fault, in the reading's unit; the logarithm of a ratio for times.
        fault: on which side of the retrained models a difference counts.
        powerless: whether it stands although the original passes too.
        pairwise: whether it is the mean of distances to the retrained models. Their own then share pairs: where the
            distance of two models is the sum of what each of them adds, e_i + e_j, a retrained model's mean distance to
            the k - 1 others spreads by (k - 2) / (k - 1) of what e does, half with three models, and a model that is
            held against all k of them by all of it. What is measured is corrected for that.
        counted: whether a proportion counts samples or pairs of them, so that chance spreads it as a binomial one.
            Total variation does not: it is a distance of two distributions.
        kinds: requests that it votes on: those that ask for nothing else.
    """

    metric: str
    part: Part | None = None
    family: Family
    scale: ScaleKind
    delta: float
    fault: Literal["both", "low", "high"] = "both"
    powerless: bool = False
    pairwise: bool = False
    counted: bool = True
    kinds: frozenset[Kind] = CLASSES

    def widened(self, k: int) -> float:
        """Return the factor on the spread of k retrained models' own values; 1 for fewer than three of them."""
        return (k - 1) / (k - 2) if self.pairwise and k > 2 else 1.0

    @property
    def key(self) -> str:
        """The reading's name in a bank and in the audit."""
        return self.metric if self.part is None else f"{self.metric}/{self.part.value}"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A registered metric with all that the audit, the banks and the report need to know about it.

    Args:
        fn: Evidence -> readings.
        readings: names of the readings that it gives.
        wants: kinds of evidence.
        parts: parts whose outputs it looks at.
        votes: those of its readings that vote; all others are shown and decide nothing.
        retrain_free: whether it says something without a retrained model.
        kinds: requests that it says something about. Of rows there is no class to recover, and no held-out part.
    """

    fn: Callable[[Evidence], list[Reading]]
    readings: tuple[str, ...]
    wants: frozenset[Want]
    parts: frozenset[Part] = frozenset()
    votes: tuple[Vote, ...] = ()
    retrain_free: bool = True
    kinds: frozenset[Kind] = CLASSES
