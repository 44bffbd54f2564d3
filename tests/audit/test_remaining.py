"""A run that did not forget says so: when, and when not."""

from __future__ import annotations

from typing import Any

import pytest

from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.reading import Reading, wilson
from unlearnkit.audit.remaining import not_forgotten


def accuracy(model: Any, hits: int, n: int = 100, part: str = "forget_test", replicate: int = 0) -> Reading:
    return Reading(
        metric="accuracy", model=model, part=part, replicate=replicate, value=hits / n, unit="fraction",
        target="match_retrain", interval=wilson(hits, n),
    )  # fmt: skip


def distance(value: float) -> Reading:
    return Reading(metric="weight_distance", model="unlearned", value=value, unit="L2", target="none")


NOTHING = Reading(
    metric="accuracy", model="unlearned", part="forget_test", value=None, unit="fraction", target="match_retrain"
)
ABOVE_CHANCE = ["not_forgotten_chance"]
CASES: dict[str, tuple[list[Reading], list[str]]] = {
    "forgotten": ([accuracy("original", 95), accuracy("unlearned", 0), distance(1.0)], []),
    "kept": ([accuracy("original", 95), accuracy("unlearned", 90), distance(1.0)], ABOVE_CHANCE),
    "near chance, by its interval": ([accuracy("unlearned", 27)], []),
    "above chance, by its interval": ([accuracy("unlearned", 32)], ABOVE_CHANCE),
    "few samples say little": ([accuracy("unlearned", 2, 4)], []),
    "few samples, all right": ([accuracy("unlearned", 6, 6)], ABOVE_CHANCE),
    "as the retrained models": ([accuracy("unlearned", 40), accuracy("retrained", 38)], []),
    "above the highest retrained model": (
        [accuracy("unlearned", 60), accuracy("retrained", 2), accuracy("retrained", 30, replicate=1)],
        ["not_forgotten_retrained"],
    ),
    "training samples, where no others are left": (
        [NOTHING, accuracy("unlearned", 90, part="forget_train")], ABOVE_CHANCE,
    ),
    "held-out samples first": ([accuracy("unlearned", 0), accuracy("unlearned", 90, part="forget_train")], []),
    "nothing is left, and nothing was changed": ([NOTHING, distance(0.0)], ["weights_unchanged"]),
    "nothing is left": ([NOTHING, distance(0.1)], []),
    "kept, and nothing was changed": (
        [accuracy("unlearned", 90), distance(0.0)], [*ABOVE_CHANCE, "weights_unchanged"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_said(name: str) -> None:
    readings, codes = CASES[name]
    assert [notice.code for notice in not_forgotten(readings, 10)] == codes


def test_the_notice_has_the_figures() -> None:
    (chance,) = not_forgotten([accuracy("unlearned", 90)], 4)
    assert chance == Doubt("not_forgotten_chance", {"accuracy": 0.9, "chance": 0.25})
    (retrained,) = not_forgotten([accuracy("unlearned", 90), accuracy("retrained", 1)], 4)
    assert retrained == Doubt("not_forgotten_retrained", {"accuracy": 0.9, "retrained": 0.01})


def test_in_two_classes_chance_is_a_half() -> None:
    assert not_forgotten([accuracy("unlearned", 60)], 2) == ()
    assert not_forgotten([accuracy("unlearned", 90)], 2)
