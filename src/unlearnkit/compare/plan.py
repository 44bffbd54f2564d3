"""Estimates what a suite will cost before any of it is done: trainings, runs of methods and audits, in seconds.

A few training steps of each network are timed on this machine, and all else is counted in samples passed forward and
backward (`compare/passes.py`); what the bank seems to hold costs nothing. It is a plan, not a promise: a factor of two
either way is common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from unlearnkit.compare.cells import SuiteCell
from unlearnkit.compare.held import Entry, entries_of, seeds_held
from unlearnkit.compare.passes import PASSES, passed, unknown
from unlearnkit.compare.speed import Parted, Speed, measured
from unlearnkit.compare.suite_parts import SuiteRequest
from unlearnkit.compare.wording import counted, duration
from unlearnkit.compare.work import FOUND, Place
from unlearnkit.errors import UnlearnkitError
from unlearnkit.methods.retrain import Retrain
from unlearnkit.request import resolve_classes
from unlearnkit.steps.identity import Identity

OPENING = (1.0, 2e-4)  # of a cell: seconds to start, draw and write its report, and to decode an image of the data
AUDIT = {"quick": 3_000, "default": 24_000, "full": 40_000}  # samples trained on, for each model that is observed


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What will be done and about how long it takes.

    Args:
        lines: for a reader.
        todo: cells to run or to audit again.
        barred: those of them that cannot be.
    """

    lines: tuple[str, ...]
    todo: int
    barred: int

    @property
    def hopeless(self) -> bool:
        """Whether there is something to do, and none of it can be done."""
        return 0 < self.todo == self.barred


def plan(
    cells: Sequence[SuiteCell],
    open_cells: Sequence[SuiteCell],
    place: Place,
    jobs: int,
    *,
    again: Sequence[SuiteCell] = (),
) -> Plan:
    """Return what will be done and about how long it takes; nothing is written.

    Args:
        cells: all cells of a suite.
        open_cells: those that are not finished.
        place: where the data and the bank lie, and on what jobs run.
        jobs: how many at once.
        again: finished cells that are to be audited again.

    Raises:
        OutputError: the bank is there and cannot be read.
    """
    lines = [f"{counted(len(cells), 'cell')}, {len(cells) - len(open_cells)} finished, {len(open_cells)} to run"]
    lines += [f"to be audited again: {counted(len(again), 'finished cell')}"] if again else []
    todo = [*open_cells, *again]
    judged = frozenset(cell.name for cell in again)
    total, barred, entries = 0.0, 0, entries_of(place.bank) if todo else []
    runnable: list[SuiteCell] = []
    for setting in dict.fromkeys(cell.setting for cell in todo):
        mine = [cell for cell in todo if cell.setting == setting]
        parts: dict[SuiteRequest, Parted] = {}
        wrong: list[tuple[int, UnlearnkitError]] = []  # how many cells cannot be run, and why
        try:
            speed = measured(setting, place)
            for request in dict.fromkeys(cell.request for cell in mine):
                try:
                    parts[request] = speed.parted(request)
                except UnlearnkitError as error:
                    wrong.append((sum(cell.request == request for cell in mine), error))
        except UnlearnkitError as error:
            wrong.append((len(mine), error))
        name = f"{setting.model} on {setting.data}"
        lines += [f"{name}: {counted(count, 'cell')} cannot be run: {error}" for count, error in wrong]
        barred += sum(count for count, _ in wrong)
        mine = [cell for cell in mine if cell.request in parts]
        if mine:
            seconds = costs(mine, speed, parts, entries, again=judged, searched=_searched(mine, place))
            total += sum(seconds.values())
            lines.append(f"{name}: " + ", ".join(f"{what} {duration(each)}" for what, each in seconds.items()))
            runnable += [cell for cell in mine if cell.name not in judged]
    lines += _unknown(runnable)
    found = Plan(lines=tuple(lines), todo=len(todo), barred=barred)
    if found.hopeless:
        return replace(found, lines=(*lines, "nothing of this can be run"))
    at_once = f", {duration(total / jobs)} with {jobs} at once" if jobs > 1 else ""
    return replace(found, lines=(*lines, f"about {duration(total)} of work{at_once}"))


