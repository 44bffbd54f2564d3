"""Judges ways to forget, at what they cost, by the audit's votes on a reference network with three retrained models.

    python benchmarks/audit_ways.py --data DIR --network small
        [--way "LABEL=METHOD[,SETTING=VALUE ...] [then METHOD ...]" ...] [--seeds 2] [--images 4000] [--name NAME]

`--data` is a folder with CIFAR-10's train.parquet and test.parquet; class 0 is forgotten by a network of
benchmarks/references, so that nothing need be trained. Without `--way` the ways are `WAYS`: budgets from 1/200 to 1/5
of a retraining, spent on erasure, with and without a repair, and on UNSIR with and without noise. What follows `then`
goes on from what the method before it made; the costs are added. Prints each with its cost, its verdict
and the readings that fail, and writes benchmarks/results/ways-NETWORK.json after every run. An architecture without a
bank is judged by the prior over settings. Seconds are CPU seconds of one process with one thread; a retraining's are
those of `benchmarks/erase.py`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from erase import NETWORKS, load_models, retraining_seconds
from unlearnkit import ForgetRequest, ImageData, Runtime
from unlearnkit.audit import METRICS, Evidence, audit, gather
from unlearnkit.audit.bank import bank_for, priors_for
from unlearnkit.audit.metrics.registry import PRIMARY_METRICS
from unlearnkit.methods import unlearn
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.methods.method import ConfiguredMethod
from unlearnkit.run_dir import versions
from unlearnkit.split import split_for
from unlearnkit.steps.opening import load_images

ARCHITECTURES = {"small": "airbench,width=16", "small-residual": "small_residual:SmallResidual", "airbench": "airbench"}
VOTING = {name: METRICS[name] for name in PRIMARY_METRICS}
PASSES = ("samples_forward", "samples_backward")
RESULTS = Path(__file__).parent / "results"
UNSIR = "unsir,search=none"
RANDOM = "noise.steps=1,noise.lr=0.000001"
WAYS = {
    "erase": "erase",
    "erase-250": "erase,retain_per_class=250",
    "erase, 40 steps of repair": "erase,repair.steps=40",
    "erase, 160 steps of repair": "erase,repair.steps=160",
    "UNSIR, 250 a class": f"{UNSIR},retain_per_class=250",
    "UNSIR, 250, random noise": f"{UNSIR},retain_per_class=250,{RANDOM}",
    "UNSIR, 250, no noise": f"{UNSIR},retain_per_class=250,noise=none",
    "UNSIR, a fifth": UNSIR,
    "UNSIR, a fifth, random noise": f"{UNSIR},{RANDOM}",
    "UNSIR, a fifth, no noise": f"{UNSIR},noise=none",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--way", dest="ways", action="append", default=[], help="LABEL=METHOD[,SETTING=VALUE ...]")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--name", help="of the results; default: ways-NETWORK")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ways = dict(way.split("=", 1) for way in arguments.ways) or WAYS
    name = arguments.name or f"ways-{arguments.network}"
    result: dict[str, Any] = {"benchmark": name, "images": arguments.images, "versions": versions(), "rows": []}
    for row in judged(arguments.network, arguments.data, ways, arguments.seeds, arguments.images):
        result["rows"].append(row)
        print(line(row), flush=True)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, default=str) + "\n")
    print("\n" + "\n".join(markdown(result["rows"])))


def judged(network: str, folder: Path, ways: Mapping[str, str], seeds: int, images: int) -> Iterator[dict[str, Any]]:
    """Run every way with every seed, and yield what the audit makes of it."""
    data, runtime = load_images(f"parquet:{folder}", None), Runtime.named("cpu")
    request = ForgetRequest(classes=(data.classes[0],))
    models, facts = load_models(network, 3)
    original = models.pop("original")
    split = split_for(request, data)
    data.fix_shape_for(split)
    bank = bank_for(data.source, data.classes, ARCHITECTURES[network], data.classes[:1])
    known: Evidence | None = None
    for label, text in ways.items():
        for seed in range(seeds):
            before = retraining_seconds(original, facts["recipe"], data, split)
            began = time.process_time()
            unlearned, passes = made_by(methods_of(text), original, data, request, seed, runtime)
            seconds = time.process_time() - began
            retraining = (before + retraining_seconds(original, facts["recipe"], data, split)) / 2
            evidence = gather(
                {"original": original, "retrained": list(models.values()), "unlearned": unlearned},
                data,
                split,
                metrics=VOTING.values(),
                seed=0,
                runtime=runtime,
                images=images,
                earlier=known,
            )
            known = replace(evidence, subjects=tuple(s for s in evidence.subjects if s.name != "unlearned"))
            found = audit(evidence, VOTING, priors=priors_for(bank))
            votes = [r for r in found.readings if r.model == "unlearned" and r.verdict is not None]
            yield {
                "way": label,
                "method": text,
                "seed": seed,
                "seconds": seconds,
                "retraining_seconds": retraining,
                "passes": passes,
                "bank": None if bank is None else bank.name,
                "verdict": asdict(found.verdict),
                "votes": {
                    f"{r.metric}/{r.part}": {k: getattr(r, k) for k in ("value", "band", "verdict", "gap")}
                    for r in votes
                },
            }


def methods_of(text: str) -> list[ConfiguredMethod]:
    """Return the methods of a way, in the order in which they run."""
    chosen = (part.split(",") for part in text.split(" then "))
    return [MethodChoice(name, settings=settings).make() for name, *settings in chosen]


def made_by(
    methods: Sequence[ConfiguredMethod],
    model: nn.Module,
    data: ImageData,
    request: ForgetRequest,
    seed: int,
    on: Runtime,
) -> tuple[nn.Module, dict[str, int]]:
    """Return what methods make of a model one after another, and the samples that they passed together."""
    passes = dict.fromkeys(PASSES, 0)
    for method in methods:
        result = unlearn(model, method, data, request, seed=seed, runtime=on, tolerance=None)
        model, passes = result.model, {key: passes[key] + result.cost["total"][key] for key in PASSES}
    return model, passes


def line(row: Mapping[str, Any]) -> str:
    """Return a row in one line."""
    verdict, share = row["verdict"], row["retraining_seconds"] / row["seconds"]
    return (
        f"{row['way']:30} seed {row['seed']}  {row['seconds']:6.1f} s  1/{share:.0f}  {verdict['status']}  "
        f"gap {verdict['worst_gap']:.2f} ({verdict['worst']})  outside: {', '.join(outside(row)) or '-'}"
    )


def outside(row: Mapping[str, Any]) -> list[str]:
    """Return the readings that lie outside their bands."""
    return [name for name, vote in row["votes"].items() if vote["verdict"] == "fail"]


def markdown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table: a way a row, the range over its seeds."""
    columns = {
        "A_r": "accuracy/retain_test",
        "tv": "prediction_tv/forget_test",
        "act": "activation_distance/forget_test",
        "probe": "probe_recovery/forget_test",
        "class means": "prototype_recovery/forget_test",
        "depth": "depth_recovery/forget_test",
        "return": "return_recovery/forget_test",
    }
    lines = [
        "| way | seconds | retraining / this | samples forward, backward | worst gap | " + " | ".join(columns) + " |",
        "| --- " * (5 + len(columns)) + "|",
    ]
    for label in dict.fromkeys(row["way"] for row in rows):
        mine = [row for row in rows if row["way"] == label]
        ratio = median(row["retraining_seconds"] / row["seconds"] for row in mine)
        passes = mine[0]["passes"]
        cells = [
            label,
            _range([row["seconds"] for row in mine], 1),
            f"{ratio:.0f}",
            f"{passes['samples_forward']:,}, {passes['samples_backward']:,}",
            _range([row["verdict"]["worst_gap"] for row in mine], 2),
            *(_range([row["votes"][key]["value"] for row in mine], 3) for key in columns.values()),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _range(values: Sequence[float], digits: int) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    main()
