"""UNSIR on other models and data: CIFAR-100, a small ViT on CIFAR-10, faces; each beside one retrained model.

    python benchmarks/any_model.py --data DIR --work DIR [--only NAME ...]

`--data` is a folder with `cifar10`, `cifar100` and `faces_lfw158`, each with train.parquet and test.parquet. Every
setting trains the original, retrains without the classes, forgets, and audits, by the steps behind the command line.
Run folders in --work are reused, so an interrupted benchmark goes on where it stopped. Training is short, and the
accuracy it reaches is part of the result. One seed each: these are checks that it works, not estimates of a mean.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from unlearnkit import Runtime
from unlearnkit.cli.progress import progress_for_stderr
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.run_dir import MANIFEST, WEIGHTS, read_json, versions
from unlearnkit.steps.auditing import AuditOptions
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import CaseSpec, TrainSpec
from unlearnkit.steps.train import train_run


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A model, its data, how it is trained, and what it must forget (class ids)."""

    model: str
    data: str
    recipe: tuple[str, ...]
    forget: tuple[int, ...]


MOBILENET = "timm:mobilenetv2_100"
MOBILENET_RECIPE = ("epochs=6", "batch_size=128", "lr=0.1", "weight_decay=5e-4")
VIT = "timm:vit_tiny_patch16_224,img_size=32,patch_size=4,embed_dim=128,depth=4,num_heads=4"
VIT_RECIPE = ("epochs=2", "batch_size=128", "optimizer=adamw", "lr=0.001", "weight_decay=0.05")
SETTINGS = {
    "cifar100-1": Setting(model=MOBILENET, data="cifar100", recipe=MOBILENET_RECIPE, forget=(8,)),
    "cifar100-20": Setting(model=MOBILENET, data="cifar100", recipe=MOBILENET_RECIPE, forget=tuple(range(20))),
    "vit-cifar10": Setting(model=VIT, data="cifar10", recipe=VIT_RECIPE, forget=(0,)),
    "faces": Setting(
        model="torchvision:resnet18",
        data="faces_lfw158",
        recipe=("epochs=10", "batch_size=64", "lr=0.1", "weight_decay=5e-4"),
        forget=(20,),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "any_model.json")
    arguments = parser.parse_args()
    runtime = Runtime.named(None)
    rows = {name: _run(name, SETTINGS[name], arguments.data, arguments.work, runtime) for name in arguments.only}
    if arguments.out.is_file():
        rows = json.loads(arguments.out.read_text())["rows"] | rows
    result = {
        "benchmark": "any_model",
        "hardware": {"device": str(runtime.device), "machine": platform.machine(), "threads": torch.get_num_threads()},
        "versions": versions(),
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(rows))


def _run(name: str, setting: Setting, data: Path, work: Path, runtime: Runtime) -> dict[str, Any]:
    source = f"parquet:{data / setting.data}"
    progress = progress_for_stderr()
    original = work / f"{name.split('-')[0]}-original"
    retrained, forgotten = work / f"{name}-retrained", work / f"{name}-forgotten"
    for folder, exclude in ((original, ()), (retrained, setting.forget)):
        if not (folder / MANIFEST).is_file():
            training = TrainSpec(
                model=setting.model,
                data=source,
                exclude=[str(k) for k in exclude],
                settings=setting.recipe,
            )
            train_run(training, Output(folder), runtime=runtime, progress=progress)
    result = forget_run(
        CaseSpec(weights=original / WEIGHTS, data=source, forget=setting.forget),
        MethodChoice("unsir"),
        Output(forgotten, overwrite=True),
        audit=AuditOptions(retrained=(retrained / WEIGHTS,)),
        runtime=runtime,
        progress=progress,
    )
    readings = {(r["metric"], r["model"], r["part"]): r["value"] for r in result["audit"]["readings"]}
    cost = {folder: read_json(folder, "cost.json", "total")["total"] for folder in (original, retrained, forgotten)}
    passed = {folder: c["samples_forward"] + c["samples_backward"] for folder, c in cost.items()}
    return {
        **asdict(setting),
        "accuracy": {
            model: {part: readings["accuracy", model, part] for part in ("forget_test", "retain_test")}
            for model in ("original", "unlearned", "retrained")
        },
        "seconds": {"retrained": cost[retrained]["seconds"], "unlearned": cost[forgotten]["seconds"]},
        "samples_ratio": passed[retrained] / passed[forgotten],
        "forget_samples_read": result["access"]["forget_samples_read"],
        "runtime": result["notes"]["runtime"],
        "search": result["notes"].get("search"),
    }


def table(rows: dict[str, Any]) -> str:
    """Markdown table, one line per setting; accuracies in per cent."""
    lines = [
        "| setting | original A_f / A_r | unlearned | retrained | samples: retraining / this | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        pairs = [
            " / ".join(f"{100 * row['accuracy'][model][part]:.1f}" for part in ("forget_test", "retain_test"))
            for model in ("original", "unlearned", "retrained")
        ]
        seconds = f"{row['seconds']['retrained']:.0f} / {row['seconds']['unlearned']:.0f}"
        lines.append(f"| {name} | {' | '.join(pairs)} | {row['samples_ratio']:.1f} | {seconds} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
