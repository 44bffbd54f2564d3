"""benchmarks/small_speed.py: the ways run in turn on a tiny network, and ratios are to the retraining beside them."""

from __future__ import annotations

import pytest

import small_speed


@pytest.mark.slow
def test_ways_run_in_turn_and_rows_hold_ratios() -> None:
    setting = small_speed.Setting("small-cnn,width=4", ("3",), ("epochs=1",))
    found = small_speed.measured(setting, 1, ("retrain", "erase"))
    assert found["erase"]["samples"][0] < 3 * found["retrain"]["samples"][0]
    assert [len(one["seconds"]) for one in found.values()] == [1, 1]
    found["erase"]["seconds"], found["retrain"]["seconds"] = [1.0], [4.0]
    assert "| erase | 1.00 | 0.25 (0.25 to 0.25) |" in small_speed.rows("x", found)[1]
