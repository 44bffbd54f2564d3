"""Tests of the table that benchmarks/audit_ways.py makes, and that its ways are methods with settings that exist."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from audit_ways import WAYS, line, made_by, markdown, methods_of
from canonical import CPU, MODELS, tiny_data
from contract_runs import assert_same_tensors
from unlearnkit.errors import ConfigError
from unlearnkit.request import ForgetRequest

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
        assert [method.name for method in methods_of(text)] == [text.split(",")[0]]


def test_a_way_may_be_several_methods_one_after_another():
    first, second = methods_of("neggrad+,recipe.epochs=3 then unsir,search=none,noise=none")
    assert (first.name, second.name) == ("neggrad+", "unsir")
    assert (second.search, second.noise) == (None, None)
    with pytest.raises(ConfigError, match="but got 'unsirr'"):
        methods_of("erase then unsirr")


def test_a_line_says_cost_verdict_and_what_is_outside():
    assert line(row(0, 0.5)).split("  ")[-1] == "outside: probe_recovery/forget_test"
    assert "1/200  fail  gap 1.50" in line(row(0, 0.5))


def test_the_table_has_a_row_for_a_way_and_ranges_over_seeds():
    lines = markdown([row(0, 0.25), row(1, 0.5)])
    assert len(lines) == 3
    assert lines[2].startswith("| erase | 2.0 | 200 | 3,600, 0 | 1.50 | 0.250 to 0.500 |")
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")


def test_what_follows_goes_on_from_what_was_made_and_all_of_it_counts():
    """Usual mistake: each method begins with the original, so that the last one is all there is."""
    request, model = ForgetRequest(classes=(0,)), MODELS["cnn-grey"].build(1)
    brief = "finetune,search=none,recipe.epochs=1,recipe.lr=0.01"
    both, passes = made_by(methods_of(f"{brief} then {brief}"), model, tiny_data(), request, 3, CPU)
    first, once = made_by(methods_of(brief), model, tiny_data(), request, 3, CPU)
    second, _ = made_by(methods_of(brief), first, tiny_data(), request, 3, CPU)
    assert_same_tensors(both.state_dict(), second.state_dict())
    assert any(not torch.equal(value, first.state_dict()[key]) for key, value in both.state_dict().items())
    assert passes == {key: 2 * count for key, count in once.items()}
    assert once["samples_backward"] > 0
