"""Proposals of settings: they find a planted optimum, follow the seed and can be written down."""

from __future__ import annotations

import math
from typing import Any

import pytest

from unlearnkit.methods.space import Range
from unlearnkit.tuning.optimise import optimise


def proposals(seed: int, trials: int = 40) -> list[tuple[dict[str, float], float]]:
    """What is proposed for a score with its best at lr 0.02 and 4 epochs."""
    found: list[tuple[dict[str, float], float]] = []

    def score(values: Any) -> float:
        value = -(math.log10(values["lr"] / 0.02) ** 2) - (values["epochs"] - 4) ** 2 / 10
        found.append((dict(values), value))
        return value

    optimise(score, {"lr": Range(1e-5, 1.0), "epochs": Range(1, 10)}, trials=trials, seed=seed)
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_search_finds_a_planted_optimum_and_better_than_its_random_start(seed: int) -> None:
    found = proposals(seed)
    assert len(found) == 40
    best, value = max(found, key=lambda pair: pair[1])
    assert 0.005 < best["lr"] < 0.08
    assert abs(best["epochs"] - 4) <= 1
    assert value > max(score for _, score in found[:10])


def test_proposals_follow_the_seed_and_can_be_written_down() -> None:
    assert proposals(3, 14) == proposals(3, 14) != proposals(4, 14)
    for values, _ in proposals(5, 14):
        assert isinstance(values["epochs"], int)
        assert 1 <= values["epochs"] <= 10
        assert 1e-5 <= values["lr"] <= 1.0
        assert float(f"{values['lr']:.4g}") == values["lr"]
