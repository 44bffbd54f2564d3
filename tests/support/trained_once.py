"""Trains digits networks that several tests use: the smallest for one epoch, and a good one as the recipe has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run

TINY = "small-cnn,width=4"
NARROW = "small-cnn,width=8"
CPU = Runtime(device=torch.device("cpu"))


def trained(out: Path, *settings: str, seed: int = 0, **more: Any) -> Path:
    """Return the run folder of a model trained on digits."""
    spec = TrainSpec(**{"model": TINY, "data": "digits", "settings": ("epochs=1", *settings)} | more)
    train_run(spec, Output(out), seed=seed, runtime=CPU)
    return out


def trained_on_digits(out: Path, *exclude: str, model: str = "small-cnn") -> None:
    """Write the run folder of a small CNN that knows the digits, but for those left out."""
    train_run(TrainSpec(model=model, data="digits", exclude=exclude), Output(out), runtime=CPU)
