"""The committed reference models: every one of them loads into the network that its file names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from small_residual import SmallResidual
from unlearnkit.models import build_model

FOLDER = Path(__file__).parents[2] / "benchmarks" / "references"
COUNTS = {"small": 10, "small-residual": 10, "airbench": 4}


def network(name: str) -> nn.Module:
    if name == "small_residual:SmallResidual":
        return SmallResidual(10)
    return build_model(name, num_classes=10, in_channels=3)


@pytest.mark.parametrize("name", COUNTS)
def test_reference_models_load(name: str) -> None:
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        facts = file.metadata()
        states: dict[str, dict[str, torch.Tensor]] = {}
        for key in file.keys():  # noqa: SIM118 - not a mapping
            model, _, inner = key.partition("/")
            states.setdefault(model, {})[inner] = file.get_tensor(key)
    assert set(states) == set(json.loads(facts["models"]))
    assert len(states) == COUNTS[name]
    for model, state in states.items():
        fresh = network(facts["model"])
        fresh.load_state_dict(state)
        fresh.eval()
        logits = fresh(torch.zeros(1, 3, 32, 32))
        assert logits.isfinite().all(), model
