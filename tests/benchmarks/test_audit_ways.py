"""Tests of the table that benchmarks/audit_ways.py makes, and that its ways are methods with settings that exist."""

from __future__ import annotations

from typing import Any

from audit_ways import WAYS, line, markdown
from unlearnkit.methods.choice import MethodChoice

KEYS = [
    "accuracy/retain_test",
    "prediction_tv/forget_test",
    "activation_distance/forget_test",
    "probe_recovery/forget_test",
    "prototype_recovery/forget_test",
    "depth_recovery/forget_test",
    "return_recovery/forget_test",
]


def row(seed: int, value: float) -> dict[str, Any]:
    votes = {key: {"value": value, "verdict": "pass"} for key in KEYS}
    votes[KEYS[3]]["verdict"] = "fail"
    return {
        "way": "erase",
        "seed": seed,
        "seconds": 2.0,
        "retraining_seconds": 400.0,
        "passes": {"samples_forward": 3600, "samples_backward": 0},
        "verdict": {"status": "fail", "worst_gap": 1.5, "worst": KEYS[3]},
        "votes": votes,
    }


def test_every_way_is_a_method_with_its_settings():
    for text in WAYS.values():
        name, *settings = text.split(",")
        assert MethodChoice(name, settings=settings).make().name == name


def test_a_line_says_cost_verdict_and_what_is_outside():
    assert line(row(0, 0.5)).split("  ")[-1] == "outside: probe_recovery/forget_test"
    assert "1/200  fail  gap 1.50" in line(row(0, 0.5))


def test_the_table_has_a_row_for_a_way_and_ranges_over_seeds():
    lines = markdown([row(0, 0.25), row(1, 0.5)])
    assert len(lines) == 3
    assert lines[2].startswith("| erase | 2.0 | 200 | 3,600, 0 | 1.50 | 0.250 to 0.500 |")
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
