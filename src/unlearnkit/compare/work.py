"""Does the work of a suite, one job at a time, wherever a job is sent: an original, retrained models, a search, a cell.

A job takes plain values and paths, so it can run in another process or on another machine that sees the same folders.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unlearnkit.audit import Evidence
from unlearnkit.compare.cells import OriginalKey, ReferenceKey, SuiteCell
from unlearnkit.compare.rows import row_of
from unlearnkit.compare.subset import COPIES, first_rows, place_of
from unlearnkit.compare.suite_parts import SuiteSetting
from unlearnkit.data.choosing_rows import NO_CHOICE, RowChoice
from unlearnkit.disk.files import check_space, read_regular, replace_file
from unlearnkit.disk.json_text import parse_json
from unlearnkit.errors import ConfigError, UnlearnkitError, reason
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.methods.retrain import Retrain
from unlearnkit.run_dir import WEIGHTS, encoded, read_json
from unlearnkit.runtime.orphans import end_with
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.audit import audit_folder
from unlearnkit.steps.auditing import AuditOptions, Depth, reference_evidence
from unlearnkit.steps.case import Case
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.opening import InputOptions
from unlearnkit.steps.original import original_run
from unlearnkit.steps.output import Output
from unlearnkit.steps.references import open_references
from unlearnkit.steps.retrain import retrain_run
from unlearnkit.steps.rows import RowRequest
from unlearnkit.steps.specs import CaseSpec, RetrainSpec, SearchSpec, TrainSpec
from unlearnkit.steps.tune import tune_run

AUDIT_SEED = 0
TUNING_SEED = 1000  # apart from the seeds of the runs
PLACEHOLDER = "{data}"
FOUND = "settings.json"  # of a search that is done


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a suite's files lie, and what its jobs run on.

    Args:
        out: folder of the comparison.
        bank: folder of the reference bank.
        data: folder that `{data}` stands for; None: nobody named one.
        device: name of the device; None: the best there is.
        command: the command line, for the manifests.
    """

    out: Path
    bank: Path
    data: Path | None = None
    device: str | None = None
    command: tuple[str, ...] = ()

    @property
    def cells(self) -> Path:
        """The cells' run folders."""
        return self.out / "cells"

    @property
    def searches(self) -> Path:
        """A folder for each search of settings, in which `FOUND` is what was found."""
        return self.out / "searches"

    @property
    def results(self) -> Path:
        """One JSON file for each cell."""
        return self.out / "results"

    def whole(self, setting: SuiteSetting) -> str:
        """Return the data source of a setting, the folder filled in; nothing is written.

        Raises:
            ConfigError: nobody named the folder.
        """
        if PLACEHOLDER in setting.data and self.data is None:
            raise ConfigError(
                f"Expected a folder for {PLACEHOLDER} in the suite's source {setting.data}, but none was named; give "
                "--data DIR, or set UNLEARNKIT_DATA."
            )
        return setting.data.replace(PLACEHOLDER, str(self.data))

    def source(self, setting: SuiteSetting) -> str:
        """Return the data source that a setting is trained on; where it takes the first rows alone, these are copied.

        Raises:
            ConfigError: nobody named the folder.
            DataError: the rows cannot be copied.
        """
        source = self.whole(setting)
        return source if setting.samples is None else first_rows(source, setting.samples, self.out / COPIES)

    def planned_source(self, setting: SuiteSetting) -> str:
        """Return the same, copied or not; nothing is written.

        Raises:
            ConfigError: nobody named the folder.
            DataError: there is no such data.
        """
        source = self.whole(setting)
        return source if setting.samples is None else place_of(source, setting.samples, self.out / COPIES)

    def runtime(self) -> Runtime:
        """Return what jobs run on."""
        return Runtime.named(self.device, "auto")


@dataclass(frozen=True)
class Done:
    """What became of a job: its result, or in one sentence why there is none."""

    name: str
    result: dict[str, Any] | None
    failure: str | None = None


@dataclass(frozen=True, kw_only=True)
class OriginalJob:
    """Trains an original, unless the bank holds it."""

    key: OriginalKey
    place: Place

    def run(self) -> dict[str, Any]:
        """Return where the weights are."""
        place = self.place
        return original_run(
            training(self.key.setting, place.source(self.key.setting)),
            place.bank,
            seed=self.key.seed,
            command=place.command,
            runtime=place.runtime(),
        )


