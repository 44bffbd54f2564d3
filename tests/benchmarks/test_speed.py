"""benchmarks/speed.py: the published procedure's passes, the count of operations, and that all of it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import speed
from unlearnkit.runtime.cost import Meter


def test_the_published_procedure_passes_what_its_count_says_and_leaves_the_model() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    kept = [p.clone() for p in model.parameters()]
    meter = Meter()
    images, labels = torch.randn(40, 3, 2, 2), torch.arange(1, 4).repeat(14)[:40]
    numbers = {"retained": 5, "noise": 6, "steps": 3, "times": 2}
    speed.published(meter.attach(model), images, labels, (3, 2, 2), (0,), **numbers)
    counted = speed.published_passes(int(labels.unique().numel()), **numbers)
    assert {"samples_forward": meter.forward, "samples_backward": meter.backward} == counted
    assert all(torch.equal(before, after) for before, after in zip(kept, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: torch.ones(3, 4) @ torch.ones(4, 5), 2 * 3 * 4 * 5),
        (lambda: torch.linalg.eigh(torch.eye(6)), 9 * 6**3),
        (lambda: torch.linalg.solve(torch.eye(6), torch.ones(6, 2)), 2 * 6**3 // 3 + 2 * 36 * 2),
    ],
)
def test_operations_hold_those_of_linear_algebra(work: Callable[[], object], expected: int) -> None:
    assert speed.operations(work) == expected


@pytest.mark.slow
def test_all_of_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "speed.json"
    monkeypatch.setattr("sys.argv", ["speed.py", "--smoke", "--out", str(out)])
    threads = torch.get_num_threads()
    speed.main()
    torch.set_num_threads(threads)
    report = json.loads(out.read_text())
    assert {"published", "erase"} < report["ways"].keys()
    assert report["command"]["help"] > 0
    assert "| published |" in capsys.readouterr().out
