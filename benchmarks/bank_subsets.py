"""Reads a bank, and gives the primary readings of any of its models held against any subset of its retrained models."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnkit.audit.bank import Bank, read_bank, smallest_spread
from unlearnkit.audit.metric import Vote
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.audit.observe.relearning import CAP
from unlearnkit.audit.prior import Prior
from unlearnkit.audit.verdict import Scale

BANKS = Path(__file__).parent.parent / "src" / "unlearnkit" / "audit" / "banks"
OWN_DEGREES = 8.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A bank with all that was kept of its models.

    Args:
        bank: as the audit reads it.
        content: of its file.
    """

    bank: Bank
    content: dict[str, Any]

    @property
    def retrained(self) -> tuple[str, ...]:
        """Names of the retrained models."""
        return tuple(str(i) for i in range(self.bank.models))

    def samples(self, vote: Vote) -> int:
        """Return the number of samples behind a reading."""
        return int(self.content["readings"][vote.key]["samples"])

    def value(self, vote: Vote, model: str, against: Sequence[str]) -> float:
        """Return a model's reading where it is held against these retrained models, itself left out.

        Args:
            vote: the reading.
            model: a retrained model or a control, by name.
            against: names of retrained models.
        """
        others = [other for other in against if other != model]
        sets = self.content["sets"]
        if vote.metric == "prediction_tv":
            return _total_variation(sets["predictions"][model], [sets["predictions"][other] for other in others])
        if vote.metric == "activation_distance":
            return float(sum(sets["distances"][model][int(other)] for other in others) / len(others))
        if vote.metric == "depth_recovery":
            return max(
                _largest_difference(counts[model], [counts[other] for other in others], self.samples(vote))
                for counts in sets["recalled"].values()
            )
        reading = self.content["readings"][vote.key]
        found = float(reading["values"][int(model)] if model in self.retrained else reading["controls"][model])
        return min(found, float(CAP)) if vote.scale == "time" else found

    def own_prior(self, vote: Vote, models: Sequence[str]) -> Prior:
        """Return the prior of this setting from some of its retrained models, each held against the others of them."""
        scale = Scale(kind=vote.scale, samples=self.samples(vote))
        values = [self.value(vote, model, models) for model in models]
        spread = vote.widened(len(models)) * statistics.stdev(scale.to(value) for value in values)
        return Prior(max(spread, smallest_spread(vote, values, scale.samples)), OWN_DEGREES)


def measured_banks(folder: Path = BANKS) -> list[Measured]:
    """Read every bank that holds what subsets are computed from."""
    found = []
    for file in sorted(folder.glob("*.json")):
        text = file.read_text(encoding="utf-8")
        content = json.loads(text)
        if "sets" in content and all(vote.key in content["readings"] for vote in PRIMARY):
            found.append(Measured(bank=read_bank(file.stem, text), content=content))
    return found


def _total_variation(own: Sequence[int], others: Sequence[Sequence[int]]) -> float:
    pooled = [sum(column) / len(others) for column in zip(*others, strict=True)]
    apart = sum(abs(count - mean) for count, mean in zip(own, pooled, strict=True))
    return float(apart / (2 * sum(own)))


def _largest_difference(own: dict[str, int], others: Sequence[dict[str, int]], judged: int) -> float:
    def odds(right: int) -> float:
        return math.log((right + 0.5) / (judged - right + 0.5))

    return max(
        abs(odds(right) - sum(odds(other[name]) for other in others) / len(others)) for name, right in own.items()
    )