@dataclass(frozen=True, kw_only=True)
class ReferenceJob:
    """Trains a model without the classes of a request, unless the bank holds it."""

    key: ReferenceKey
    seed: int
    original: Path
    place: Place

    def run(self) -> dict[str, Any]:
        """Return where its weights are."""
        spec = RetrainSpec(
            of=self.original.parent,
            exclude=self.key.excluded,
            exclude_rows=self.key.rows,
            count=1,
            seed=self.seed,
            data=self.place.source(self.key.setting),
            model=self.key.setting.model,
        )
        made = retrain_run(spec, self.place.bank, command=self.place.command, runtime=self.place.runtime())
        reference: dict[str, Any] = made["references"][0]
        return reference


@dataclass(frozen=True, kw_only=True)
class SearchJob:
    """Searches the settings of a method for one original and one request."""

    cell: SuiteCell
    original: Path
    place: Place

    def run(self) -> dict[str, Any]:
        """Return the settings that were found."""
        cell, place = self.cell, self.place
        assert cell.search is not None, "a search has trials"
        folder = place.searches / cell.search
        if not (folder / FOUND).is_file():
            # a search is of the first of several requests: later ones begin with weights that it does not know
            first = cell.request.after[0] if cell.request.after else cell.request.forget
            spec = case_of(
                cell.setting,
                place,
                weights=self.original,
                forget=first,
                rows=NO_CHOICE if cell.request.after else cell.request.choice,
            )
            output = Output(folder, overwrite=True, command=place.command)
            search = SearchSpec(trials=cell.method.trials)
            choice = method_of(cell, self.original)
            tune_run(spec, choice, output, search=search, seed=TUNING_SEED, runtime=place.runtime())
        return {"settings": read_json(folder, FOUND, "settings")["settings"]}


@dataclass(frozen=True, kw_only=True)
class CellJob:
    """Runs a cell: forgets, audits, writes the report, and keeps the row of the table.

    A cell that is there already is audited `again`, and forgets nothing anew.
    """

    cell: SuiteCell
    original: Path
    retrained: tuple[Path, ...]
    found: tuple[str, ...]
    place: Place
    again: bool = False

    def run(self) -> dict[str, Any]:
        """Return the row."""
        cell, place = self.cell, self.place
        folder, source, runtime = place.cells / cell.name, place.source(cell.setting), place.runtime()
        spec = self._forgotten(folder, runtime)
        output = Output(folder, overwrite=True, command=place.command)
        options = AuditOptions(retrained=self.retrained, depth=Depth(cell.audit))
        audit_folder(
            output,
            options=options,
            model=cell.setting.model,
            data=source,
            seed=AUDIT_SEED,
            runtime=runtime,
            earlier=_observed(spec, options, runtime),
        )
        row = row_of(folder, cell, [path.parent for path in self.retrained])
        before = kept(place, cell) if self.again else None
        if before is not None:  # its seconds are of the machine that it ran on
            row |= {key: before[key] for key in ("hardware", "versions")}
        return row

    def _forgotten(self, folder: Path, runtime: Runtime) -> CaseSpec:
        """Forget what the cell names, unless that is done, and return the case of its own request."""
        cell, place = self.cell, self.place
        if self.again and not (folder / WEIGHTS).is_file():
            raise ConfigError(
                f"Expected the run folder of a finished cell, but {folder} has no {WEIGHTS}; delete "
                f"{place.results / cell.name}.json and give the same command without --judge-again to run it anew."
            )
        choice = method_of(cell, self.original, self.found)
        weights = self.original
        for number, forget in enumerate(cell.request.after, start=1):
            before = Output(place.out / "before" / f"{cell.name}-{number}", overwrite=True, command=place.command)
            spec = case_of(cell.setting, place, weights=weights, forget=forget)
            if not self.again:
                forget_run(spec, choice, before, audit=None, seed=cell.seed, runtime=runtime)
            weights = before.folder / WEIGHTS
        spec = case_of(cell.setting, place, weights=weights, forget=cell.request.forget, rows=cell.request.choice)
        if not self.again:
            output = Output(folder, overwrite=True, command=place.command)
            forget_run(spec, choice, output, audit=None, seed=cell.seed, runtime=runtime)
        return spec