def costs(
    cells: Sequence[SuiteCell],
    speed: Speed,
    parts: Mapping[SuiteRequest, Parted],
    entries: Sequence[Entry],
    *,
    again: Set[str] = frozenset(),
    searched: Set[str] = frozenset(),
) -> dict[str, float]:
    """Return the seconds of the originals, the retrained models, the runs with their searches, and the audits.

    Args:
        cells: of one setting, that are not finished or to be audited again.
        speed: of the setting.
        parts: the training samples as each request parts them.
        entries: what the bank holds.
        again: names of the cells that are audited again, and not run.
        searched: names of the searches that are done.
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
    new = [cell for cell in cells if cell.name not in again]
    searches = {cell.search: cell for cell in new if cell.search and cell.search not in searched}
    runs = sum((1 + len(cell.request.after)) * _once(cell, speed, parts) for cell in new)
    runs += sum(cell.method.trials * _once(cell, speed, parts) for cell in searches.values())
    judged = {(cell.training_seed, cell.request): cell.retrained + 1 for cell in cells}
    audits = speed.sample_seconds * AUDIT[cells[0].audit] * (len(cells) + sum(judged.values()))
    opening = OPENING[0] + OPENING[1] * speed.samples
    return {
        _banked(len(originals), "original", kept): (len(originals) - kept) * speed.training(speed.samples),
        _banked(wanted, "retrained model", retrained): training,
        **({counted(len(new), "run"): runs + opening * len(new)} if new else {}),
        "audits": audits + opening * (len(cells) - len(new)),
    }


def _without(cell: SuiteCell, speed: Speed) -> Identity:
    """Return what the models retrained without a cell's classes are."""
    classes = speed.images.classes
    gone = tuple(classes[k] for k in sorted(resolve_classes(cell.request.gone, classes)))
    return replace(speed.trained, excluded=gone)


def _once(cell: SuiteCell, speed: Speed, parts: Mapping[SuiteRequest, Parted]) -> float:
    """Return the seconds of one run of a cell's method, for one request."""
    part = parts[cell.request]
    method = cell.method.choice().make()
    if isinstance(method, Retrain):
        return speed.training(sum(part.retained.values()), method.epochs)
    augmented = speed.images.augment == "crop_flip"
    samples = passed(method, part.retained, part.forgotten, len(cell.request.forget), augmented=augmented)
    return speed.sample_seconds * samples


def _searched(cells: Sequence[SuiteCell], place: Place) -> Set[str]:
    """Return the names of the searches of some cells that are done."""
    return {cell.search for cell in cells if cell.search and (place.searches / cell.search / FOUND).is_file()}


def _unknown(cells: Sequence[SuiteCell]) -> list[str]:
    """Return a line on methods of which nothing is known, and one on settings whose cost is not; none without such."""
    methods = {cell.method.shown: cell.method.choice().make() for cell in cells}
    foreign = [name for name, method in methods.items() if method.name not in PASSES and method.name != "retrain"]
    named = {name: unknown(method) for name, method in methods.items() if name not in foreign}
    found = [f"{name} ({', '.join(settings)})" for name, settings in named.items() if settings]
    said = "estimated as the methods come, since the plan does not know what these settings cost"
    lines = [f"{', '.join(foreign)}: estimated as what most methods pass, since nothing is known of it"]
    return [*(lines if foreign else ()), *([f"{', '.join(found)}: {said}"] if found else ())]


def _banked(count: int, what: str, held: int) -> str:
    """Return a number of models, and how many of them need no training."""
    return counted(count, what) + (f" ({held:,} in the bank)" if held else "")
