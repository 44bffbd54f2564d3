"""`--count-operations`: the count is in cost.json and on the terminal; without it nothing is said of operations."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import WEIGHTS, assert_refused, read, run_cli

TRAIN = ("train", "--model", "small-cnn,width=4", "--data", "digits", "--set", "epochs=1", "--device", "cpu")
FORGET = ("forget", "--data", "digits", "--forget", "3", "--device", "cpu", "--no-audit", "--method", "head-mask")


@pytest.mark.slow
@pytest.mark.parametrize("counted", [True, False])
def test_operations_are_counted_where_that_is_asked_for(counted: bool, tmp_path: Path) -> None:
    option = ["--count-operations"] if counted else []
    original, forgotten = tmp_path / "original", tmp_path / "forgotten"
    for done in (
        run_cli(*TRAIN, "--out", original, *option),
        run_cli(*FORGET, "--weights", original / WEIGHTS, "--out", forgotten, *option),
    ):
        assert done.code == 0, done
        lines = [line for line in done.out.splitlines() if line.startswith("floating-point operations: ")]
        assert [line.endswith("FLOP; counting them slowed the run") for line in lines] == [True] * counted
    for folder in (original, forgotten):
        cost = read(folder, "cost.json")
        assert all(("operations" in part) == counted for part in (cost["total"], *cost["stages"].values()))
        assert ("count_operations" in read(folder, "config.json")["runtime"]) == counted


@pytest.mark.parametrize("command", [TRAIN, (*FORGET, "--weights", "x"), ("retrain", "--of", "x")], ids=lambda c: c[0])
def test_counting_beside_a_compiler_is_refused(command: tuple[str, ...], tmp_path: Path) -> None:
    out = [] if command[0] == "retrain" else ["--out", tmp_path / "out"]
    refused = run_cli(*command, *out, "--compile", "--count-operations")
    assert_refused(refused, "Expected --compile or --count-operations, but got both")
