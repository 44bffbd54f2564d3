"""The audit on CIFAR-10: what it says of the original, a fresh retrained model, a head mask and UNSIR; its cost.

    python benchmarks/audit_cifar10.py --data DIR --models DIR2 --fresh FOLDER --name fast

`--models` holds run folders `original` and `retrained-0`, `retrained-1`, ... made by `make_bank.py` or by `unlearnkit
train`; the first three retrained models are the reference. `--fresh` is one more that must pass, and with it each of
the four is held against the other three (where they made the bank too, its spread is their own). Prints what became
of the primary readings of each model, and where the time of one audit (original, unlearned, three retrained)
goes, in seconds and against one retraining: `--retrain` trains one epoch of it beside the audit, on the same machine
in the same state, and multiplies; without it the time that the retrained models' folders record counts. `--primary`
leaves out what of the audit does not vote. The results so far are written after every model.
"""

from __future__ import annotations

import argparse
import copy
import platform
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from comparison_runs import written
from unlearnkit import UNSIR, ForgetRequest, Runtime, unlearn
from unlearnkit.audit import METRICS, Audit, audit, gather
from unlearnkit.audit.bank import bank_for, priors_for
from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metrics.registry import PRIMARY, PRIMARY_METRICS
from unlearnkit.audit.reading import ModelName
from unlearnkit.data import ImageData
from unlearnkit.models.checkpoint import Checkpoint, read_checkpoint
from unlearnkit.models.head import find_head
from unlearnkit.run_dir import WEIGHTS, read_json, versions
from unlearnkit.runtime.progress import Silent
from unlearnkit.split import Part, split_for
from unlearnkit.steps.opening import load_images, open_model
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run

CANDIDATES = ("original", "head mask", "UNSIR", "fresh retrained", "UNSIR, no noise")


