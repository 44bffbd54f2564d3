"""Runs a suite: trains what is missing, runs every cell that is not finished, and writes the tables and the page."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlearnkit.compare.cells import SuiteCell, cells_of, digest, suite_record
from unlearnkit.compare.changes import changes
from unlearnkit.compare.hand_out import Workers
from unlearnkit.compare.results import collected, draw
from unlearnkit.compare.suite import Suite
from unlearnkit.compare.wording import counted
from unlearnkit.compare.work import CellJob, Done, Job, OriginalJob, Place, ReferenceJob, SearchJob, keep, kept
from unlearnkit.disk.files import read_regular, replace_file
from unlearnkit.disk.holding import held
from unlearnkit.disk.json_text import parse_json
from unlearnkit.disk.staging import sweep
from unlearnkit.errors import OutputError
from unlearnkit.run_dir import encoded

Say = Callable[[str], None]
LAST = "suite.json"  # the suite that ran last in a folder
DRAWN_EVERY = 60.0  # seconds between two drawings of what is finished


@dataclass
class Comparison:
    """A suite in a folder, and what its finished jobs gave.

    Args:
        name, suite: which suite.
        place: where its files lie.
        workers: who does the jobs.
        say: where a line goes that tells how far it is.
    """

    name: str
    suite: Suite
    place: Place
    workers: Workers
    say: Say
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def record(self) -> dict[str, Any]:
        """The suite as its folder keeps it."""
        return {"name": self.name, "suite": suite_record(self.suite)}

    @property
    def folder(self) -> Path:
        """Where the tables of this suite lie, apart from those of any other in the same place."""
        return self.place.out / "suites" / f"{self.name}-{digest(self.record)[:8]}"

    @property
    def cells(self) -> list[SuiteCell]:
        """All cells."""
        return cells_of(self.suite)

    def open(self) -> list[SuiteCell]:
        """Return the cells that are not finished; those that failed are tried again."""
        return [cell for cell in self.cells if not self._done(cell)]

    def finished(self) -> list[SuiteCell]:
        """Return the other cells."""
        return [cell for cell in self.cells if self._done(cell)]

    def _done(self, cell: SuiteCell) -> bool:
        content = kept(self.place, cell)
        return content is not None and content["failure"] is None

    def run(self, *, judge_again: bool = False) -> dict[str, Any]:
        """Do all that is not done yet, write tables and page, and return the results.

        Tables and page are there from the first finished cell on, and never long behind, as a suite takes hours.

        Args:
            judge_again: audit the finished cells again, too, so that one version has judged all.

        Raises:
            OutputError: another command works in the folder, or it cannot be written to, as on a full disk.
            ConfigError, ProcessError: see `Workers.do`.
        """
        with self._alone():
            self._note()
            todo = self.open()
            self.say(f"{self.name}: {counted(len(self.cells), 'cell')}, {len(self.cells) - len(todo)} finished earlier")
            self._say_gone(todo)
            again = {cell.name for cell in self.cells} - {cell.name for cell in todo} if judge_again else set()
            todo = self.cells if judge_again else todo
            originals = [(cell.original.name, OriginalJob(key=cell.original, place=self.place)) for cell in todo]
            self._make("originals", originals)
            self._make("retrained models, searches of settings", list(self._judges(todo, again)))
            drawn = -math.inf
            for _ in self._each("cells", list(self._ready(todo, again))):
                if time.monotonic() - drawn > DRAWN_EVERY:
                    self._draw()
                    drawn = time.monotonic()
            return self._draw()

    def _say_gone(self, todo: Sequence[SuiteCell]) -> None:
        """Say how many finished cells have lost their run folder, which the page links to."""
        open_ = {cell.name for cell in todo}
        gone = [
            cell.name for cell in self.cells if cell.name not in open_ and not (self.place.cells / cell.name).is_dir()
        ]
        if gone:
            self.say(
                f"without a run folder: {counted(len(gone), 'finished cell')} (as {gone[0]}), whose rows stay without "
                f"a link to a report; delete {self.place.results}/NAME.json to run a cell anew"
            )

    def _draw(self) -> dict[str, Any]:
        """Write tables and page of what is finished."""
        results = collected(self.name, self.suite, self.place)
        draw(results, self.folder)
        return results

    def _judges(self, todo: Sequence[SuiteCell], again: Set[str]) -> Iterator[tuple[str, Job]]:
        """Return the retrained models and the searches of settings; both need an original alone."""
        for cell in todo:
            original = self._original(cell)
            if original is not None:
                key = cell.references
                for name, seed in key.models.items():
                    yield name, ReferenceJob(key=key, seed=seed, original=original, place=self.place)
                if cell.search is not None and cell.name not in again:
                    yield cell.search, SearchJob(cell=cell, original=original, place=self.place)

    def _ready(self, todo: Sequence[SuiteCell], again: Set[str]) -> Iterator[tuple[str, Job]]:
        """Return the cells that can be run, those of `again` to be judged alone; of the others, why not is kept."""
        for cell in todo:
            search = None if cell.name in again else cell.search
            needed = [cell.original.name, *cell.references.models, *([search] if search else [])]
            missing = next((self.failures[name] for name in needed if name in self.failures), None)
            if missing is not None:
                if cell.name in again:
                    self.failures[cell.name] = missing
                else:
                    keep(self.place, cell, Done(cell.name, None, missing))
                self.say(f"{_called(cell)}: not run: {missing}")
                continue
            original = self._original(cell)
            assert original is not None, "its failure would be known"
            yield (
                cell.name,
                CellJob(
                    cell=cell,
                    original=original,
                    retrained=tuple(Path(self.made[name]["path"]) for name in cell.references.models),
                    found=tuple(self.made[search]["settings"]) if search else (),
                    place=self.place,
                    again=cell.name in again,
                ),
            )

    def _original(self, cell: SuiteCell) -> Path | None:
        made = self.made.get(cell.original.name)
        return None if made is None else Path(made["path"])

    def _make(self, what: str, jobs: Sequence[tuple[str, Job]]) -> None:
        """Do jobs, each name once, and note what became of them."""
        for _ in self._each(what, jobs):
            pass

    def _each(self, what: str, jobs: Sequence[tuple[str, Job]]) -> Iterator[None]:
        """Do as `_make` does, and hand over after each job."""
        distinct = dict(jobs)
        if distinct:
            self.say(f"{what}: {len(distinct)} to do")
        for number, done in enumerate(self.workers.do(list(distinct.items())), start=1):
            if done.failure is None:
                self.made[done.name] = done.result or {}
            else:
                self.failures[done.name] = done.failure
            self.say(f"[{number}/{len(distinct)}] {done.name}: {done.failure or outcome(done.result or {})}")
            yield

    def _note(self) -> None:
        """Write which suite runs here, and say what is another than in the one before."""
        before = self._before()
        if before is not None and before != self.record:
            for line in changes(before, self.record):
                self.say(line)
            self.say("finished cells that both suites have are kept, and so are the earlier suite's cells and tables")
        for path in (self.folder / LAST, self.place.out / LAST):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, encoded(self.record))

    def _before(self) -> dict[str, Any] | None:
        path = self.place.out / LAST
        if not path.exists():
            return None
        try:
            content = parse_json(read_regular(path))
            if not isinstance(content["suite"], dict):
                raise ValueError("it holds no suite")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise OutputError(
                f"Expected the suite of an earlier comparison in {path}, but it cannot be read ({error}); take the "
                "file away, and finished cells are still kept."
            ) from error
        found: dict[str, Any] = content
        return found

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other comparisons out of the folder, and turn errors of the disk into a sentence."""
        out = self.place.out.absolute()
        try:
            with held(out):
                for folder in (out, self.place.cells, self.place.results):
                    sweep(folder)
                yield
        except OSError as error:
            raise OutputError(
                f"Expected to be able to write what the comparison in {out} makes, but got: {error.strerror or error}; "
                "make room or choose another folder, and give the same command again: finished cells are kept."
            ) from error


def outcome(result: dict[str, Any]) -> str:
    """Describe what a job gave in a few words."""
    if "verdict" in result:
        gap = result["verdict"]["worst_gap"]
        far = "no gap" if gap is None else f"worst gap {gap:.2f} ({result['verdict']['worst']})"
        return f"{result['verdict']['status']}, {far}"
    if "settings" in result:
        return f"found {' '.join(result['settings']) or 'nothing better'}"
    if result["replaced"]:
        return f"trained anew: {result['replaced'].rstrip('.')}"
    return "trained" if result["trained"] else "in the bank"


def _called(cell: SuiteCell) -> str:
    return f"{cell.name} ({cell.method.shown} on {cell.setting.model}, {cell.setting.data})"
