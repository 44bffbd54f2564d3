"""The step behind `train`: data and a model name -> a run folder with trained weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearnkit.data import AccessLog, DataView
from unlearnkit.models import build_model, check_model
from unlearnkit.models.checkpoint import checkpoint_bytes, read_checkpoint
from unlearnkit.request import ResolvedRequest, resolve_classes
from unlearnkit.run_dir import WEIGHTS, check_output, write_run
from unlearnkit.runlog import Progress, RunLog, Silent
from unlearnkit.runtime import Runtime, isolated_randomness
from unlearnkit.split import Part, split_resolved
from unlearnkit.steps.common import Preprocessing, card_for, load_images
from unlearnkit.training import Recipe, predict, train

TRAIN_RECIPE = Recipe(epochs=10, batch_size=128, lr=0.1, weight_decay=5e-4, schedule="one_cycle")


def train_run(
    *,
    model: str,
    data: str,
    out: Path,
    exclude: Sequence[str] = (),
    init: Path | None = None,
    seed: int = 0,
    settings: Sequence[str] = (),
    preprocessing: Preprocessing | None = None,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a model on all classes but the excluded ones, and write its run folder; returns its summary.

    `settings` are `NAME=VALUE` changes of the recipe (`TRAIN_RECIPE`, with the data source's own augmentation).

    Classes that the weights to start from record as forgotten are excluded too. The output keeps its full width, so
    that a retrained model can be compared output by output.

    Raises:
        InputError: something given cannot be used.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    check_output(out, overwrite=overwrite, inputs=(init,) if init else ())
    runtime, progress = runtime or Runtime(), progress or Silent()
    start = read_checkpoint(init) if init else None
    images = load_images(data, preprocessing, start)
    recipe = Recipe(**{**TRAIN_RECIPE.model_dump(), "augment": images.augment}).with_settings(settings)
    gone = start.card.forgotten if start and start.card else ()
    excluded = tuple(sorted({*resolve_classes(exclude, images.classes), *resolve_classes(gone, images.classes)}))
    request = ResolvedRequest(forget=(), already_forgotten=excluded, classes=images.classes)
    split = split_resolved(request, images)
    images.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
    access = AccessLog(images)
    view = DataView(
        images,
        split,
        frozenset({Part.RETAIN_TRAIN, Part.RETAIN_VAL}),
        reader="method",
        log=access,
        device=runtime.device,
    )
    log = RunLog(runtime, progress, decode_seconds=lambda: images.decode_seconds)
    with isolated_randomness(seed) as generator:
        network = build_model(model, num_classes=len(images.classes), in_channels=images.shape[0])
        check_model(network, classes=len(images.classes), shape=images.shape)
        if start:
            start.load_into(network)
        network = log.meter.attach(network.to(runtime.device))
        train(
            network,
            view.part(Part.RETAIN_TRAIN),
            recipe,
            stage="train",
            generator=generator,
            runtime=runtime,
            log=log,
        )
        log.meter.detach(network)
    validation = view.part(Part.RETAIN_VAL)
    accuracy = None
    if len(validation):
        predicted = predict(network, validation, runtime).argmax(dim=1)
        accuracy = float((predicted == validation.labels).float().mean())
    card = card_for(model, images, forgotten=excluded)
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
                "data": images.source,
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
