"""Trains a model on data, and writes a run folder with its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from unlearnkit.data import AccessLog, DataView, ImageData, PartSamples
from unlearnkit.data.row_names import NamedRows
from unlearnkit.errors import ConfigError, NonFiniteLossError
from unlearnkit.models import build_model, check_model
from unlearnkit.models.checkpoint import Checkpoint, checkpoint_bytes, read_checkpoint, transformers_files
from unlearnkit.models.head import find_head
from unlearnkit.models.open_options import check_open_options
from unlearnkit.models.readme import readme
from unlearnkit.request import ResolvedRequest, resolve_classes
from unlearnkit.run_dir import README, WEIGHTS, Artefacts, write_run
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.runtime.tracking import tracking, tracking_folder
from unlearnkit.split import Part, Split, check_rows, split_resolved
from unlearnkit.steps.checkpoints import TrainingFile, check_unfinished, place_of, subject_of
from unlearnkit.steps.feeding import feeding_line
from unlearnkit.steps.first_look import FirstLook, look_at
from unlearnkit.steps.judging import Examined
from unlearnkit.steps.opening import card_for, classes_origin, load_images
from unlearnkit.steps.output import Output, holding
from unlearnkit.steps.record import manifest_record, train_config
from unlearnkit.steps.remarks import say_remarks
from unlearnkit.steps.rows import SIDES, RowRequest, earlier_rows, found_rows, named_case
from unlearnkit.steps.special_training import Special, check_special, train_special
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.training.from_scratch import initialise, recipe_for
from unlearnkit.training.loop import train
from unlearnkit.training.predict import predict


@holding
def train_run(
    spec: TrainSpec,
    output: Output,
    *,
    seed: int = 0,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    tracker: str | None = None,
    also: Artefacts | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train a model on all classes but the excluded ones, write its run folder, and return its summary.

    `spec.settings` are `NAME=VALUE` changes of the recipe: `TRAIN_RECIPE`, with the data source's own augmentation, and
    the architecture's `default_recipe` where it has one. An architecture with an `initialise(images)` method is given
    retained training images before the first step.

    Classes that the weights to start from record as forgotten are excluded too. The output keeps its full width, so
    that a retrained model can be compared output by output.

    Args:
        spec: what to train.
        output: the run folder.
        seed: seed of every random draw.
        runtime: device, precision, processes.
        progress: where progress is shown.
        tracker: name of an experiment tracker.
        also: further files of the run folder.
        resume: go on with what an interrupted run of the same training has left beside the folder; the weights become
            those of a run that nothing interrupted.

    Raises:
        InputError: something given cannot be used, or what an interrupted run has left is another training's.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    output.check(spec.places())
    if spec.init and spec.pretrained:
        raise ConfigError("Expected --init or --pretrained, but got both; start from one of them.")
    check_special(spec, resume=resume)
    check_unfinished(output.folder, resume=resume)
    runtime, progress = runtime or Runtime(), progress or Silent()
    if resume and runtime.processes.count > 1:
        raise ConfigError("Expected one process for --resume, but a launcher started several; start it without.")
    start = read_checkpoint(spec.init, spec.weights_key) if spec.init else None
    opened = training_data(spec, start, progress)
    images, split, access = opened.images, opened.split, opened.access
    excluded = split.request.already_forgotten
    parts = frozenset({Part.RETAIN_TRAIN, Part.RETAIN_VAL})
    view = DataView(images, split, parts, reader="method", log=access, device=runtime.device)
    with isolated_randomness(seed) as generator, view.seeded_reads(seed):
        network, fresh = _network(spec, images, start)
        note = start.note(network) if start else None
        look = _looked(spec, images, split, network, start, fresh, runtime, progress)
        recipe = recipe_for(network, images.augment).with_settings(spec.settings)
        runtime = runtime.fitted(network, images.shape)
        parameters = recipe.model_dump() | {"model": spec.model}
        with tracking(tracker, tracking_folder(output.folder), parameters, runtime) as track:
            progress.say(feeding_line(images, classes_origin(start, spec.inputs)))
            log = RunLog(runtime, progress, decode_seconds=lambda: images.decode_seconds, track=track)
            network = log.meter.attach(runtime.weights(network))
            retained = view.part(Part.RETAIN_TRAIN)
            whole = spec.sharding is None and spec.privacy is None
            if whole and start is None and not spec.pretrained:
                initialise(network, retained, generator)
            subject = partial(
                subject_of,
                spec,
                view,
                images,
                network,
                recipe,
                runtime,
                start=start,
                exclude=tuple(images.classes[k] for k in excluded),
                seed=seed,
            )
            unfinished = TrainingFile(
                place_of(output.folder), subject, resume=resume, access=access, log=log, progress=progress
            )
            special = Special(model=network)
            try:
                with log.counting():
                    if whole:
                        train(
                            network,
                            retained,
                            recipe,
                            stage="train",
                            generator=generator,
                            runtime=runtime,
                            log=log,
                            checkpoints=unfinished if runtime.processes.count == 1 else None,
                        )
                    else:
                        special = train_special(
                            spec, view, images, network, recipe, runtime, log, generator=generator, seed=seed
                        )
            except NonFiniteLossError:  # it would become so again
                unfinished.discard()
                raise
            network = special.model
            log.meter.detach(network)
        accuracy = _accuracy(network, view.part(Part.RETAIN_VAL), runtime)
    total = log.join(log.total())
    if look is not None:
        access.include(look.access)
    access.join(runtime.processes)
    card = replace(
        card_for(spec.architecture, images, forgotten=excluded, rows=opened.rows),
        sharded=special.sharded,
        private=special.private,
    )
    summary = {
        "validation_accuracy": accuracy,
        "validation_samples": len(view.part(Part.RETAIN_VAL)),
        "seconds": total.seconds,
        **({} if total.operations is None else {"operations": total.operations}),
        "out": str(output.folder),
        **({"weights_note": note} if note else {}),
        **({"sharded": special.sharded} if special.sharded else {}),
        **({"private": special.private} if special.private else {}),
    }
    if not runtime.processes.is_main:
        return summary
    found = look.as_record(images.classes) if look is not None else None
    facts = {"trust_inputs": spec.trust_inputs, "first_look": found, "fresh": fresh, "notes": log.notes, **summary}
    write_run(
        output.folder,
        {
            WEIGHTS: checkpoint_bytes(network.to("cpu", torch.float32).eval(), card),
            **transformers_files(network, card),
            README: readme(card, kind="train", method=None, seed=seed, accuracy=accuracy),
            "config.json": train_config(spec, images, card, recipe, runtime, start=start, seed=seed, facts=facts),
            "cost.json": log.cost(total),
            "access.json": access.summary(split),
            "history.json": dict(log.history),
            **special.files,
            **(also or {}),
        },
        overwrite=output.overwrite,
        manifest=manifest_record(output, [start] if start else [], seed=seed, runtime=runtime),
    )
    unfinished.discard()
    return summary


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The data of a training.

    Args:
        images: all of it.
        split: its parts; what is left out counts as forgotten earlier.
        rows: single rows among that, an entry for each stored set that has any.
        access: what was read to name them.
    """

    images: ImageData
    split: Split
    rows: tuple[NamedRows, ...]
    access: AccessLog


