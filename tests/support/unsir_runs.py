"""Runs of UNSIR with tiny settings, and on digits: what the tests of its steps, its search and its forgetting share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from canonical import CPU, MODELS, tiny_data
from unlearnkit.data import ImageData
from unlearnkit.data.sources.registry import load_data
from unlearnkit.data.view import Samples
from unlearnkit.methods import UNSIR, Unlearned, unlearn
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part
from unlearnkit.training.recipe import Recipe


def plain(*settings: str, **changes: Any) -> UNSIR:
    """UNSIR as in the paper, without search and augmentation, with tiny settings."""
    tiny = ["retain_per_class=4", "noise.batch_size=6", "noise.steps=2", "noise.repeats=3"]
    sizes = ["impair.batch_size=8", "repair.batch_size=8"]
    return UNSIR.paper().with_settings([*tiny, *sizes, *settings]).model_copy(update=changes)


class Call:
    """What one training was given."""

    def __init__(self, samples: Samples, recipe: Recipe, stage: str, loss: Any) -> None:
        self.labels = samples.labels
        self.images = samples.images(torch.arange(len(samples)))
        self.recipe, self.stage, self.loss = recipe, stage, loss


def forget(
    method: UNSIR, *classes: int, channels: int = 1, data: ImageData | None = None, seed: int = 0, **options: Any
) -> Unlearned:
    model = options.pop("model", None) or MODELS["cnn-grey" if channels == 1 else "cnn-colour"].model()
    request = ForgetRequest(classes=classes, already_forgotten=options.pop("already_forgotten", ()))
    given = data if data is not None else tiny_data(channels)
    return unlearn(model, method, given, request, seed=seed, runtime=CPU, **options)


def key(image: Tensor) -> tuple[float, ...]:
    return tuple(image.flatten().tolist())


def retained_images(data: ImageData, result: Unlearned) -> dict[tuple[float, ...], tuple[int, int]]:
    """Every retained training image -> its row and its label."""
    rows = result.split[Part.RETAIN_TRAIN]
    images = data.normalise(data.train.images(rows, CPU.device))
    return {key(image): (int(row), int(data.train.labels[row])) for image, row in zip(images, rows, strict=True)}


def digits_model(folder: Path) -> tuple[nn.Module, ImageData]:
    model = SmallCNN(10, 1, width=8)
    read_checkpoint(folder / "model.safetensors").load_into(model)
    return model.eval(), load_data("digits")


def on_digits(*settings: str) -> UNSIR:
    """Settings that suit the digits, whatever the default is."""
    return UNSIR.paper().with_settings(
        [
            "retain_per_class=60",
            "noise.batch_size=64",
            "noise.steps=20",
            "noise.repeats=4",
            "impair.lr=0.002",
            "impair.epochs=2",
            "impair.batch_size=64",
            "repair.lr=0.001",
            "repair.epochs=2",
            "repair.batch_size=64",
            *settings,
        ]
    )
