"""UNSIR on CIFAR-10 with torchvision's ResNet18: default, paper, notebook and no-noise control beside retraining.

    python benchmarks/cifar10_unsir.py --data DIR --work DIR [--seeds 3] [--precision bf16]

Trains the original and the two retrained models once (10 epochs each; kept in --work and reused), forgets class 0
and classes {0, 2} with every variant and seed, and prints the table of medians and ranges over the seeds. Every run
is one JSON file in --work, so an interrupted benchmark goes on where it stopped; the whole is written to --out.
`--data` is a folder with train.parquet and test.parquet.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from linear_probe import linear_probe
from unlearnkit import UNSIR, ForgetRequest, Part, Runtime, unlearn
from unlearnkit.audit import METRICS, audit, gather
from unlearnkit.cli.progress import progress_for_stderr
from unlearnkit.data import ImageData
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import WEIGHTS, read_json, versions
from unlearnkit.split import split_for
from unlearnkit.steps.opening import load_images, open_model
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run

RECIPE = ("epochs=10", "batch_size=256", "lr=0.1", "weight_decay=5e-4", "schedule=one_cycle")
REQUESTS = ((0,), (0, 2))
VARIANTS = {
    "default": UNSIR(),
    "default, no noise": UNSIR(noise=None),
    "paper": UNSIR.paper(),
    "notebook": UNSIR.notebook(),
}
TEST_METRICS = {name: METRICS[name] for name in ("accuracy", "prediction_distribution")}


def main() -> None:
    arguments = _arguments()
    runtime = Runtime.named("cpu" if arguments.cpu else None, arguments.precision)
    work: Path = arguments.work
    source = f"parquet:{arguments.data}"
    _train(work / "original", source, (), runtime)
    for request in REQUESTS:
        _train(work / _name("retrained", request), source, request, runtime)
    checkpoint = read_checkpoint(work / "original" / WEIGHTS)
    data = load_images(source, checkpoint)
    rows: list[dict[str, Any]] = []
    for request in REQUESTS:
        rows += _references(work, data, request, runtime)
        for variant, method in VARIANTS.items():
            for seed in range(arguments.seeds):
                path = work / f"{_name('run', request)}-{variant.replace(', ', '-').replace(' ', '-')}-{seed}.json"
                rows.append(_cached(path, method, runtime) or _run(work, data, request, variant, method, seed, runtime))
                temporary = path.with_suffix(".tmp")
                temporary.write_text(json.dumps(rows[-1], indent=2))
                temporary.replace(path)
    result = {
        "benchmark": "cifar10_unsir",
        "hardware": {
            "device": str(runtime.device),
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "versions": versions(),
        "precision": runtime.precision,
        "recipe": list(RECIPE),
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(rows))


def _cached(path: Path, method: UNSIR, runtime: Runtime) -> dict[str, Any] | None:
    """Return the row of an earlier run with the same settings, precision and version, if there is one."""
    if not path.is_file():
        return None
    row: dict[str, Any] = json.loads(path.read_text())
    same = (json.loads(json.dumps(method.model_dump())), runtime.precision, versions()["unlearnkit"])
    return row if (row["settings"], row.get("precision"), row.get("version")) == same else None


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown table: median (lowest to highest) over the seeds, one line per request and model."""
    lines = [
        "| forget | model | seeds | A_f % | A_r % | probe % | largest share | TV to retrained | seconds "
        "| samples: retraining / this |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for request in REQUESTS:
        for model in dict.fromkeys(row["model"] for row in rows):
            group = [row for row in rows if row["request"] == list(request) and row["model"] == model]
            if group:
                lines.append(_line(request, model, group))
    return "\n".join(lines)


def _line(request: tuple[int, ...], model: str, group: list[dict[str, Any]]) -> str:
    def cell(key: str, scale: float, digits: int) -> str:
        values = sorted(scale * row[key] for row in group if row[key] is not None)
        if not values:
            return "-"
        middle = f"{statistics.median(values):.{digits}f}"
        return middle if len(values) == 1 else f"{middle} ({values[0]:.{digits}f} to {values[-1]:.{digits}f})"

    cells = [cell("forget_accuracy", 100, 1), cell("retain_accuracy", 100, 1), cell("probe", 100, 1)]
    cells += [cell("max_share", 1, 2), cell("tv", 1, 2), cell("seconds", 1, 0), cell("samples_ratio", 1, 1)]
    return f"| {set(request)} | {model} | {len(group)} | " + " | ".join(cells) + " |"


def _run(
    work: Path, data: ImageData, request: tuple[int, ...], variant: str, method: UNSIR, seed: int, runtime: Runtime
) -> dict[str, Any]:
    original = open_model(None, read_checkpoint(work / "original" / WEIGHTS), data)
    print(f"{variant}, forget {set(request)}, seed {seed}", flush=True)
    result = unlearn(
        original,
        method,
        data,
        ForgetRequest(classes=request),
        seed=seed,
        runtime=runtime,
        progress=progress_for_stderr(),
    )
    row = _measure(work, data, request, variant, seed, result.model, runtime)
    cost = result.cost["total"]
    reference = read_json(work / _name("retrained", request), "cost.json")["total"]
    return row | {
        "seconds": cost["seconds"],
        "cost_ratio": reference["seconds"] / cost["seconds"],
        "samples_ratio": _passes(reference) / _passes(cost),
        "peak_memory_bytes": cost["peak_memory_bytes"],
        "forget_samples_read": result.access.forget_samples_read(result.split),
        "stages": result.cost["stages"],
        "notes": result.notes,
        "settings": method.model_dump(),
        "precision": runtime.precision,
        "version": versions()["unlearnkit"],
    }


def _passes(cost: dict[str, Any]) -> int:
    """Samples passed forward and backward: a measure of work that a busy machine does not change."""
    return int(cost["samples_forward"]) + int(cost["samples_backward"])


def _references(work: Path, data: ImageData, request: tuple[int, ...], runtime: Runtime) -> list[dict[str, Any]]:
    rows = []
    for name, folder in (("original", work / "original"), ("retrained", work / _name("retrained", request))):
        model = open_model(None, read_checkpoint(folder / WEIGHTS), data)
        seconds = read_json(folder, "cost.json")["total"]["seconds"]
        rows.append(
            _measure(work, data, request, name, 0, model, runtime)
            | {"seconds": seconds, "cost_ratio": None, "samples_ratio": None}
        )
    return rows


def _measure(
    work: Path,
    data: ImageData,
    request: tuple[int, ...],
    name: str,
    seed: int,
    model: torch.nn.Module,
    runtime: Runtime,
) -> dict[str, Any]:
    """Test accuracy, prediction distribution and probe of one model, beside the retrained one."""
    split = split_for(ForgetRequest(classes=request), data)
    retrained = open_model(None, read_checkpoint(work / _name("retrained", request) / WEIGHTS), data)
    evidence = gather(
        {"original": model, "unlearned": model, "retrained": [retrained]},
        data,
        split,
        metrics=TEST_METRICS.values(),
        seed=0,
        runtime=runtime,
    )
    readings = audit(evidence, TEST_METRICS)
    test = Part.FORGET_TEST.value
    return {
        "request": list(request),
        "model": name,
        "seed": seed,
        "forget_accuracy": readings.value("accuracy", "unlearned", test),
        "retain_accuracy": readings.value("accuracy", "unlearned", Part.RETAIN_TEST.value),
        "max_share": readings.value("prediction_max_share", "unlearned", test),
        "tv": readings.value("prediction_tv", "unlearned", test) if name != "retrained" else None,
        "probe": linear_probe(model, data, split, runtime),
    }


def _train(folder: Path, source: str, exclude: tuple[int, ...], runtime: Runtime) -> None:
    if not folder.exists():
        spec = TrainSpec(model="torchvision:resnet18", data=source, exclude=[str(k) for k in exclude], settings=RECIPE)
        train_run(spec, Output(folder), runtime=runtime, progress=progress_for_stderr())


def _name(kind: str, request: tuple[int, ...]) -> str:
    return "-".join([kind, *(str(k) for k in request)])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cifar10_unsir.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