def open_training_data(spec: TrainSpec, start: Checkpoint | None, progress: Progress | None) -> tuple[ImageData, Split]:
    """Open the data to train on, and its parts; see `training_data`."""
    opened = training_data(spec, start, progress)
    return opened.images, opened.split


def training_data(spec: TrainSpec, start: Checkpoint | None, progress: Progress | None) -> TrainingData:
    """Open the data to train on, and split off what is excluded and what is held out; one retained image is read.

    Args:
        spec: what to train.
        start: the weights to start from.
        progress: where the remarks on the data are shown.

    Raises:
        InputError: the data cannot be read, or has not the classes.
    """
    images = load_images(spec.data, start, spec.inputs, model=spec.model, pretrained=spec.pretrained)
    say_remarks(images, progress)
    gone = start.card.forgotten if start and start.card else ()
    excluded = tuple(sorted({*resolve_classes(spec.exclude, images.classes), *resolve_classes(gone, images.classes)}))
    access = AccessLog(images)
    chosen = found_rows(RowRequest(choice=spec.exclude_rows, duplicates=False), start, images, access, progress)
    recorded = earlier_rows(spec.recorded_rows, images, access, progress)
    every = [*recorded, *chosen.earlier, *chosen.single, *(rows for _, both in chosen.subclasses for rows in both)]
    left_out = {side: sorted({n for rows in every if rows.side == side for n in rows.numbers}) for side in SIDES}
    request = ResolvedRequest(
        forget=(),
        already_forgotten=excluded,
        classes=images.classes,
        already_forgotten_rows=tuple(left_out["train"]),
        already_forgotten_test_rows=tuple(left_out["test"]),
    )
    check_rows(request, images)
    split = split_resolved(request, images)
    images.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
    wanted = RowRequest(choice=spec.exclude_rows, duplicates=False)
    named = named_case(replace(chosen, earlier=(*recorded, *chosen.earlier)), wanted, images, split, access, progress)
    return TrainingData(images=images, split=split, rows=named.forgotten(), access=access)


def _network(spec: TrainSpec, images: ImageData, start: Checkpoint | None) -> tuple[nn.Module, list[str]]:
    """Build the network and load the weights that it starts from; also return the names of the weights drawn anew."""
    classes = len(images.classes)
    network = build_model(spec.model, num_classes=classes, in_channels=images.shape[0], pretrained=spec.pretrained)
    if start is not None and start.card is None:
        check_open_options(spec.model, start, network)
    check_model(network, classes=classes, shape=images.shape)
    if start is None:
        return network, []
    head = None if start.card else find_head(network, num_classes=classes, shape=images.shape)
    return network, list(start.load_into(network, fresh_head=head))


def _looked(
    spec: TrainSpec,
    images: ImageData,
    split: Split,
    network: nn.Module,
    start: Checkpoint | None,
    fresh: Sequence[str],
    runtime: Runtime,
    progress: Progress,
) -> FirstLook | None:
    """Take the first look at the weights to start from; None where there are none, or their head is drawn anew."""
    if start is None or fresh:
        return None
    subject = Examined(
        model=network,
        checkpoint=start,
        architecture=spec.model,
        data=images,
        split=split,
        source=spec.data,
        inputs=spec.inputs,
        trusted=spec.trust_inputs,
        learns=True,
    )
    return look_at(subject, runtime=runtime, progress=progress)


def _accuracy(network: nn.Module, validation: PartSamples, runtime: Runtime) -> float | None:
    if not len(validation):
        return None
    predicted = predict(network, validation, runtime).argmax(dim=1)
    return float((predicted == validation.labels).float().mean())
