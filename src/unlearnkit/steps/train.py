"""The step behind `train`: data and a model name -> a run folder with trained weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unlearnkit.data import AccessLog, DataView, ImageData, PartSamples
from unlearnkit.errors import ConfigError
from unlearnkit.models import build_model, check_model
from unlearnkit.models.checkpoint import Checkpoint, checkpoint_bytes, read_checkpoint
from unlearnkit.models.head import find_head
from unlearnkit.models.readme import readme
from unlearnkit.request import ResolvedRequest, resolve_classes
from unlearnkit.run_dir import README, WEIGHTS, check_output, write_run
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.runtime.tracking import tracking, tracking_folder
from unlearnkit.split import Part, split_resolved
from unlearnkit.steps.opening import Preprocessing, card_for, load_images
from unlearnkit.training.from_scratch import initialise, recipe_for
from unlearnkit.training.loop import train
from unlearnkit.training.predict import predict


def train_run(
    *,
    model: str,
    data: str,
    out: Path,
    exclude: Sequence[str] = (),
    init: Path | None = None,
    pretrained: bool = False,
    seed: int = 0,
    settings: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    tracker: str | None = None,
    overwrite: bool = False,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a model on all classes but the excluded ones, and write its run folder; returns its summary.

    `settings` are `NAME=VALUE` changes of the recipe: `TRAIN_RECIPE`, with the data source's own augmentation, and the
    architecture's `default_recipe` where it has one. An architecture with an `initialise(images)` method is given
    retained training images before the first step.

    Classes that the weights to start from record as forgotten are excluded too. The output keeps its full width, so
    that a retrained model can be compared output by output.

    Args:
        model: name of the architecture.
        data: data source.
        out: folder to write.
        exclude: classes to leave out.
        init: weights to start from; a head of another width is drawn anew, everything else must fit.
        pretrained: start from the architecture's published weights (timm, torchvision).
        seed: seed of every random draw.
        settings: changes of the recipe.
        preprocessing: how images are read and fed to the model.
        runtime: device, precision, processes.
        progress: where progress is shown.
        tracker: name of an experiment tracker.
        overwrite: replace an earlier run folder.
        command: the command line, for the manifest.

    Raises:
        InputError: something given cannot be used.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    check_output(out, overwrite=overwrite, inputs=(init,) if init else ())
    if init and pretrained:
        raise ConfigError("Expected --init or --pretrained, but got both; start from one of them.")
    runtime, progress = runtime or Runtime(), progress or Silent()
    start = read_checkpoint(init) if init else None
    images = load_images(data, preprocessing, start, model=model, pretrained=pretrained)
    gone = start.card.forgotten if start and start.card else ()
    excluded = tuple(sorted({*resolve_classes(exclude, images.classes), *resolve_classes(gone, images.classes)}))
    request = ResolvedRequest(forget=(), already_forgotten=excluded, classes=images.classes)
    split = split_resolved(request, images)
    images.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
    access = AccessLog(images)
    parts = frozenset({Part.RETAIN_TRAIN, Part.RETAIN_VAL})
    view = DataView(images, split, parts, reader="method", log=access, device=runtime.device)
    with isolated_randomness(seed) as generator, view.seeded_reads(seed):
        network, fresh = _network(model, images, start, pretrained)
        recipe = recipe_for(network, images.augment).with_settings(settings)
        runtime = runtime.fitted(network, images.shape)
        with tracking(tracker, tracking_folder(out), recipe.model_dump() | {"model": model}, runtime) as track:
            log = RunLog(runtime, progress, decode_seconds=lambda: images.decode_seconds, track=track)
            network = log.meter.attach(runtime.weights(network))
            retained = view.part(Part.RETAIN_TRAIN)
            if start is None and not pretrained:
                initialise(network, retained, generator)
            train(network, retained, recipe, stage="train", generator=generator, runtime=runtime, log=log)
            log.meter.detach(network)
        accuracy = _accuracy(network, view.part(Part.RETAIN_VAL), runtime)
    total = log.join(log.total())
    access.join(runtime.processes)
    card = card_for(model, images, forgotten=excluded)
    summary = {
        "validation_accuracy": accuracy,
        "validation_samples": len(view.part(Part.RETAIN_VAL)),
        "seconds": total.seconds,
        "out": str(out),
    }
    if not runtime.processes.is_main:
        return summary
    write_run(
        out,
        {
            WEIGHTS: checkpoint_bytes(network.to("cpu", torch.float32).eval(), card),
            README: readme(card, kind="train", method=None, seed=seed, accuracy=accuracy),
            "config.json": {
                "kind": "train",
                "model": model,
                "data": images.source,
                "exclude": list(card.forgotten),
                "init": str(init) if init else None,
                "pretrained": pretrained,
                "fresh": fresh,
                "seed": seed,
                "recipe": recipe.model_dump(),
                "precision": runtime.precision,
                "runtime": runtime.described(),
                "notes": log.notes,
                "waited_for_data_seconds": images.wait_seconds,
                "image_size": images.image_size,
                "mean": list(images.mean),
                "std": list(images.std),
                "shape": list(images.shape),
                **summary,
            },
            "cost.json": log.cost(total),
            "access.json": access.summary(split),
            "history.json": dict(log.history),
        },
        overwrite=overwrite,
        manifest={
            "inputs": {str(start.path.absolute()): start.sha256} if start else {},
            "seed": seed,
            "device": str(runtime.device),
            "command": list(command),
        },
    )
    return summary


def _network(model: str, images: ImageData, start: Checkpoint | None, pretrained: bool) -> tuple[nn.Module, list[str]]:
    """Build the network and load what it starts from; also returns the keys that were drawn anew all the same."""
    classes = len(images.classes)
    network = build_model(model, num_classes=classes, in_channels=images.shape[0], pretrained=pretrained)
    check_model(network, classes=classes, shape=images.shape)
    if start is None:
        return network, []
    head = None if start.card else find_head(network, num_classes=classes, shape=images.shape)
    return network, list(start.load_into(network, fresh_head=head))


def _accuracy(network: nn.Module, validation: PartSamples, runtime: Runtime) -> float | None:
    if not len(validation):
        return None
    predicted = predict(network, validation, runtime).argmax(dim=1)
    return float((predicted == validation.labels).float().mean())
