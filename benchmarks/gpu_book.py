"""Keeps what `gpu.py` has done, a file for each step; plans what there is time for, and notes what failed."""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from comparison_runs import written
from gpu_facts import commit, failure, hardware
from unlearnkit.run_dir import versions

STEPS_FOLDER = "steps"  # in --work
RESERVE = 15.0  # seconds of a budget that are kept back: the first use of a GPU is slow, and the last unit may be


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One piece of work: a training, a method with its audit.

    Args:
        name: in its step.
        kind: `WHAT NETWORK ...`; units alike in the whole, or else in the first two words, tell how long it takes.
        make: does it; what it returns is kept as JSON.
        needs: `STEP/NAME` of what must be done before, or the bare name of what must be in memory.
        memory: what it makes lives in memory, so that each process that needs it does it once, whatever the step; not
            where there is no time for a unit that needs it.
    """

    name: str
    kind: str
    make: Callable[[], dict[str, Any]]
    needs: tuple[str, ...] = ()
    memory: bool = False


@dataclass(frozen=True, kw_only=True)
class Step:
    """Units in their order, what follows each of them and all, and why the step cannot be done."""

    name: str
    units: tuple[Unit, ...]
    each: Callable[[], None] | None = None
    after: Callable[[], None] | None = None
    missing: str = ""


class Book:
    """What was done, kept in a file after every unit; does what is new, and leaves out what there is no time for."""

    def __init__(
        self,
        work: Path | None,
        out: Path | None,
        budget: float | None,
        *,
        smoke: bool,
        expected: Mapping[str, float] | None = None,
        asked: Mapping[str, Any] | None = None,
        began: float | None = None,
    ) -> None:
        self.began = time.perf_counter() if began is None else began
        self.budget, self.work, self.out = budget, work or Path(), out or Path()
        self.table, self.live = dict(expected or {}), set[str]()
        self.left_out: list[str] = []
        self.failures: dict[str, dict[str, str]] = {}  # of what is no unit
        self.facts: dict[str, Any] = {"smoke": smoke, "asked": dict(asked or {}), "budget": budget}
        self.facts |= {"hardware": hardware(), "versions": versions()}
        self.steps: dict[str, dict[str, Any]] = {}
        for path in () if work is None else sorted((work / STEPS_FOLDER).glob("*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            if (content["smoke"], content["asked"]) != (smoke, self.facts["asked"]):
                raise SystemExit(
                    f"Expected a --work of these networks' own, but {work} holds models that were trained otherwise; "
                    "give another folder."
                )
            self.steps[path.stem] = content["units"]

    def done(self, step: str) -> dict[str, Any]:
        """Results of a step's finished units, by name."""
        units = self.steps.get(step, {})
        return {name: unit["result"] for name, unit in units.items() if unit["failure"] is None}

    def plan(self, steps: Sequence[Step]) -> tuple[list[tuple[str, Unit, float]], list[str]]:
        """What will be done in the time there is, with the seconds expected of it; and what will be left out."""
        left, made, out = self._left(), set[str](), list[str]()
        chosen: list[tuple[str, Unit, float]] = []
        for step in steps:
            for unit in self._outstanding(step, made):
                seconds = self.expected(unit.kind)
                if step.missing or not self._ready(unit, made) or not self._fits(unit, step, made, left):
                    out += [] if unit.memory else [f"{step.name}/{unit.name}"]
                    continue
                made.add(unit.name if unit.memory else f"{step.name}/{unit.name}")
                left = None if left is None else left - seconds
                chosen.append((step.name, unit, seconds))
        return chosen, out

    def do(self, step: Step) -> None:
        """Do what is new of a step and fits into the time; errors are noted, and cost nothing else."""
        if step.missing:
            self.left_out.append(f"{step.name} ({step.missing})")
        for unit in () if step.missing else self._outstanding(step, set()):
            if not (self._ready(unit, set()) and self._fits(unit, step, set(), self._left())):
                self.left_out += [] if unit.memory else [f"{step.name}/{unit.name}"]
                continue
            self._make(step, unit)
            if step.each is not None:
                self._guarded(f"{step.name} table", step.each)
        if step.after is not None and not step.missing:
            self._guarded(f"{step.name} weights", step.after)
        self.save(step.name)

    def save(self, step: str) -> None:
        """Write a step, here and among the results, where there is something of it; and what there is to say of all."""
        told = {**self.facts, "commit": commit(), "left_out": self.left_out, "failures": self.failures}
        written(self.out / "run.json", told)
        units = self.steps.get(step)
        if not units:
            return
        prefix = f"{step}/"
        content = {"benchmark": "gpu", "step": step, **self.facts, "commit": commit()}
        content["left_out"] = [name.removeprefix(prefix) for name in self.left_out if name.startswith(prefix)]
        content["units"] = units
        (self.work / STEPS_FOLDER).mkdir(exist_ok=True)
        for folder in (self.work / STEPS_FOLDER, self.out):
            written(folder / f"{step}.json", content)

    def failed(self) -> list[str]:
        """Names of all that failed."""
        units = [f"{step}/{name}" for step, each in self.steps.items() for name in each if name not in self.done(step)]
        return [*units, *self.failures]

    def short_of_goal(self) -> list[str]:
        """Models that stay below what is expected of their network, with their accuracy."""
        models = [(f"{step}/{name}", result) for step in self.steps for name, result in self.done(step).items()]
        return [
            f"{name} ({100 * result['accuracy_retained_tta']:.1f} of {100 * result['goal']:.0f} %)"
            for name, result in models
            if result.get("goal", 0.0) > result.get("accuracy_retained_tta", 0.0)
        ]

    def expected(self, kind: str) -> float:
        """Seconds that similar units have taken here; else those of the plan's table; else the longest there was."""
        units = [unit for step in self.steps.values() for unit in step.values()]
        timed: list[tuple[list[str], float]] = [
            (u["kind"].split(), u["seconds"]) for u in units if u["result"] and not _found(u)
        ]
        words = kind.split()
        for start in (words, words[:2]):
            if alike := [seconds for other, seconds in timed if other[: len(start)] == start]:
                return float(1.1 * statistics.median(alike))
            if " ".join(start) in self.table:
                return self.table[" ".join(start)]
        return max((seconds for _, seconds in timed), default=0.0)

    def _left(self) -> float | None:
        return None if self.budget is None else self.budget - RESERVE - (time.perf_counter() - self.began)

    def _fits(self, unit: Unit, step: Step, made: set[str], left: float | None) -> bool:
        """Whether there is time for a unit; of one of memory, for the shortest of those that need it as well."""
        if left is None:
            return True
        needing = [u for u in self._outstanding(step, made) if unit.memory and unit.name in u.needs]
        return self.expected(unit.kind) + min((self.expected(u.kind) for u in needing), default=0.0) < left

    def _outstanding(self, step: Step, made: set[str]) -> list[Unit]:
        """Units that are not done; those of memory only where it lacks them and a unit of the step needs them."""
        new = [unit for unit in step.units if not unit.memory and unit.name not in self.done(step.name)]
        wanted = {name for unit in new for name in unit.needs} - self.live - made
        return [unit for unit in step.units if (unit.name in wanted if unit.memory else unit in new)]

    def _ready(self, unit: Unit, made: set[str]) -> bool:
        """Whether all that a unit needs is there; what is in `made` is taken as done."""

        def there(name: str) -> bool:
            step, slash, short = name.partition("/")
            return name in self.live | made or (bool(slash) and short in self.done(step))

        return all(there(name) for name in unit.needs)

    def _make(self, step: Step, unit: Unit) -> None:
        """Do a unit, and keep its result or its failure."""
        began = time.perf_counter()
        kept: dict[str, Any] = {"kind": unit.kind, "failure": None, "result": None}
        try:
            kept["result"] = unit.make()
            json.dumps(kept["result"], allow_nan=False)
            if unit.memory:
                self.live.add(unit.name)
        except Exception as error:  # noqa: BLE001  one unit's failure must not cost the others
            kept |= {"failure": failure(error), "result": None}
        kept |= {"seconds": time.perf_counter() - began, "card": self.facts["hardware"]["name"], "commit": commit()}
        self.steps.setdefault(step.name, {})[unit.name] = kept
        self.save(step.name)
        told = "failed: {type}: {message}".format(**kept["failure"]) if kept["failure"] else "done"
        clock = time.perf_counter() - self.began
        print(f"[{clock:7.1f} s] {step.name}/{unit.name} {told} ({kept['seconds']:.1f} s)", flush=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _guarded(self, name: str, make: Callable[[], None]) -> None:
        """Do what is no unit: a table, a file of weights; its failure is noted."""
        try:
            make()
            self.failures.pop(name, None)
        except Exception as error:  # noqa: BLE001  as above
            self.failures[name] = failure(error)
            print(f"{name} failed: {type(error).__name__}: {error}", flush=True)


def _found(unit: Mapping[str, Any]) -> bool:
    """Whether a unit found its work done, by a process that was killed before it recorded it."""
    result = unit["result"]
    return bool(result.get("kept")) or unit["seconds"] < (result.get("cost") or {}).get("seconds", 0.0)
