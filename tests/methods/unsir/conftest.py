"""Fixtures that record what UNSIR trains on and the noise that it learns."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn

import unlearnkit.methods.unsir.unsir as unsir_module
from unlearnkit.data.view import Samples
from unlearnkit.training.loop import train
from unlearnkit.training.losses import cross_entropy
from unlearnkit.training.recipe import Recipe
from unsir_runs import Call


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Records every training that UNSIR asks for."""
    calls: list[Call] = []

    def spy(model: nn.Module, samples: Samples, recipe: Recipe, **options: Any) -> None:
        calls.append(Call(samples, recipe, options["stage"], options.get("loss", cross_entropy)))
        train(model, samples, recipe, **options)

    monkeypatch.setattr(unsir_module, "train", spy)
    return calls


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Records the noise that was learned."""
    noises: list[Tensor] = []
    for name in ("learn_noise", "notebook_noise"):
        learn = getattr(unsir_module, name)

        def spy(*args: Any, learn: Any = learn, **options: Any) -> tuple[Tensor, Tensor]:
            images, labels = learn(*args, **options)
            noises.append(images)
            return images, labels

        monkeypatch.setattr(unsir_module, name, spy)
    return noises
