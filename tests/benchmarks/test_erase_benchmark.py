"""The readings of benchmarks/erase.py on features and answers whose values are known."""

from __future__ import annotations

import pytest
import torch

import erase
from unlearnkit.audit.evidence import HEAD


def test_the_probe_and_the_nearest_mean_find_a_class_that_is_there_and_none_that_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(60)
    features = torch.randn(600, 12, generator=generator)
    apart = features + 8 * torch.eye(12)[labels]
    assert erase.probe(apart, labels) > 0.95
    assert erase.nearest_mean(apart, labels) > 0.95
    assert erase.probe(features, labels) < 0.35
    assert erase.nearest_mean(features, labels) < 0.35


def test_distances_from_retrained_models_are_those_of_the_forgotten_images(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.tensor([0, 0, 1, 2])

    def found(rows: list[list[float]]) -> erase.Answers:
        return erase.Answers({}, torch.tensor(rows))

    ours = found([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    other = found([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert erase._shares(ours.probabilities[:2]).tolist() == [0.0, 1.0, 0.0]
    ours.features[HEAD] = torch.randn(4, 3)
    monkeypatch.setattr(erase, "probe", lambda *_: 0.5)
    monkeypatch.setattr(erase, "nearest_mean", lambda *_: 0.5)
    values = erase.readings(ours, labels, [other])
    assert (values["A_r"], values["A_f"]) == (100.0, 0.0)
    assert values["tv"] == [0.5]
    assert values["act"] == [pytest.approx(2**0.5 / 2)]


def test_the_table_has_a_row_for_each_kind_of_model_with_its_range() -> None:
    def row(model: str, accuracy: float, share: float) -> dict[str, object]:
        values = {"tv": [0.1], "act": [0.2], "probe": [0.5, 0.6], "ncm": 0.4, "seconds": 2.0}
        return {"model": model, "A_r": accuracy, "share": share, **values}

    lines = erase.markdown([row("retrained-0", 84.0, 0.0), row("retrained-1", 85.0, 0.0), row("erase", 83.0, 0.01)])
    assert lines[2].startswith("| retrained | - | - | 84.0 to 85.0 |")
    assert lines[3] == "| erase | 2.0 | 1/100 | 83.0 | 0.10 | 0.20 | 0.50, 0.60 | 0.40 |"
