"""What forgetting costs beside retraining where network and data are small: seconds of each way, in turn, on digits.

    python benchmarks/small_speed.py [--repeats 5] [--settings three odd ...] [--out FILE.json]

Trains an original for each setting, then runs the ways one after another, `--repeats` times, in one process with one
thread. Seconds are CPU seconds of the whole run without the safeguard; what the first run of a process loads besides is
kept apart by a run of everything before the clock. Ratios are to the retraining of the same repeat, by the recipe of
the original (`retrain`), and are given with their lowest and highest.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from unlearnkit import METHODS, ForgetRequest, Runtime, load_data, unlearn
from unlearnkit.methods import ConfiguredMethod
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.run_dir import WEIGHTS, versions
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run

CPU = Runtime(device=torch.device("cpu"), precision="fp32")
WAYS = ("retrain", "erase", "shrink-distill", "auto", "unsir")


@dataclass(frozen=True)
class Setting:
    """A network, what it forgets, and changes of its recipe."""

    model: str
    forget: tuple[str, ...]
    recipe: tuple[str, ...] = ()


VIT = "timm:vit_tiny_patch16_224,img_size=8,patch_size=2,embed_dim=48,depth=4,num_heads=3"
SETTINGS = {
    "three": Setting("small-cnn", ("3",)),
    "odd": Setting("small-cnn", ("1", "3", "5", "7", "9")),
    "half width": Setting("small-cnn,width=16", ("4", "9")),
    "quarter": Setting("small-cnn,width=8", ("3",), ("epochs=15",)),
    "mlp": Setting("small_mlp:SmallMLP", ("2", "7")),
    "vit": Setting(
        VIT, ("3",), ("epochs=40", "optimizer=adamw", "lr=0.002", "weight_decay=0.05", "schedule=one_cycle")
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[name for name in SETTINGS if name != "vit"])
    parser.add_argument("--out", type=Path, help="where the results go as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    report: dict[str, Any] = {"hardware": {"machine": platform.machine(), "threads": 1}, "versions": versions()}
    report["settings"] = {}
    for name in arguments.settings:
        report["settings"][name] = measured(SETTINGS[name], arguments.repeats)
        print("\n".join(rows(name, report["settings"][name])), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def measured(setting: Setting, repeats: int, ways: Sequence[str] = WAYS) -> dict[str, dict[str, Any]]:
    """Return seconds, samples and what `auto` kept, by way."""
    data = load_data("digits")
    build = functools.partial(build_model, setting.model, num_classes=len(data.classes), in_channels=1)
    model = build()
    with tempfile.TemporaryDirectory() as folder:
        spec = TrainSpec(model=setting.model, data="digits", settings=setting.recipe)
        train_run(spec, Output(Path(folder) / "original"), seed=0, runtime=CPU)
        model.load_state_dict(read_checkpoint(Path(folder) / "original" / WEIGHTS).state)
    methods: dict[str, ConfiguredMethod] = {name: METHODS[name]() for name in ways}
    methods["retrain"] = methods["retrain"].with_settings(list(setting.recipe))
    found: dict[str, dict[str, Any]] = {name: {"seconds": []} for name in ways}
    for repeat in range(repeats + 1):
        for name, method in methods.items():
            began = time.process_time()
            done = unlearn(
                model.eval(),
                method,
                data,
                ForgetRequest(classes=setting.forget),
                seed=repeat,
                runtime=CPU,
                factory=build,
                tolerance=None,
            )
            if repeat:  # the first loads what is loaded once in a process
                found[name]["seconds"].append(time.process_time() - began)
            total = done.cost["total"]
            found[name]["samples"] = [total["samples_forward"], total["samples_backward"]]
            found[name]["kept"] = done.notes.get("auto", {}).get("kept", name)
    return found


def rows(name: str, found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the rows of the table."""
    lines = []
    for way, one in found.items():
        ratios = [own / other for own, other in zip(one["seconds"], found["retrain"]["seconds"], strict=True)]
        forward, backward = one["samples"]
        kept = f" (keeps {one['kept']})" if one["kept"] != way else ""
        lines.append(
            f"| {name} | {way}{kept} | {median(one['seconds']):.2f} | {median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) | {forward:,}, {backward:,} |"
        )
    return lines


if __name__ == "__main__":
    main()
