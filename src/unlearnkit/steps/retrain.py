"""Retrains an original without some classes or rows, with several seeds, into a reference bank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlearnkit.class_names import listed
from unlearnkit.data import AccessLog
from unlearnkit.data.row_names import NamedRows
from unlearnkit.errors import ConfigError, ModelError, WeightsError
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import Checkpoint, read_checkpoint
from unlearnkit.models.names import base_name
from unlearnkit.request import resolve_classes
from unlearnkit.run_dir import WEIGHTS
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.randomness import check_seed, isolated_randomness
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.bank_entry import banked_model
from unlearnkit.steps.identity import Identity, data_fingerprint, identity_of
from unlearnkit.steps.opening import model_name, recorded_data
from unlearnkit.steps.recorded_training import RecordedTraining, recorded_training
from unlearnkit.steps.specs import RetrainSpec, TrainSpec
from unlearnkit.steps.train import training_data


def retrain_run(
    spec: RetrainSpec,
    bank: Path,
    *,
    command: Sequence[str] = (),
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train the reference models that the bank does not hold yet, and return where all of them are.

    Model, data, preprocessing, recipe and start are those of the original; the output keeps its full width. A model is
    trained into its folder in one rename, and is taken from there only where every file is still as it was written.

    Args:
        spec: which models.
        bank: folder of the reference bank; it is made where there is none.
        command: the command line, for the manifests.
        runtime, progress, resume: see `train_run`; without `resume` an interrupted training is begun anew.

    Raises:
        InputError: the original's training is not known or cannot be repeated; nothing has been trained.
        NonFiniteLossError: see `train_run`.
    """
    runtime, progress = runtime or Runtime(), progress or Silent()
    recorded = recorded_training(spec.of)
    seeds = _seeds(spec, recorded)
    training = _training(spec, recorded)
    start = _start(recorded, training, progress)
    identity = _identity(training, recorded, start, progress)
    references = [
        banked_model(
            training,
            replace(identity, seed=seed),
            bank,
            command=command,
            runtime=runtime,
            progress=progress,
            resume=resume,
        )
        for seed in seeds
    ]
    return {
        "bank": str(bank),
        "of": str(recorded.folder),
        "excluded": list(identity.excluded),
        "rows": identity.rows is not None,  # whether they lack some besides these classes
        "references": references,
    }


def _seeds(spec: RetrainSpec, recorded: RecordedTraining) -> range:
    """Return the seeds of the models; the original's, which would begin with its weights, is not among them."""
    if spec.count < 1:
        raise ConfigError(f"Expected at least one model, but got --count {spec.count}; an audit needs three.")
    first = recorded.seed + 1 if spec.seed is None else spec.seed
    seeds = range(first, first + spec.count)
    check_seed(seeds[0])
    check_seed(seeds[-1])
    if recorded.seed in seeds:
        raise ConfigError(
            f"Expected seeds other than the original's, {recorded.seed}, as a reference model must not begin with its "
            f"weights, but got {seeds[0]} to {seeds[-1]}; leave --seed out, or give --seed {recorded.seed + 1}."
        )
    return seeds


def _training(spec: RetrainSpec, recorded: RecordedTraining) -> TrainSpec:
    """Return the original's training without the classes."""
    assert recorded.trained.card is not None, "weights of a recorded training have a card"
    classes = recorded.trained.card.classes
    named = read_checkpoint(spec.of if spec.of.is_file() else spec.of / WEIGHTS)
    gone = named.card.forgotten if named.card else ()
    excluded = {*resolve_classes(spec.exclude, classes), *resolve_classes(gone, classes)}
    rows = named.card.forgotten_rows if named.card else ()
    if not excluded and not rows and not spec.exclude_rows:
        raise ConfigError(
            "Expected a class or rows to leave out, but got none; name them with --exclude CLASS, or with "
            "--exclude-rows FILE."
        )
    return TrainSpec(
        model=base_name(model_name(spec.model, recorded.trained)),
        data=spec.data or recorded_data(recorded.data, recorded.folder / "config.json"),
        exclude=[classes[k] for k in sorted(excluded)],
        init=recorded.init,
        pretrained=recorded.pretrained,
        settings=recorded.settings(),
        inputs=replace(recorded.inputs, storage=spec.storage, workers=spec.workers),
        weights_key=recorded.init_key,
        trust_inputs=recorded.trust_inputs,
        exclude_rows=spec.exclude_rows,
        recorded_rows=rows,
        sharding=recorded.sharding,
        privacy=recorded.privacy,
    )


def _start(recorded: RecordedTraining, training: TrainSpec, progress: Progress) -> Checkpoint | None:
    """Read the weights that training begins with, and refuse those that know a class which is left out."""
    if training.init is None:
        if training.pretrained:
            progress.say(
                "note: as the original, the models begin with published weights, which may know what is left out."
            )
        return None
    start = read_checkpoint(training.init, training.weights_key)
    if start.sha256 != recorded.init_sha256:
        raise WeightsError(
            f"Expected the weights that {recorded.folder} was trained from, but {training.init} has changed since; "
            "train the original again."
        )
    if start.card is None:
        progress.say(f"note: as the original, the models begin with {training.init}, which may know what is left out.")
        return start
    known = [name for name in training.exclude if name in start.card.classes and name not in start.card.forgotten]
    if known:
        raise ModelError(
            f"Expected weights to begin with that never knew {listed(known)}, but {recorded.folder} was trained from "
            f"{training.init}, which does; train that one without it too, then from there with `unlearnkit train "
            "--init`, and give the weights to the audit with --retrained."
        )
    return start


def _check_rows_unknown(rows: Sequence[NamedRows], recorded: RecordedTraining, start: Checkpoint | None) -> None:
    """Refuse weights to begin with that know a row which is left out."""
    if start is None or start.card is None:
        return
    known = {digest for each in rows for digest in each.sha256}
    known -= {digest for each in start.card.forgotten_rows for digest in each.sha256}
    if known:
        raise ModelError(
            f"Expected weights to begin with that never knew the rows to leave out, but {recorded.folder} was trained "
            f"from {start.path}, which knows {len(known)} of them; train that one without them too "
            "(`unlearnkit train --exclude-rows`), then from there with --init."
        )


def _identity(
    training: TrainSpec, recorded: RecordedTraining, start: Checkpoint | None, progress: Progress
) -> Identity:
    """Return the identity of a model with the original's seed, which the caller replaces."""
    opened = training_data(training, start, progress)
    _check_rows_unknown(opened.rows, recorded, start)
    images, split = opened.images, opened.split
    with isolated_randomness(0):  # building draws weights, which do not matter here
        network = build_model(training.architecture, num_classes=len(images.classes), in_channels=images.shape[0])
    data = data_fingerprint(images, split, reader="method", log=AccessLog(images), progress=progress)
    return identity_of(
        recorded,
        images,
        split,
        network,
        model=training.architecture,
        data=data,
        seed=recorded.seed,
        rows=opened.rows,
    )