class Clock(Silent):
    """Seconds of every stage, and of every metric."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._began = "", 0.0

    def start(self, name: str, total: int) -> None:  # noqa: ARG002 - the protocol's
        """Begin a stage."""
        self._stage, self._began = name, time.perf_counter()

    def advance(self, detail: str = "") -> None:
        """Note a metric's time."""
        if self._stage == "audit metrics":
            now = time.perf_counter()
            self.seconds[f"metric {detail}"], self._began = now - self._began, now

    def finish(self) -> None:
        """Note the stage's time."""
        if self._stage != "audit metrics":
            kind = next((k for k in ("relearn", "audit", "fine-tune") if self._stage.startswith(k)), "few shots")
            kind = {"audit": "forward passes", "fine-tune": "fine-tuning"}.get(kind, kind)
            self.seconds[kind] = self.seconds.get(kind, 0.0) + time.perf_counter() - self._began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--fresh", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--forget", default="0")
    parser.add_argument("--only", nargs="*", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument("--retrain", action="store_true")
    parser.add_argument("--primary", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    runtime, source = Runtime(), f"parquet:{arguments.data}"
    folders = [arguments.models / name for name in ("original", "retrained-0", "retrained-1", "retrained-2")]
    checkpoints = [read_checkpoint(folder / WEIGHTS) for folder in folders]
    assert checkpoints[0].card is not None
    name = checkpoints[0].card.model
    data = load_images(source, checkpoints[0])
    request = ForgetRequest(classes=(arguments.forget,))
    split = split_for(request, data)
    data.fix_shape(int(split[Part.RETAIN_TRAIN][0]))

    def opened(checkpoint: Checkpoint) -> nn.Module:
        return open_model(name, checkpoint, data)

    original, *retrained = map(opened, checkpoints)
    bank = bank_for(source, data.classes, name, split.request.forget_names)
    metrics = {name: METRICS[name] for name in PRIMARY_METRICS} if arguments.primary else METRICS
    out = arguments.out or Path(__file__).parent / "results" / f"audit_cifar10-{arguments.name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    cost = [read_json(folder, "cost.json", "total")["total"]["seconds"] for folder in folders[1:]]
    rows: dict[str, Any] = {}
    result_ = {
        "benchmark": f"audit_cifar10-{arguments.name}",
        "model": name,
        "bank": bank.name if bank else None,
        "forget": list(split.request.forget_names),
        "metrics": sorted(metrics),
        "hardware": {"device": str(runtime.device), "machine": platform.machine(), "threads": torch.get_num_threads()},
        "versions": versions(),
        "retraining_seconds": cost,
        "rows": rows,
    }
    shared: Evidence | None = None  # of the original and the retrained models, gathered with the first candidate
    for candidate in arguments.only:
        notes: dict[str, Any] = {}
        if candidate == "original":
            model = copy.deepcopy(original)
        elif candidate == "fresh retrained":
            if arguments.fresh is None:
                continue
            model = opened(read_checkpoint(arguments.fresh / WEIGHTS))
        elif candidate == "head mask":
            model = masked(original, list(split.request.forget), data)
        else:
            method = UNSIR() if candidate == "UNSIR" else UNSIR().with_settings(["noise=none"])
            result = unlearn(original, method, data, request, seed=0, runtime=runtime)
            model, notes = result.model, {"cost": result.cost["total"], "search": result.notes.get("search")}
        clock = Clock()
        began = time.perf_counter()
        evidence = gather(
            {"original": original, "unlearned": model, "retrained": retrained},
            data,
            split,
            metrics=metrics.values(),
            seed=0,
            runtime=runtime,
            progress=clock,
            earlier=shared,
        )
        shared = replace(evidence, subjects=tuple(s for s in evidence.subjects if s.name != "unlearned"))
        judged = audit(evidence, metrics, priors=priors_for(bank), progress=clock)
        seconds = time.perf_counter() - began
        rows[candidate] = summary(judged) | notes | {"seconds": seconds, "where": clock.seconds}
        if candidate == "fresh retrained":
            for turn in range(len(retrained)):
                judged = audit(turned(evidence, turn), metrics, priors=priors_for(bank))
                rows[f"retrained {turn + 1}"] = summary(judged)
        print(table(rows), flush=True)
        written(out, result_)
    if arguments.retrain:
        cost[:] = [retraining(folders[1], source, arguments.forget, runtime)]
        written(out, result_)
    print(spent(rows, sum(cost) / len(cost)))


def retraining(folder: Path, source: str, forget: str, runtime: Runtime) -> float:
    """Seconds that this retraining takes here and now: one epoch of it, times its epochs."""
    config = read_json(folder, "config.json", "model", "recipe")
    recipe = config["recipe"]
    with tempfile.TemporaryDirectory() as place:
        spec = TrainSpec(
            model=config["model"],
            data=source,
            exclude=[forget],
            settings=[f"{key}={value}" for key, value in (recipe | {"epochs": 1}).items() if value is not None],
        )
        train_run(spec, Output(Path(place) / "retrained"), runtime=runtime)
        seconds = float(read_json(Path(place) / "retrained", "cost.json", "total")["total"]["seconds"])
    return seconds * int(recipe["epochs"])


def turned(evidence: Evidence, turn: int) -> Evidence:
    """The same evidence with one retrained model in the place of the unlearned one, which joins the others."""
    places: dict[tuple[ModelName, int], tuple[ModelName, int]] = {
        ("unlearned", 0): ("retrained", turn),
        ("retrained", turn): ("unlearned", 0),
    }
    subjects = []
    for subject in evidence.subjects:
        name, replicate = places.get((subject.name, subject.replicate), (subject.name, subject.replicate))
        subjects.append(replace(subject, name=name, replicate=replicate))
    return replace(evidence, subjects=tuple(subjects))


def masked(model: nn.Module, gone: list[int], data: ImageData) -> nn.Module:
    """A copy with the forgotten rows of the head at zero and their biases at -1e4; a head without bias gets one."""
    copied = copy.deepcopy(model)
    name = find_head(copied, num_classes=len(data.classes), shape=data.shape)
    head = copied.get_submodule(name)
    assert isinstance(head, nn.Linear)
    with_bias = nn.Linear(head.in_features, head.out_features)
    with torch.no_grad():
        with_bias.weight.copy_(head.weight)
        with_bias.bias.copy_(torch.zeros(head.out_features) if head.bias is None else head.bias)
        with_bias.weight[gone], with_bias.bias[gone] = 0.0, -1e4
    copied.set_submodule(name, with_bias)
    return copied


def summary(judged: Audit) -> dict[str, Any]:
    """The primary readings and the verdict."""
    found: dict[str, Any] = {}
    for primary in PRIMARY:
        group = [r for r in judged.readings if (r.metric, r.part) == (primary.metric, primary.part)]
        (mine,) = [r for r in group if r.model == "unlearned"]
        found[primary.key] = {
            "value": mine.value,
            "status": mine.verdict,
            "gap": mine.gap,
            "original": next((r.value for r in group if r.model == "original"), None),
            "retrained": [r.value for r in group if r.model == "retrained"],
        }
    verdict = judged.verdict
    return {
        "primary": found,
        "status": verdict.status,
        "why": [asdict(reason) for reason in verdict.why],
        "families_passed": list(verdict.families_passed),
        "worst": verdict.worst,
        "worst_gap": verdict.worst_gap,
    }


def table(rows: dict[str, Any]) -> str:
    """Markdown: readings in columns, + passes, - fails, ? unknown."""
    keys = [primary.key for primary in PRIMARY]
    lines = ["| model | verdict | worst gap | " + " | ".join(keys) + " |", "| --- " * (len(keys) + 3) + "|"]
    marks = {"pass": "+", "fail": "-", "unknown": "?"}
    for name, row in rows.items():
        cells = [
            "n/a" if p["value"] is None else f"{p['value']:.3g} {marks[p['status']]}" for p in row["primary"].values()
        ]
        gap = "" if row["worst_gap"] is None else f"{row['worst_gap']:.1f}"
        lines.append(f"| {name} | {row['status']} | {gap} | " + " | ".join(cells) + " |")
    first = next(iter(rows.values()))["primary"]
    for name in ("original", "retrained"):
        values = [p[name] if isinstance(p[name], list) else [p[name]] for p in first.values()]
        cells = [f"{min(v):.3g} to {max(v):.3g}" if v and None not in v else "n/a" for v in values]
        lines.append(f"| ({name}) | | | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spent(rows: dict[str, Any], retraining: float) -> str:
    """Where the time of the first audit went, the one that looked at all five models."""
    row = next(iter(rows.values()))
    parts = sorted(row["where"].items(), key=lambda item: -item[1])
    lines = [f"{name:34} {seconds:7.1f} s  {seconds / row['seconds']:6.1%}" for name, seconds in parts]
    ratio = row["seconds"] / retraining
    return "\n".join([*lines, f"{'together':34} {row['seconds']:7.1f} s, {ratio:.2f} of one retraining"])


if __name__ == "__main__":
    main()
