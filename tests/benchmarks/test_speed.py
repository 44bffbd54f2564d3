"""benchmarks/speed.py: the published procedure's passes, and that all of it runs."""

from __future__ import annotations

import json
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


@pytest.mark.slow
def test_all_of_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "speed.json"
    monkeypatch.setattr("sys.argv", ["speed.py", "--smoke", "--out", str(out)])
    threads = torch.get_num_threads()
    speed.main()
    torch.set_num_threads(threads)
    report = json.loads(out.read_text())
    assert {"published", "erase"} < report["ways"].keys()
    assert all(way["operations"] > 0 for way in report["ways"].values())
    assert report["command"]["help"] > 0
    assert "| published |" in capsys.readouterr().out
