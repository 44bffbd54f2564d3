"""Times a training step of a suite's network on this machine and counts its data, for the suite's plan."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from unlearnkit.compare.suite_parts import SuiteSetting
from unlearnkit.compare.work import Place, training
from unlearnkit.models import build_model
from unlearnkit.request import resolve_classes
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.steps.identity import Identity
from unlearnkit.steps.original import original_identity
from unlearnkit.steps.train import open_training_data
from unlearnkit.training.from_scratch import recipe_for

STEPS, STEP_IMAGES = 4, 64  # that are timed, and images in the batch of each


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What the plan knows of a setting.

    Args:
        sample_seconds: seconds that a sample takes forward and backward.
        counts: training samples of each class.
        classes: the class list.
        epochs: of a training.
        trained: what its originals are, but for the seed and the content of the data.
        source: the data source.
    """

    sample_seconds: float
    counts: dict[int, int]
    classes: tuple[str, ...]
    epochs: int
    trained: Identity
    source: str

    @property
    def samples(self) -> int:
        """All training samples."""
        return sum(self.counts.values())

    def kept(self, without: Sequence[str | int] = ()) -> dict[int, int]:
        """Return the training samples of each class but some."""
        gone = set(resolve_classes(without, self.classes))
        return {label: count for label, count in self.counts.items() if label not in gone}

    def training(self, without: Sequence[str | int] = ()) -> float:
        """Return the seconds of a training without some classes."""
        return self.sample_seconds * sum(self.kept(without).values()) * self.epochs


def measured(setting: SuiteSetting, place: Place) -> Speed:
    """Time a training step of a setting's network, and count its data.

    Raises:
        UnlearnkitError: the data or the model cannot be had.
    """
    spec, runtime = training(setting, place), place.runtime()
    images, split = open_training_data(spec, None, None)
    with isolated_randomness(0):
        network = build_model(spec.model, num_classes=len(images.classes), in_channels=images.shape[0])
        recipe = recipe_for(network, images.augment).with_settings(spec.settings)
        network = network.to(runtime.device).train()
        batch = torch.randn(STEP_IMAGES, *images.shape, device=runtime.device)
        labels = torch.arange(STEP_IMAGES, device=runtime.device) % len(images.classes)
        seconds = []
        for _ in range(STEPS):
            began = _clock(runtime)
            F.cross_entropy(network(batch), labels).backward()
            seconds.append(_clock(runtime) - began)
    labelled = images.train.labels[torch.as_tensor(split[Part.RETAIN_TRAIN])]
    counts = torch.bincount(labelled, minlength=len(images.classes)).tolist()
    return Speed(
        sample_seconds=min(seconds) / STEP_IMAGES,  # the first warms up, and others may be held up by what else runs
        counts=dict(enumerate(counts)),
        classes=images.classes,
        epochs=recipe.epochs,
        trained=original_identity(spec, images, split, data="", seed=0),
        source=spec.data,
    )


def _clock(runtime: Runtime) -> float:
    """Return seconds of this process on the CPU, which other programs do not lengthen; else seconds of the clock."""
    if runtime.device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize() if runtime.device.type == "cuda" else None
    return time.perf_counter()
