"""Short trainings that the tests of the loop and of its parts share: images, models in float64, a run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from canonical import CPU, MODELS, TinyViT
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.training.loop import train
from unlearnkit.training.recipe import Recipe


def images_and_labels(n: int = 22, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(n, 1, 8, 8, generator=generator, dtype=dtype)
    return images, torch.randint(0, 4, (n,), generator=generator)


def double_cnn() -> nn.Module:
    return MODELS["cnn-grey"].model().double()


def plain_vit() -> nn.Module:
    torch.manual_seed(7)
    return TinyViT(4, dropout=0.0).double()


def run(model: nn.Module, samples: Any, recipe: Recipe, *, seed: int = 11, **options: Any) -> RunLog:
    log = RunLog(CPU)
    generator = torch.Generator().manual_seed(seed)
    train(model, samples, recipe, stage="train", generator=generator, runtime=CPU, log=log, **options)
    return log
