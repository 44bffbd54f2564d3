"""Keeps what `gpu.py` has done in a file, leaves out what there is no time for, and notes what failed."""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from comparison_runs import written
from unlearnkit import Runtime
from unlearnkit.run_dir import versions


class Book:
    """What was done, kept in a file after every unit; does what is new, and leaves out what there is no time for."""

    def __init__(self, work: Path, out: Path, budget: float | None, *, smoke: bool) -> None:
        self.began, self.budget, self.work, self.out = time.perf_counter(), budget, work, out
        self.left_out: list[str] = []
        kept = work / "gpu.json"
        self.content: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {"steps": {}}
        if self.content.get("smoke", smoke) != smoke:
            raise SystemExit(f"Expected a --work of its own for --smoke, but {work} holds another run.")
        facts = {"benchmark": "gpu", "smoke": smoke, "budget": budget, "hardware": hardware(), "versions": versions()}
        self.content = {
            **facts,
            "commit": commit(),
            "left_out": self.left_out,
            "failed": {},
            "steps": self.content["steps"],
        }

    def save(self) -> None:
        """Write all there is, here and among the results."""
        for folder in (self.work, self.out):
            written(folder / "gpu.json", self.content)

    def done(self, step: str) -> dict[str, Any]:
        """Results of a step's finished units, by name."""
        units = self.content["steps"].get(step, {})
        return {name: unit["result"] for name, unit in units.items() if unit["failure"] is None}

    def unit(
        self, step: str, name: str, kind: str, make: Callable[[], dict[str, Any]], *, again: bool = False
    ) -> dict[str, Any] | None:
        """The unit's result, known or made now; None where it failed or was left out.

        Args:
            step, name: what it is.
            kind: `WHAT NETWORK ...`; units alike in the whole, or else in the first two words, tell how long it takes.
            make: does it.
            again: do it although it was done before: what it makes lives in memory.
        """
        known: dict[str, Any] | None = self.done(step).get(name)
        if known is not None and not again:
            return known
        began = time.perf_counter()
        if self.budget is not None:
            left = self.budget - (began - self.began)
            if left <= 0 or left < self._expected(kind):
                self.left_out.append(f"{step}/{name}")
                return None
        unit: dict[str, Any] = {"kind": kind, "failure": None, "result": None}
        try:
            unit["result"] = make()
            json.dumps(unit["result"], allow_nan=False)
        except Exception as error:  # noqa: BLE001  one unit's failure must not cost the others
            unit |= {"failure": failure(error), "result": None}
        unit["seconds"] = time.perf_counter() - began
        self.content["steps"].setdefault(step, {})[name] = unit
        self.save()
        told = "failed: {type}: {message}".format(**unit["failure"]) if unit["failure"] else "done"
        print(f"[{time.perf_counter() - self.began:7.1f} s] {step}/{name} {told} ({unit['seconds']:.1f} s)", flush=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        result: dict[str, Any] | None = unit["result"]
        return result

    def guarded(self, name: str, make: Callable[[], None]) -> None:
        """Do what is no unit: a step around its units, a file of weights; its failure is noted beside the steps."""
        try:
            make()
            self.content["failed"].pop(name, None)
        except Exception as error:  # noqa: BLE001  as above
            self.content["failed"][name] = failure(error)
            print(f"{name} failed: {type(error).__name__}: {error}", flush=True)

    def failed(self) -> list[str]:
        """Names of all that failed."""
        units = [
            f"{step}/{name}"
            for step, each in self.content["steps"].items()
            for name in each
            if name not in self.done(step)
        ]
        return [*units, *self.content["failed"]]

    def _expected(self, kind: str) -> float:
        """Seconds that similar units have taken; the longest one of all where none is similar."""
        units = [unit for step in self.content["steps"].values() for unit in step.values()]
        timed: list[tuple[list[str], float]] = [
            (u["kind"].split(), u["seconds"]) for u in units if u["result"] and not u["result"].get("kept")
        ]
        for words in (kind.split(), kind.split()[:2]):
            if alike := [seconds for other, seconds in timed if other[: len(words)] == words]:
                return float(1.1 * statistics.median(alike))
        return max((seconds for _, seconds in timed), default=0.0)


def failure(error: Exception) -> dict[str, str]:
    """What is recorded of an error, while it is handled."""
    return {"type": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}


def hardware() -> dict[str, Any]:
    """What the figures were measured on."""
    cuda = torch.cuda.is_available()
    return {
        "device": str(Runtime().device),
        "name": torch.cuda.get_device_name() if cuda else platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "tf32_convolutions": torch.backends.cudnn.allow_tf32,
    }


def commit() -> str | None:
    """The commit of this file's repository, where git knows it."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
