"""Estimates what a suite will cost before any of it is done: trainings, runs of methods and audits, in seconds.

A few training steps of each network are timed on this machine, and all else is counted in samples passed forward and
backward (`compare/passes.py`); what the bank seems to hold costs nothing. It is a plan, not a promise: a factor of two
either way is common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from unlearnkit.compare.cells import SuiteCell
from unlearnkit.compare.held import Entry, entries_of, seeds_held
from unlearnkit.compare.passes import PASSES, USUAL
from unlearnkit.compare.speed import Parted, Speed, measured
from unlearnkit.compare.suite_parts import SuiteRequest
from unlearnkit.compare.wording import counted, duration
from unlearnkit.compare.work import Place
from unlearnkit.errors import UnlearnkitError
from unlearnkit.request import resolve_classes
from unlearnkit.steps.identity import Identity

OPENING = (1.0, 2e-4)  # of a cell: seconds to start, draw and write its report, and to decode an image of the data
AUDIT = {"quick": 3_000, "default": 24_000, "full": 40_000}  # samples trained on, for each model that is observed


def plan(cells: Sequence[SuiteCell], open_cells: Sequence[SuiteCell], place: Place, jobs: int) -> list[str]:
    """Return what will be done and about how long it takes, line by line.

    Args:
        cells: all cells of a suite.
        open_cells: those that are not finished.
        place: where the data and the bank lie, and on what jobs run.
        jobs: how many at once.

    Raises:
        OutputError: the bank is there and cannot be read.
    """
    lines = [
        f"{counted(len(cells), 'cell')}, {len(cells) - len(open_cells)} finished, {len(open_cells)} to run",
    ]
    total, entries = 0.0, entries_of(place.bank) if open_cells else []
    for setting in dict.fromkeys(cell.setting for cell in open_cells):
        mine = [cell for cell in open_cells if cell.setting == setting]
        name = f"{setting.model} on {setting.data}"
        try:
            speed = measured(setting, place)
        except UnlearnkitError as error:
            lines.append(f"{name}: {counted(len(mine), 'cell')} cannot be run: {error}")
            continue
        parts: dict[SuiteRequest, Parted] = {}
        for request in dict.fromkeys(cell.request for cell in mine):
            try:
                parts[request] = speed.parted(request)
            except UnlearnkitError as error:
                wrong = [cell for cell in mine if cell.request == request]
                lines.append(f"{name}: {counted(len(wrong), 'cell')} cannot be run: {error}")
        mine = [cell for cell in mine if cell.request in parts]
        if not mine:
            continue
        seconds = costs(mine, speed, parts, entries)
        total += sum(seconds.values())
        lines.append(f"{name}: " + ", ".join(f"{what} {duration(each)}" for what, each in seconds.items()))
    lines.append(
        f"about {duration(total)} of work" + (f", {duration(total / jobs)} with {jobs} at once" if jobs > 1 else "")
    )
    return lines


def costs(
    cells: Sequence[SuiteCell], speed: Speed, parts: Mapping[SuiteRequest, Parted], entries: Sequence[Entry]
) -> dict[str, float]:
    """Return the seconds of the originals, the retrained models, the runs with their searches, and the audits.

    Args:
        cells: that are not finished, of one setting.
        speed: of the setting.
        parts: the training samples as each request parts them.
        entries: what the bank holds.
    """
    originals = {cell.training_seed for cell in cells}
    kept = seeds_held(entries, speed.trained, speed.source, originals)
    references = {cell.references.name: cell for cell in cells}
    wanted, retrained, training = 0, 0, 0.0
    for cell in references.values():
        known = () if cell.references.rows else entries  # of rows the images would have to be read
        found = seeds_held(known, _without(cell, speed), speed.source, cell.references.models.values())
        wanted, retrained = wanted + cell.retrained, retrained + found
        training += (cell.retrained - found) * speed.training(sum(parts[cell.request].retained.values()))
    searched = {cell.search: cell.method.trials * _once(cell, speed, parts) for cell in cells if cell.search}
    runs = sum((1 + len(cell.request.after)) * _once(cell, speed, parts) for cell in cells) + sum(searched.values())
    judged = {(cell.training_seed, cell.request): cell.retrained + 1 for cell in cells}
    opening = OPENING[0] + OPENING[1] * speed.samples
    return {
        _banked(len(originals), "original", kept): (len(originals) - kept) * speed.training(speed.samples),
        _banked(wanted, "retrained model", retrained): training,
        counted(len(cells), "run"): runs + opening * len(cells),
        "audits": speed.sample_seconds * AUDIT[cells[0].audit] * (len(cells) + sum(judged.values())),
    }


def _without(cell: SuiteCell, speed: Speed) -> Identity:
    """Return what the models retrained without a cell's classes are."""
    classes = speed.images.classes
    gone = tuple(classes[k] for k in sorted(resolve_classes(cell.request.gone, classes)))
    return replace(speed.trained, excluded=gone)


def _once(cell: SuiteCell, speed: Speed, parts: Mapping[SuiteRequest, Parted]) -> float:
    """Return the seconds of one run of a cell's method, for one request."""
    part = parts[cell.request]
    if cell.method.name == "retrain":
        return speed.training(sum(part.retained.values()))
    per_class = cell.method.choice().make().model_dump().get("retain_per_class")
    passes = PASSES.get(cell.method.name, USUAL)
    return speed.sample_seconds * passes.of(part.retained, part.forgotten, per_class)


def _banked(count: int, what: str, held: int) -> str:
    """Return a number of models, and how many of them need no training."""
    return counted(count, what) + (f" ({held:,} in the bank)" if held else "")
