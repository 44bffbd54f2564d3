"""Keeps an interrupted training in one file beside its run folder, and refuses to go on with another one.

The file is there from the first save until the run folder is. It holds tensors, and JSON in its header; nothing in it
is unpickled or run. A training goes on only where everything that decides its weights is as it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import nn

from unlearnkit.data import AccessLog, DataView, ImageData
from unlearnkit.disk.artefacts import Artefact, Count, Number
from unlearnkit.disk.files import replace_file, sync_folder
from unlearnkit.disk.json_text import parse_json
from unlearnkit.errors import OutputError, WeightsError, reason
from unlearnkit.models.checkpoint import Checkpoint
from unlearnkit.models.reading import read_state
from unlearnkit.run_dir import versions
from unlearnkit.runtime.progress import Progress
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.steps.identity import structure_of
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.training.recipe import Recipe
from unlearnkit.training.resuming import Saved

SECONDS = 30.0  # of training between two saves, at least: that much and the running epoch is lost at most
LOOKED_AT = 1000  # images, evenly spread, of which the pixels tell whether the data are the same
KEY = "unlearnkit-training"  # of the file's metadata
Subject = Mapping[str, Any]  # all that decides the weights, by name
HASHED = {
    "data": "other images or labels",
    "layers": "another structure of the model",
    "init": "other weights to start from",
    "count_operations": "no count of operations so far",
}


class NumbersRecord(Artefact):
    """What a training has cost so far, and the size of its micro-batches; 0: whole batches."""

    seconds: Number
    samples_forward: Count
    samples_backward: Count
    peak_memory_bytes: Count
    micro_batch: Count
    operations: Count | None = None  # None: nobody counted


class CheckpointRecord(Artefact):
    """The JSON of a checkpoint: what it is of, how far it is, and the numbers of its state."""

    subject: dict[str, Any]
    epochs: Count
    numbers: NumbersRecord


def place_of(folder: Path) -> Path:
    """Return where the interrupted training of a run folder is kept."""
    return folder.with_name(f"{folder.name}.unfinished.safetensors")


def check_unfinished(folder: Path, *, resume: bool) -> None:
    """Refuse to train over an interrupted training that nobody spoke of.

    Raises:
        OutputError: there is one, and `resume` is not said.
    """
    path = place_of(folder)
    if not resume and path.exists():
        raise OutputError(
            f"Expected --resume, as {path} holds an interrupted training of {folder}; add --resume to go on with it, "
            "or delete that file to start anew."
        )


def subject_of(
    spec: TrainSpec,
    view: DataView,
    images: ImageData,
    network: nn.Module,
    recipe: Recipe,
    runtime: Runtime,
    *,
    start: Checkpoint | None,
    exclude: tuple[str, ...],
    seed: int,
) -> Subject:
    """Return all that decides the weights of a training to the last bit, by the name that a user knows it by.

    The data are told by all labels and the stored pixels of 1,000 training images; where they lie does not matter.
    """
    with view.seeded_reads(0):
        retained = view.part(Part.RETAIN_TRAIN)
        digest = hashlib.sha256(retained.labels.numpy().tobytes())
        spread = torch.linspace(0, len(retained) - 1, min(LOOKED_AT, len(retained))).long().unique()
        for positions in spread.split(100):
            digest.update(retained.pixels(positions).cpu().contiguous().numpy().tobytes())
    made_with = {key: value for key, value in versions().items() if key != "platform"}
    device = torch.cuda.get_device_name(runtime.device) if runtime.device.type == "cuda" else str(runtime.device)
    return {
        "seed": seed,
        "model": spec.model,
        **{f"recipe.{key}": value for key, value in recipe.model_dump(mode="json").items()},
        "exclude": list(exclude),
        **({"exclude_rows": list(left_out)} if (left_out := view.split.request.already_forgotten_rows) else {}),
        "classes": list(images.classes),
        "images": {"shape": list(images.shape), **images.preprocessing.as_record()},
        "data": digest.hexdigest(),
        "pretrained": spec.pretrained,
        "init": start.sha256 if start else None,
        **runtime.described(),
        "device": device,
        "micro_batch": runtime.micro_batch_size,
        "processor": torch.backends.cpu.get_cpu_capability(),
        **made_with,
        "layers": structure_of(network),
    }


class TrainingFile:
    """The `Checkpoints` of one training in one file.

    Args:
        path: the file.
        subject: works out what the training is, when that is first needed.
        resume: whether to go on from what is there.
        access: the reads, which are counted on.
        log: where it is noted that the run was resumed.
        progress: where the user is told.
    """

    def __init__(
        self,
        path: Path,
        subject: Callable[[], Subject],
        *,
        resume: bool,
        access: AccessLog,
        log: RunLog,
        progress: Progress,
    ) -> None:
        self._path, self._work_out, self._resume = path, subject, resume
        self._access, self._log, self._progress = access, log, progress
        self._subject: Subject | None = None
        self._last = time.monotonic()

    def load(self) -> Saved | None:
        """Return the state to go on from.

        Raises:
            OutputError: the file is damaged, or of another training, whose first difference is named.
        """
        if not self._resume:
            return None
        if not self._path.exists():
            self._progress.say(f"note: there is no {self._path} to go on from; the training starts anew")
            return None
        try:
            found = read_state(self._path)
            record = CheckpointRecord.model_validate(parse_json(found.metadata[KEY]))
            _check_subject(self._path, record.subject, self._known())
            if not 1 <= record.epochs <= self._known()["recipe.epochs"]:
                raise ValueError(f"{record.epochs} epochs are done")
            counts = {name: found.state.pop(name) for name in list(found.state) if name.startswith("access.")}
            self._access.take_over(counts)
        except (WeightsError, ValueError, KeyError) as error:  # pydantic's is a ValueError
            raise OutputError(
                f"Expected an interrupted training in {self._path}, but it is damaged or was not made by unlearnkit "
                f"({_first(error)}); delete it to start anew."
            ) from error
        self._log.notes["resumed_after_epoch"] = record.epochs
        self._progress.say(f"going on after epoch {record.epochs} of {self._path}")
        return Saved(epochs=record.epochs, tensors=found.state, numbers=record.numbers.model_dump(exclude_none=True))

    def save(self, epochs: int, take: Callable[[], Saved]) -> None:
        """Write the state in one step where the last save is long enough ago; a full disk is said and stops nothing."""
        if time.monotonic() - self._last < SECONDS:
            return
        saved = take()
        record = {"subject": self._known(), "epochs": epochs, "numbers": saved.numbers}
        tensors = {**saved.tensors, **{name: mask.clone() for name, mask in self._access.marks().items()}}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._path, save(tensors, metadata={KEY: json.dumps(record, allow_nan=False)}))
            sync_folder(self._path.parent)
        except OSError as error:
            self._progress.say(f"note: {self._path} cannot be written ({error.strerror or error}); training goes on")
        self._last = time.monotonic()

    def discard(self) -> None:
        """Delete the file: the run is finished, or nothing could come of it."""
        self._path.unlink(missing_ok=True)

    def _known(self) -> Subject:
        if self._subject is None:
            subject: Subject = json.loads(json.dumps(self._work_out(), allow_nan=False))
            self._subject = subject
        return self._subject


def _check_subject(path: Path, found: Subject, wanted: Subject) -> None:
    """Refuse a checkpoint of another training.

    Raises:
        OutputError: the two differ; the first difference is named.
    """
    for name, value in wanted.items():
        if name in found and found[name] == value:
            continue
        what = HASHED.get(name) or f"{name} {_shown(found.get(name))} where this command has {_shown(value)}"
        raise OutputError(
            f"Expected {path} to hold an interrupted training of this command, but it was made with {what}; run the "
            "command as it was, or delete the file to start anew."
        )


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"it has no {error}" if isinstance(error, KeyError) else reason(error)
