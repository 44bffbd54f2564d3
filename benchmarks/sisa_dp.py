"""Measures sharded (SISA) and private training on digits: accuracy, and what a request costs or is promised.

`python benchmarks/sisa_dp.py [--seeds 0 1 2]` writes one JSON line for each training to standard output. CPU seconds
are user and system time of this process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from unlearnkit.data import ImageData
from unlearnkit.data.choosing_rows import RowChoice
from unlearnkit.data.sources.registry import open_source
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.methods.sisa import slice_name
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.network import logits_of
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.output import Output
from unlearnkit.steps.rows import RowRequest
from unlearnkit.steps.specs import CaseSpec, TrainSpec
from unlearnkit.steps.train import train_run
from unlearnkit.training.group_privacy import for_request
from unlearnkit.training.private import Privacy
from unlearnkit.training.sharding import ShardedTraining, Sharding

CPU = Runtime(device=torch.device("cpu"), precision="fp32")
CLASS = "3"


def timed(work: Callable[[], object]) -> float:
    """Run the work, and return its CPU seconds."""
    began = time.process_time()
    work()
    return round(time.process_time() - began, 2)


def test_logits(weights: Path, data: ImageData) -> torch.Tensor:
    """Return the logits of a model of ours on all test images."""
    checkpoint = read_checkpoint(weights)
    assert checkpoint.card is not None, "weights of ours have a card"
    network = build_model(checkpoint.card.model, num_classes=len(data.classes), in_channels=1)
    checkpoint.load_into(network)
    return logits_on(network, data)


@torch.no_grad()
def logits_on(network: torch.nn.Module, data: ImageData) -> torch.Tensor:
    """Return the logits of a network on all test images."""
    pixels = data.test.images(torch.arange(len(data.labels("test"))), torch.device("cpu"))
    return logits_of(network.eval()(data.normalise(pixels)))


def accuracy(logits: torch.Tensor, labels: torch.Tensor, *, without: int | None = None) -> float:
    """Return the accuracy, of the classes but one."""
    keep = labels != (-1 if without is None else without)
    return round(float((logits.argmax(dim=1) == labels)[keep].float().mean()), 4)


def aggregations(run: Path, shards: int, slices: int, model: str, data: ImageData) -> dict[str, float]:
    """Return the accuracy by the mean of logits, the mean of probabilities, and the majority vote."""
    members = []
    for shard in range(shards):
        network = build_model(model, num_classes=len(data.classes), in_channels=1)
        network.load_state_dict(read_checkpoint(run / slice_name(shard, slices - 1)).state)
        members.append(logits_on(network, data))
    logits_SNK, labels = torch.stack(members), data.labels("test")
    votes = torch.nn.functional.one_hot(logits_SNK.argmax(dim=2), len(data.classes)).sum(dim=0).float()
    found = {
        "logits": logits_SNK.mean(dim=0),
        "probabilities": logits_SNK.softmax(dim=2).mean(dim=0),
        "vote": votes,  # of equal counts the first class
    }
    return {name: accuracy(scores, labels) for name, scores in found.items()} | {
        "one network": round(sum(accuracy(each, labels) for each in members) / shards, 4)
    }


def rows_file(folder: Path, count: int, seed: int, rows: int) -> Path:
    """Write a file of so many random training rows."""
    chosen = torch.randperm(rows, generator=torch.Generator().manual_seed(1000 + seed))[:count]
    path = folder / f"rows-{count}.csv"
    path.write_text("\n".join(["row", *map(str, chosen.tolist())]))
    return path


def sharded(folder: Path, shards: int, slices: int, seed: int, data: ImageData) -> dict[str, Any]:
    """Train in shards, forget one row, ten rows and a class, and return the figures."""
    model, labels = "small-cnn", data.labels("test")
    spec = TrainSpec(model=model, data="digits", sharding=Sharding(shards=shards, slices=slices))
    run = folder / "run"
    found: dict[str, Any] = {"shards": shards, "slices": slices, "seed": seed}
    found["train_seconds"] = timed(lambda: train_run(spec, Output(run), seed=seed, runtime=CPU))
    found["accuracy"] = aggregations(run, shards, slices, model, data)
    card = read_checkpoint(run / WEIGHTS).card
    assert card is not None
    assert card.sharded is not None
    plan = ShardedTraining(**card.sharded)
    everything = torch.arange(plan.rows)
    shares = [plan.passes(everything, plan.touched(everything[k : k + 1])) for k in range(plan.rows)]
    found["one_row_mean_share"] = round(sum(shares) / plan.rows / plan.passes(everything), 4)
    for count in (1, 10, 0):
        choice = RowChoice(file=rows_file(folder, count, seed, plan.rows)) if count else RowChoice()
        case = CaseSpec(
            weights=run / WEIGHTS,
            data="digits",
            forget=() if count else (CLASS,),
            rows=RowRequest(choice=choice, duplicates=False),
        )
        out = folder / f"forgot-{count}"
        seconds = timed(lambda: forget_run(case, MethodChoice("sisa"), Output(out), audit=None, runtime=CPU))  # noqa: B023
        notes = read_json(out, "config.json", "notes")["notes"]["sisa"]
        logits = test_logits(out / WEIGHTS, data)
        found[f"{count} rows" if count else "class"] = {
            "touched": notes["touched"],
            "share": round(notes["passes"] / notes["retraining"], 4),
            "seconds": seconds,
            "accuracy": accuracy(logits, labels, without=None if count else int(CLASS)),
        }
    return found


def private(folder: Path, epsilon: float | None, seed: int, data: ImageData) -> dict[str, Any]:
    """Train with differential privacy, or for comparison without, and return what it says of requests."""
    settings = ("lr=0.5", "epochs=30", "batch_size=256") if epsilon is not None else ()
    privacy = None if epsilon is None else Privacy(epsilon=epsilon)
    spec = TrainSpec(model="small-cnn,norm=group", data="digits", settings=settings, privacy=privacy)
    found: dict[str, Any] = {"epsilon": epsilon, "seed": seed}
    found["train_seconds"] = timed(lambda: train_run(spec, Output(folder / "run"), seed=seed, runtime=CPU))
    found["accuracy"] = accuracy(test_logits(folder / "run" / WEIGHTS, data), data.labels("test"))
    if epsilon is not None:
        card = read_checkpoint(folder / "run" / WEIGHTS).card
        assert card is not None
        assert card.private is not None
        made = card.private
        found |= {key: made[key] for key in ("delta", "noise_multiplier", "steps")} | {"spent": made["epsilon"]}
        in_class = int((data.labels("train") == int(CLASS)).sum())
        found["requests"] = {k: for_request(made["epsilon"], made["delta"], k).as_record() for k in (1, 10, in_class)}
    return found


def main() -> None:
    """Print the figures of every training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=["sharded", "private"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = open_source("digits", [])
    data.fix_shape(0)
    for seed in arguments.seeds:
        for shards in (1, 2, 5) if arguments.only != "private" else ():
            for slices in (1, 3):
                with tempfile.TemporaryDirectory() as folder:
                    print(json.dumps(sharded(Path(folder), shards, slices, seed, data)), flush=True)
        for epsilon in (None, 1.0, 3.0, 8.0) if arguments.only != "sharded" else ():
            with tempfile.TemporaryDirectory() as folder:
                print(json.dumps(private(Path(folder), epsilon, seed, data)), flush=True)


if __name__ == "__main__":
    main()
