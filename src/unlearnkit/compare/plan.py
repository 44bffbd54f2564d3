"""Estimates what a suite will cost before any of it is done: trainings, runs of methods and audits, in seconds.

A few training steps of each network are timed on this machine. What methods and audits take besides is counted in
samples passed forward and backward, from what they took in the comparisons of docs/comparison.md. It is a plan, not a
promise: a factor of two either way is common.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from unlearnkit.compare.cells import SuiteCell
from unlearnkit.compare.suite_parts import SuiteSetting
from unlearnkit.compare.work import Place, training
from unlearnkit.errors import UnlearnkitError
from unlearnkit.models import build_model
from unlearnkit.request import ForgetRequest, resolve_classes
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.steps.train import open_training_data
from unlearnkit.training.from_scratch import recipe_for

STEPS, STEP_IMAGES = 4, 64  # that are timed, and images in the batch of each
PASSES = {  # of a method over all retained training samples, forward and backward, where it reads a fifth of them
    "unsir": 3.9, "retrain": 0.0, "original": 0.0, "head-mask": 0.0, "erase": 0.05, "finetune": 0.4, "neggrad": 0.8,
    "neggrad+": 2.9, "random-label": 2.6, "l1-sparse": 1.9, "fisher": 0.2, "ssd": 0.2, "scrub": 1.6, "salun": 3.4,
    "bad-teacher": 2.2, "boundary-shrink": 0.4, "delete": 3.1,
}  # fmt: skip
USUAL = 2.0  # of a method that is not listed
FIFTH, FEWEST = 0.2, 100  # of a class: what methods read of it by default, and the fewest samples
OPENING = (1.0, 2e-4)  # of a cell: seconds to start, draw and write its report, and to decode an image of the data
AUDIT = {"quick": 3_000, "default": 24_000, "full": 40_000}  # samples trained on, for each model that is observed


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What the plan knows of a setting: seconds a sample, samples by class, classes and epochs."""

    sample_seconds: float
    counts: dict[int, int]
    classes: tuple[str, ...]
    epochs: int

    def seconds(self, without: Sequence[str | int] = ()) -> float:
        """Return the seconds of a training without some classes."""
        gone = set(resolve_classes(without, self.classes))
        kept = sum(count for label, count in self.counts.items() if label not in gone)
        return self.sample_seconds * kept * self.epochs

    def passes(self, count: float) -> float:
        """Return the seconds of a number of passes over the training data."""
        return self.sample_seconds * count * sum(self.counts.values())


def plan(cells: Sequence[SuiteCell], open_cells: Sequence[SuiteCell], place: Place, jobs: int) -> list[str]:
    """Return what will be done and about how long it takes, line by line.

    Args:
        cells: all cells of a suite.
        open_cells: those that are not finished.
        place: where the data lies, and on what jobs run.
        jobs: how many at once.
    """
    lines = [
        f"{counted(len(cells), 'cell')}, {len(cells) - len(open_cells)} finished, {len(open_cells)} to run",
    ]
    total = 0.0
    for setting in dict.fromkeys(cell.setting for cell in open_cells):
        mine = [cell for cell in open_cells if cell.setting == setting]
        name = f"{setting.model} on {setting.data}"
        try:
            speed = measured(setting, place)
        except UnlearnkitError as error:
            lines.append(f"{name}: {counted(len(mine), 'cell')} cannot be run: {error}")
            continue
        for request in dict.fromkeys(cell.request for cell in mine):
            try:
                if request.gone:
                    ForgetRequest(classes=request.gone).resolve(speed.classes)
            except UnlearnkitError as error:
                wrong = [cell for cell in mine if cell.request == request]
                lines.append(f"{name}: {counted(len(wrong), 'cell')} cannot be run: {error}")
                mine = [cell for cell in mine if cell.request != request]
        if not mine:
            continue
        seconds = _costs(mine, speed)
        total += sum(seconds.values())
        lines.append(f"{name}: " + ", ".join(f"{what} {_duration(each)}" for what, each in seconds.items()))
    if open_cells and place.bank.is_dir():
        lines.append(
            f"whatever of them the bank in {place.bank} holds already is taken from there, and not trained again"
        )
    lines.append(
        f"about {_duration(total)} of work" + (f", {_duration(total / jobs)} with {jobs} at once" if jobs > 1 else "")
    )
    return lines


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
    )


def _costs(cells: Sequence[SuiteCell], speed: Speed) -> dict[str, float]:
    """Return the seconds of the originals, the retrained models, the methods and the audits."""
    originals = {cell.original.name for cell in cells}
    references = {cell.references.name: cell.references for cell in cells}
    judged = {(cell.original.name, cell.request): cell.retrained + 1 for cell in cells}
    audit = speed.sample_seconds * AUDIT[cells[0].audit]
    opening = OPENING[0] + OPENING[1] * sum(speed.counts.values())
    return {
        counted(len(originals), "original"): len(originals) * speed.seconds(),
        counted(sum(key.count for key in references.values()), "retrained model"): sum(
            key.count * speed.seconds(key.excluded) for key in references.values()
        ),
        counted(len(cells), "run"): sum(_run(cell, speed) for cell in cells) + opening * len(cells),
        "audits": audit * (len(cells) + sum(judged.values())),
    }


def _run(cell: SuiteCell, speed: Speed) -> float:
    """Return the seconds of one run of a method, its share of a search included."""
    once = speed.seconds(cell.request.gone) if cell.method.name == "retrain" else speed.passes(_passes(cell, speed))
    return once * (1 + len(cell.request.after)) + once * cell.method.trials


def _passes(cell: SuiteCell, speed: Speed) -> float:
    """Return the passes over all samples, by the share of each class that the method reads."""
    size = max(1.0, sum(speed.counts.values()) / len(speed.classes))
    given = cell.method.choice().make().model_dump().get("retain_per_class")
    share = min(1.0, (given or max(FEWEST, FIFTH * size)) / size)
    return PASSES.get(cell.method.name, USUAL) * share / FIFTH


def _clock(runtime: Runtime) -> float:
    """Return seconds of this process on the CPU, which other programs do not lengthen; else seconds of the clock."""
    if runtime.device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize() if runtime.device.type == "cuda" else None
    return time.perf_counter()


def counted(count: int, what: str) -> str:
    """Return a number of things, as one model or two models."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _duration(seconds: float) -> str:
    """Return a length of time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
