"""A training that goes on from the end of an epoch ends with the weights of an undisturbed one, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from canonical import CPU
from training_runs import images_and_labels
from unlearnkit.data.samples import TensorSamples
from unlearnkit.errors import OutputError
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.training.loop import train
from unlearnkit.training.recipe import Recipe
from unlearnkit.training.resuming import Saved

EPOCHS = 4


@dataclass
class Kept:
    """Checkpoints in memory."""

    states: dict[int, Saved] = field(default_factory=dict)
    start: Saved | None = None

    def load(self) -> Saved | None:
        return self.start

    def save(self, epochs: int, take: Callable[[], Saved]) -> None:
        self.states[epochs] = take()


class Noisy(nn.Module):
    """BatchNorm, dropout, tied weights, a frozen and an unused weight, and noise of Python's and numpy's generators."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.first, self.last = nn.BatchNorm2d(1), nn.Linear(64, 64), nn.Linear(64, 4)
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        self.unused = nn.Parameter(torch.ones(4))
        self.tied = self.first.weight

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.first(self.norm(images).flatten(1)).relu() @ self.tied
        noise = random.gauss(0, 0.01) + float(np.random.standard_normal()) / 100 if self.training else 0.0
        return self.last(nn.functional.dropout(hidden, 0.3, self.training)) * self.frozen + noise


def network() -> nn.Module:
    torch.manual_seed(1)
    return Noisy()


def run(recipe: Recipe, kept: Kept) -> tuple[dict[str, Tensor], RunLog]:
    torch.manual_seed(2)
    random.seed(3)
    np.random.seed(4)
    model, log = network(), RunLog(CPU)
    samples = TensorSamples(*images_and_labels(dtype=torch.float32))
    generator = torch.Generator().manual_seed(5)
    train(model, samples, recipe, stage="t", generator=generator, runtime=CPU, log=log, checkpoints=kept)
    return model.state_dict(), log


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "augment": "crop_flip", "lookahead": True, "schedule": "one_cycle"},
        {"optimizer": "adam", "schedule": "cosine"},
        {"optimizer": "adamw", "augment": "crop_flip", "clip_value": 0.1},
    ],
)
def test_it_goes_on_bit_for_bit_after_every_epoch(settings: dict[str, object]) -> None:
    recipe = Recipe(**{"epochs": EPOCHS, "batch_size": 5, "lr": 0.01, **settings})
    kept = Kept()
    whole, log = run(recipe, kept)
    assert sorted(kept.states) == [1, 2, 3, 4]
    for epochs, saved in kept.states.items():
        again, resumed = run(recipe, Kept(start=saved))
        assert all(torch.equal(value, again[name]) for name, value in whole.items()), epochs
        assert resumed.history == log.history
        assert resumed.stages["t"].seconds > 0


def other(saved: Saved, **changed: Tensor | None) -> Saved:
    tensors = {**saved.tensors, **changed}
    return Saved(
        epochs=saved.epochs,
        tensors={name: value for name, value in tensors.items() if value is not None},
        numbers=saved.numbers,
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"model.first.weight": torch.zeros(3)},
        {"model.first.weight": None},
        {"losses": None},
        {"optimizer.7.exp_avg": torch.zeros(1)},
        {"random.torch": torch.zeros(5056, dtype=torch.uint8)},
        {"random.python": torch.full((625,), -1)},
        {"random.numpy.normal": torch.full((3,), 1e9, dtype=torch.float64)},
    ],
    ids=str,
)
def test_a_state_that_does_not_fit_is_refused(changed: dict[str, Tensor | None]) -> None:
    kept = Kept()
    recipe = Recipe(epochs=1, batch_size=11, lr=0.01)
    run(recipe, kept)
    with pytest.raises(OutputError, match=r"Expected the whole state of this training .*; delete that file"):
        run(recipe, Kept(start=other(kept.states[1], **changed)))
