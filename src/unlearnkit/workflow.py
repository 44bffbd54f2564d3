"""The steps behind the commands: load, train, and write run folders."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from unlearnkit.data import AccessLog, DataView, ImageData, load_data
from unlearnkit.errors import ModelError
from unlearnkit.models import build_model, check_model, is_import_path
from unlearnkit.models.checkpoint import Checkpoint, ModelCard, checkpoint_bytes, read_checkpoint
from unlearnkit.request import ResolvedRequest, resolve_classes
from unlearnkit.run_dir import check_output, write_run
from unlearnkit.runlog import Progress, RunLog, Silent
from unlearnkit.runtime import Runtime, isolated_randomness
from unlearnkit.split import Part, split_resolved
from unlearnkit.training import Recipe, predict, train

WEIGHTS = "model.safetensors"
TRAIN_RECIPE = Recipe(epochs=10, batch_size=128, lr=0.1, weight_decay=5e-4, schedule="one_cycle")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How images are fed to the model, where it is given by hand."""

    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def train_run(
    *,
    model: str,
    data: str,
    out: Path,
    exclude: Sequence[str] = (),
    init: Path | None = None,
    seed: int = 0,
    recipe: Recipe | None = None,
    preprocessing: Preprocessing = Preprocessing(),
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a model on all classes but the excluded ones, and write its run folder; returns its summary.

    The output keeps its full width, so that a retrained model can be compared output by output.

    Raises:
        InputError: something given cannot be used.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    check_output(out, overwrite=overwrite)
    runtime, progress = runtime or Runtime(), progress or Silent()
    images = load_data(data, image_size=preprocessing.image_size, mean=preprocessing.mean, std=preprocessing.std)
    start = read_checkpoint(init) if init else None
    if start and start.card:
        images = images.with_classes(start.card.classes)
    recipe = recipe or TRAIN_RECIPE.model_copy(update={"augment": images.augment})
    excluded = resolve_classes(exclude, images.classes)
    request = ResolvedRequest(forget=(), already_forgotten=excluded, classes=images.classes)
    split = split_resolved(request, images)
    images.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
    access = AccessLog(images)
    view = DataView(
        images, split, frozenset({Part.RETAIN_TRAIN, Part.RETAIN_VAL}), reader="method", log=access, device=runtime.device
    )
    log = RunLog(runtime, progress, decode_seconds=lambda: images.decode_seconds)
    with isolated_randomness(seed, runtime.device) as generator:
        network = build_model(model, num_classes=len(images.classes), in_channels=images.shape[0])
        check_model(network, classes=len(images.classes), shape=images.shape)
        if start:
            start.load_into(network)
        network = log.meter.attach(network.to(runtime.device))
        train(
            network, view.part(Part.RETAIN_TRAIN), recipe, stage="train", generator=generator, runtime=runtime, log=log
        )
        log.meter.detach(network)
    validation = view.part(Part.RETAIN_VAL)
    accuracy = None
    if len(validation):
        predicted = predict(network, validation, runtime).argmax(dim=1)
        accuracy = float((predicted == validation.labels).float().mean())
    card = ModelCard(
        model=model,
        classes=images.classes,
        forgotten=tuple(images.classes[k] for k in excluded),
        shape=images.shape,
        mean=images.mean,
        std=images.std,
    )
    summary = {
        "validation_accuracy": accuracy,
        "validation_samples": len(validation),
        "seconds": log.total().seconds,
        "out": str(out),
    }
    write_run(
        out,
        {
            WEIGHTS: checkpoint_bytes(network.cpu().eval(), card),
            "config.json": {
                "kind": "train",
                "model": model,
                "data": data,
                "exclude": list(card.forgotten),
                "init": str(init) if init else None,
                "seed": seed,
                "recipe": recipe.model_dump(),
                "precision": runtime.precision,
                "mean": list(images.mean),
                "std": list(images.std),
                "shape": list(images.shape),
                **summary,
            },
            "cost.json": log.cost(),
            "access.json": access.summary(split),
            "history.json": dict(log.history),
        },
        overwrite=overwrite,
        manifest={
            "inputs": {str(init): start.sha256} if start else {},
            "seed": seed,
            "device": str(runtime.device),
            "command": list(command),
        },
    )
    return summary


def open_model(name: str | None, checkpoint: Checkpoint, *, num_classes: int, in_channels: int) -> nn.Module:
    """Build the model of a checkpoint and load its weights.

    A name recorded in a weights file is trusted only as far as built-in and torchvision models go: an import path
    would run code that the file chose, so it must be given by the caller.

    Raises:
        ModelError: no name is known, or the recorded one is an import path.
        WeightsError: the weights do not fit.
    """
    model = build_model(model_name(name, checkpoint), num_classes=num_classes, in_channels=in_channels)
    checkpoint.load_into(model)
    return model.eval()


def model_name(name: str | None, checkpoint: Checkpoint) -> str:
    """Return the name given, else the one recorded with the weights.

    Raises:
        ModelError: there is neither, or the recorded one is an import path.
    """
    if name is not None:
        return name
    if checkpoint.card is None:
        raise ModelError(f"Expected the name of the architecture, but {checkpoint.path} does not record one; add --model NAME.")
    if is_import_path(checkpoint.card.model):
        raise ModelError(
            f"Expected --model {checkpoint.card.model} to be given: {checkpoint.path} names an import path, "
            "and code is never run on the word of a weights file."
        )
    return checkpoint.card.model


def seeded_factory(name: str, *, num_classes: int, in_channels: int) -> Callable[[], nn.Module]:
    """Return a factory of freshly initialised models of this architecture."""
    return lambda: build_model(name, num_classes=num_classes, in_channels=in_channels)


def fresh_copy(model: nn.Module) -> nn.Module:
    """Return an independent copy."""
    return copy.deepcopy(model)


def labelled(data: ImageData, checkpoint: Checkpoint) -> ImageData:
    """Return the data under the class list stored with the weights, where one is stored."""
    return data.with_classes(checkpoint.card.classes) if checkpoint.card else data