Job = OriginalJob | ReferenceJob | SearchJob | CellJob
_ONE_AT_A_TIME = threading.Lock()  # in a process: the global random generators are its own, and not a thread's


def attempt(name: str, job: Job, parent: int | None = None) -> Done:
    """Run a job, and return its result or, in one sentence, why there is none; of a cell, keep either in its file.

    Args:
        name, job: which.
        parent: process that holds the folder's lock, without which this one ends; None: on a cluster nobody does.

    Raises:
        OSError: a cell's file cannot be written, or the disk is full, where all other jobs would fail, too.
    """
    if parent is not None:
        end_with(parent)
    try:
        with _ONE_AT_A_TIME:
            done = Done(name, job.run())
    except UnlearnkitError as error:
        check_space(error)
        done = Done(name, None, one_line(str(error)))
    except Exception as error:  # noqa: BLE001 - whatever a method of somebody else's raises must not cost the others
        check_space(error)
        done = Done(name, None, one_line(f"{type(error).__name__}: {reason(error)}"))
    if isinstance(job, CellJob) and not (job.again and done.failure):  # what it was judged before stays
        keep(job.place, job.cell, done)
    return done


def keep(place: Place, cell: SuiteCell, done: Done) -> None:
    """Write what became of a cell to its file.

    Raises:
        OSError: it cannot be written.
    """
    place.results.mkdir(parents=True, exist_ok=True)
    content = {"cell": cell.as_record(), "failure": done.failure, **(done.result or {})}
    replace_file(place.results / f"{cell.name}.json", encoded(content))


def kept(place: Place, cell: SuiteCell) -> dict[str, Any] | None:
    """Return what became of a cell; None where nothing is known, or what there is cannot be read."""
    try:
        content = parse_json(read_regular(place.results / f"{cell.name}.json"))
    except (OSError, ValueError):
        return None
    whole = isinstance(content, dict) and content.get("cell") == cell.as_record() and "failure" in content
    return content if whole else None


def training(setting: SuiteSetting, source: str) -> TrainSpec:
    """Return how the originals of a setting are trained on a data source."""
    return TrainSpec(
        model=setting.model,
        data=source,
        pretrained=setting.pretrained,
        settings=setting.recipe,
        inputs=InputOptions.by_hand(size=setting.image_size, label_column=setting.label_column),
    )


def case_of(
    setting: SuiteSetting,
    place: Place,
    *,
    weights: Path,
    forget: tuple[str | int, ...],
    rows: RowChoice = NO_CHOICE,
) -> CaseSpec:
    """Return a case of a setting; duplicates of rows are not looked for, as no cell shows them."""
    return CaseSpec(
        weights=weights,
        data=place.source(setting),
        forget=forget,
        inputs=InputOptions.by_hand(label_column=setting.label_column),
        rows=RowRequest(choice=rows, duplicates=False),
    )


def method_of(cell: SuiteCell, original: Path, found: tuple[str, ...] = ()) -> MethodChoice:
    """Return the method of a cell; retraining has the recipe of the original, unless the suite says otherwise."""
    choice = cell.method.choice(found)
    if choice.name != "retrain":
        return choice
    recipe = read_json(original.parent, "config.json", "recipe")["recipe"]
    taken = ((key, recipe.get(key)) for key in Retrain.model_fields if key != "augment" and key not in choice.names_set)
    same = [f"{key}={value}" for key, value in taken if value is not None]
    if recipe["augment"] == "none":
        same.append("augment=false")
    return replace(choice, settings=(*same, *choice.settings))


def one_line(text: str) -> str:
    """Return a message as one line."""
    return " ".join(text.split())


_LAST: dict[tuple[object, ...], Evidence] = {}  # of this process: what the cells of one original and request share


def _observed(spec: CaseSpec, options: AuditOptions, runtime: Runtime) -> Evidence:
    """Return the evidence on the original and the retrained models, which is gathered once for cells in a row."""
    key = (
        str(spec.weights),
        spec.data,
        tuple(spec.forget),
        spec.rows,
        tuple(options.retrained),
        options.depth,
        runtime.device,
    )
    if key not in _LAST:
        _LAST.clear()
        case = Case.opened(spec, reader="the comparison")
        retrained, _ = open_references(case, options.retrained, ())
        _LAST[key] = reference_evidence(case, retrained, seed=AUDIT_SEED, runtime=runtime, options=options)
    return _LAST[key]
