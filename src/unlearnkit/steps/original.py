"""Trains an original into a reference bank, or takes it from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnkit.data import AccessLog, ImageData
from unlearnkit.errors import ConfigError
from unlearnkit.models import build_model
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.randomness import check_seed, isolated_randomness
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Split
from unlearnkit.steps.bank_entry import banked_model
from unlearnkit.steps.identity import Identity, data_fingerprint, identity_of
from unlearnkit.steps.specs import TrainSpec, ways_of
from unlearnkit.steps.train import open_training_data
from unlearnkit.training.from_scratch import recipe_for
from unlearnkit.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class PlannedTraining:
    """How an original is to be trained, as its identity says it."""

    start: str | None
    recipe: Recipe
    ways: Mapping[str, Any]


def original_run(
    spec: TrainSpec,
    bank: Path,
    *,
    seed: int,
    command: Sequence[str] = (),
    runtime: Runtime | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a model on all classes unless the bank holds it, and return where it is.

    Args:
        spec: what to train; it begins with new or with published weights, and leaves out no class.
        bank: folder of the reference bank; it is made where there is none.
        seed: of every random draw.
        command: the command line, for the manifest.
        runtime, progress: see `train_run`.

    Raises:
        InputError: something given cannot be used.
        NonFiniteLossError: see `train_run`.
    """
    if spec.init is not None or spec.exclude:
        raise ConfigError(
            "Expected an original that begins without weights of a file and knows all classes; train others with "
            "`unlearnkit train`."
        )
    runtime, progress = runtime or Runtime(), progress or Silent()
    check_seed(seed)
    images, split = open_training_data(spec, None, progress)
    data = data_fingerprint(images, split, reader="method", log=AccessLog(images), progress=progress)
    identity = original_identity(spec, images, split, data=data, seed=seed)
    return banked_model(spec, identity, bank, command=command, runtime=runtime, progress=progress, resume=False)


def original_identity(spec: TrainSpec, images: ImageData, split: Split, *, data: str, seed: int) -> Identity:
    """Return what an original is that is trained as `spec` says.

    Args:
        spec: how it is trained.
        images, split: what it is trained on.
        data: see `data_fingerprint`.
        seed: of every random draw.
    """
    with isolated_randomness(0):  # building draws weights, which do not matter here
        network = build_model(spec.architecture, num_classes=len(images.classes), in_channels=images.shape[0])
    planned = PlannedTraining(
        start="pretrained" if spec.pretrained else None,
        recipe=recipe_for(network, images.augment).with_settings(spec.settings),
        ways=ways_of(spec.sharding, spec.privacy),
    )
    return identity_of(planned, images, split, network, model=spec.architecture, data=data, seed=seed)
