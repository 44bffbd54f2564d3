"""A network and a method that need no training, and searches for its setting: what the tests of tuning share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from canonical import CLASSES, CPU, tiny_data
from unlearnkit.errors import NonFiniteLossError
from unlearnkit.methods import ConfiguredMethod, Context
from unlearnkit.methods.space import Range, Space
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part
from unlearnkit.tuning import Tuned, tune

GONE = 2  # "cat"
REQUEST = ForgetRequest(classes=(CLASSES[GONE],))
PER_CLASS = 40  # two of them are held out for validation


class Brightness(nn.Module):
    """Tells the classes of `tiny_data` by the mean of the pixels, without any training."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, len(CLASSES))
        centres = ((60 + 135 * torch.arange(len(CLASSES)) / len(CLASSES)) / 255 - 0.5) / 0.25
        with torch.no_grad():
            self.head.weight.copy_(80 * centres[:, None])
            self.head.bias.copy_(-40 * centres.square())

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.mean(dim=(2, 3)))


class Dial(ConfiguredMethod):
    """Turned up, it first forgets (from about 12 on) and then (from 30 on) harms what is to be kept."""

    strength: float = Field(default=0.1, gt=0)
    breaks: float = Field(default=math.inf, allow_inf_nan=True)
    reads: Part = Part.RETAIN_TRAIN

    @classmethod
    def presets(cls) -> dict[str, Callable[[], Self]]:
        return {"default": cls}

    @property
    def needs(self) -> frozenset[Part]:
        return frozenset({self.reads})

    def space(self) -> Space:
        return {"strength": Range(0.1, 1000.0)}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        if self.strength > self.breaks:
            raise NonFiniteLossError("too strong")
        samples = ctx.view.part(self.reads)
        model(samples.images(torch.arange(5)))
        bias = model.head.bias.data
        bias[list(ctx.request.forget)] -= self.strength
        bias[ctx.request.retained[0]] += max(0.0, self.strength - 30)
        return model


def search(method: ConfiguredMethod | None = None, *, trials: int = 30, seed: int = 0, **options: Any) -> Tuned:
    data = options.pop("data", None) or tiny_data(per_class=PER_CLASS)
    return tune(Brightness(), method or Dial(), data, REQUEST, trials=trials, seed=seed, runtime=CPU, **options)


def reads(tuned: Tuned) -> dict[str, int]:
    """Samples that were read of each part, whoever read them."""
    parts: Any = tuned.access.summary(tuned.split)["parts"]
    assert not any(counts["read_by_audit"] for part in parts.values() for counts in part.values())
    return {name: sum(counts["read_by_method"] for counts in part.values()) for name, part in parts.items()}


def as_found(tuned: Tuned) -> list[dict[str, Any]]:
    """The trials without the seconds and the memory, which differ from run to run."""
    trials = [asdict(trial) for trial in tuned.trials]
    for trial in trials:
        for key in ("seconds", "peak_memory_bytes"):
            (trial["cost"] or {}).pop(key, None)
    return trials
