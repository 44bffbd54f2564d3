"""The examples run as they are, and what they print is what they promise."""

from __future__ import annotations

from pathlib import Path

import pytest

import forked

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(forked.GROUP)]
EXAMPLES = Path(__file__).parent.parent / "examples"


def output(name: str) -> str:
    done = forked.run(EXAMPLES / name, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_of_ones_own() -> None:
    printed = output("own_model.py")
    assert "samples of class 7 read: 0" in printed
    assert "after: accuracy on class 7 0.0%" in printed


def test_a_dataset_of_ones_own() -> None:
    printed = output("own_dataset.py")
    assert "classes that were read: [0, 1, 2, 3, 4, 5, 6, 8, 9]" in printed
    assert "after: accuracy on digit 7 0.0%" in printed


@pytest.mark.parametrize("tool", ["SalUn", "Bad Teacher"])
def test_checkpoints_of_other_tools_are_judged(tool: str, judged_others: str) -> None:
    told = judged_others.partition(f"\n{tool}\n")[2]
    assert "verdict: fail (outside the band of the retrained models" in told.partition("\nwritten to ")[0]


@pytest.fixture(scope="module")
def judged_others() -> str:
    return output("judge_others.py")
