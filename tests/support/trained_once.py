"""Trains the smallest digits network for one epoch, for tests that need originals and no accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run

TINY = "small-cnn,width=4"
CPU = Runtime(device=torch.device("cpu"))


def trained(out: Path, *settings: str, seed: int = 0, **more: Any) -> Path:
    """Return the run folder of a model trained on digits."""
    spec = TrainSpec(**{"model": TINY, "data": "digits", "settings": ("epochs=1", *settings)} | more)
    train_run(spec, Output(out), seed=seed, runtime=CPU)
    return out
