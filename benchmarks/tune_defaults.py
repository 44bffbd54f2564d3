"""Searches the methods' defaults: the same number of trials for each, every trial on several models, no test data.

    python benchmarks/tune_defaults.py --on SOURCE WEIGHTS CLASSES [NAME=VALUE...] [--on ...] [--trials 12]
        [--only METHOD...] [--out FILE]

`--on` names a data source, the weights of an original that `unlearnkit train` wrote, the classes to forget with commas
between them, and what is set there for the methods that have such a setting. The first trial of a method is its
default, the others are points of its `space()`. A trial's score is the mean of its scores on the models, each by the
judge of `unlearnkit tune`: retained validation accuracy won or lost, less what is left of the forgotten classes. The
models are taken in the order given, the cheapest first, and a trial that could not win any more, were the others to
forget everything and know every validation sample, is ended. Writes --out after every method; methods found there are
not searched again, and a file of other models, trials or versions is refused.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from comparison_runs import written
from unlearnkit import ForgetRequest, Runtime, unlearn
from unlearnkit.data import ImageData
from unlearnkit.data.access import AccessLog
from unlearnkit.data.view import DataView
from unlearnkit.errors import ConfigError, NonFiniteLossError
from unlearnkit.methods import ConfiguredMethod
from unlearnkit.methods.registry import METHODS
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import Checkpoint, read_checkpoint
from unlearnkit.run_dir import versions
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.split import Part, Split, split_for
from unlearnkit.steps.opening import load_images, open_model
from unlearnkit.tuning.optimise import Values, optimise
from unlearnkit.tuning.scoring import Judge, Judged, Signal
from unlearnkit.tuning.tune import FAILED

SEED = 1000  # of the search and of every run; comparisons have others


@dataclass(frozen=True, kw_only=True)
class Task:
    """A model, its data, what it is to forget, and what is set for the methods that have such a setting."""

    source: str
    checkpoint: Checkpoint
    data: ImageData
    request: ForgetRequest
    split: Split
    model: nn.Module
    settings: tuple[str, ...]
    judges: dict[Signal, Judge] = field(default_factory=dict)

    @classmethod
    def opened(cls, source: str, weights: str, forget: str, *settings: str) -> Task:
        """Open the data and the model; the architecture is the one that the file records."""
        checkpoint = read_checkpoint(weights)
        data = load_images(source, checkpoint)
        request = ForgetRequest(classes=tuple(forget.split(",")))
        split = split_for(request, data)
        data.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
        model = open_model(None, checkpoint, data)
        return cls(
            source=source,
            checkpoint=checkpoint,
            data=data,
            request=request,
            split=split,
            model=model,
            settings=settings,
        )

    @property
    def runtime(self) -> Runtime:
        """The best device, and the precision that suits it."""
        return Runtime().fitted(self.model, self.data.shape)

    def judge(self, signal: Signal) -> Judge:
        """The judge by that signal: made once, the same for every method."""
        if signal not in self.judges:
            runtime = self.runtime
            view = DataView(self.data, self.split, signal.parts, reader="method", log=AccessLog(self.data),
                            device=runtime.device)  # fmt: skip
            self.judges[signal] = Judge(
                runtime.weights(copy.deepcopy(self.model)),
                view,
                self.split.request,
                signal=signal,
                seed=SEED,
                runtime=runtime,
                log=RunLog(runtime),
            )
        return self.judges[signal]

    def run(self, method: ConfiguredMethod, judge: Judge) -> tuple[Judged, float, dict[str, Any]]:
        """What the judge finds of the unlearned model, its score, and the cost."""
        method = method.with_settings([s for s in self.settings if s.partition("=")[0] in method.setting_names()])
        result = unlearn(
            self.model, method, self.data, self.request, seed=SEED, runtime=self.runtime, factory=self._fresh
        )
        judged = judge.judge(self.runtime.weights(result.model))
        return judged, judged.score(judge.before.retained), result.cost["total"]

    def _fresh(self) -> nn.Module:
        assert self.checkpoint.card is not None, f"{self.checkpoint.path} does not record its architecture"
        return build_model(self.checkpoint.card.model, num_classes=len(self.data.classes),
                           in_channels=self.data.shape[0])  # fmt: skip


def search(method: ConfiguredMethod, tasks: list[Task], trials: int) -> dict[str, Any]:
    """Every trial of a method, and the number of the one with the highest mean score; None where every trial failed."""
    signal = Signal.SAMPLES if Part.FORGET_TRAIN in method.needs else Signal.INVERTED
    judges = [task.judge(signal) for task in tasks]
    done: list[dict[str, Any]] = []

    def run(values: Values) -> float:
        settings = [f"{name}={value}" for name, value in values.items()]
        trial: dict[str, Any] = {"settings": settings, "on": [], "score": None}
        done.append(trial)
        scores: list[float] = []
        best = max((each["score"] for each in done if each["score"] is not None), default=FAILED)
        for task, judge in zip(tasks, judges, strict=True):
            try:
                judged, score, cost = task.run(method.with_settings(settings), judge)
            except NonFiniteLossError as error:
                trial["failure"] = str(error)
                print(f"  {len(done) - 1}: {error} {' '.join(settings)}", flush=True)
                return FAILED
            samples = cost["samples_forward"] + cost["samples_backward"]
            trial["on"].append({"score": score, "left": judged.left, "seconds": cost["seconds"], "samples": samples})
            scores.append(score)
            hoped = scores + [bound(other) for other in judges[len(scores) :]]
            if sum(hoped) / len(hoped) < best:
                break
        mean = float(sum(scores) / len(scores))
        if len(scores) == len(tasks):
            trial["score"] = mean
        print(f"  {len(done) - 1}: {', '.join(f'{s:.3f}' for s in scores)} {' '.join(settings)}", flush=True)
        return mean

    run({})
    optimise(run, method.space(), trials=trials - 1, seed=SEED)
    whole = [k for k, trial in enumerate(done) if trial["score"] is not None]
    best = max(whole, key=lambda k: done[k]["score"], default=None)
    return {"signal": signal.value, "best": best, "trials": done}


def told(search: dict[str, Any]) -> str:
    """What a search found, in a line."""
    if search["best"] is None:
        return "every trial failed"
    first, best = (search["trials"][k]["score"] for k in (0, search["best"]))
    before = "failed" if first is None else f"{first:.3f}"
    return f"{before} -> {best:.3f} {' '.join(search['trials'][search['best']]['settings'])}"


def earlier(out: Path, what: dict[str, Any]) -> dict[str, Any]:
    """The searches that are in the file already.

    Raises:
        ConfigError: they are on other models or of another budget or version, so they cannot stand beside new ones.
    """
    if not out.is_file():
        return {}
    content: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    for key in ("on", "trials", "versions"):
        if content[key] != what[key]:
            raise ConfigError(f"Expected {out.name} to hold searches with the same {key!r}; give another --out.")
    found: dict[str, Any] = content["found"]
    return found


def bound(judge: Judge) -> float:
    """No score is higher: every retained validation sample right, and nothing left of the forgotten classes."""
    return 1 - judge.before.retained


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", nargs="+", action="append", required=True, metavar="SOURCE WEIGHTS CLASSES")
    parser.add_argument("--trials", type=int, default=12)
    tunable = [name for name, kind in METHODS.items() if kind().space()]
    parser.add_argument("--only", nargs="+", choices=tunable, default=tunable)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "tune_defaults.json")
    arguments = parser.parse_args(argv)
    if any(len(on) < 3 for on in arguments.on):
        parser.error("Expected a data source, weights and classes after --on.")
    tasks = [Task.opened(*on) for on in arguments.on]
    what = {
        "benchmark": "tune_defaults",
        "on": [
            {
                "data": task.source.partition(":")[0],
                "model": task.checkpoint.card.model if task.checkpoint.card else None,
                "weights": task.checkpoint.sha256,
                "forget": list(task.split.request.forget_names),
                "settings": list(task.settings),
            }
            for task in tasks
        ],
        "trials": arguments.trials,
        "hardware": {
            "device": str(tasks[0].runtime.device),
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "versions": versions(),
    }
    found = earlier(arguments.out, what)
    for name in arguments.only:
        if name in found:
            continue
        method = METHODS[name]()
        method = method.with_settings(method.for_tuning())
        print(name, flush=True)
        found[name] = search(method, tasks, arguments.trials)
        written(arguments.out, what | {"found": found})
        print(f"{name}: {told(found[name])}", flush=True)


if __name__ == "__main__":
    main()
