"""What forgetting costs beside other ways: the published procedure, bare passes, retraining, Fisher; and how it grows.

    python benchmarks/speed.py --data DIR [--repeats 5] [--out FILE.json]
    python benchmarks/speed.py --smoke

`--data` is a folder with CIFAR-10's train.parquet and test.parquet; class 0 is forgotten by the small network of
benchmarks/references. `--smoke` does the same in a minute with a tiny untrained network on random images, to see that
it runs. All is one process with one thread; ways that are compared alternate, and CPU seconds are medians of the
repeats. Operations are those of `unlearnkit.runtime.operations`; they are counted once, apart from the timing.

(a) The published procedure (T. Tarun et al., TNNLS 2023), written down here from its description and without any of
this project's code, against `unsir` with the same settings, `unsir` as it comes (without its search) and `erase`.
(b) The same against as many bare forward and backward passes as each of them made.
(c) Growth with the classes to forget, retained images, image size and model size: seconds and memory, each in a process
of its own, on random images.
(d) Against a retraining of forward and backward passes alone, by the reference's own recipe and by the article's (40
epochs), and against Fisher forgetting of all retained samples (timed on a few).
(e) `unlearnkit --help`, and the time until a run's first work.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from erase import load_models
from unlearnkit import UNSIR, Erase, ForgetRequest, ImageData, Part, Runtime, Unlearned, load_data, split_for, unlearn
from unlearnkit.data import ImageSet
from unlearnkit.methods import ConfiguredMethod, FisherForgetting
from unlearnkit.models import AirbenchNet
from unlearnkit.run_dir import versions
from unlearnkit.runtime.operations import Operations

CPU = Runtime(device=torch.device("cpu"), precision="fp32")
RETAINED, BATCH = 42_750, 256  # retained training samples of CIFAR-10 without one class, less those held out
ARTICLE_EPOCHS, NETWORK_EPOCHS = 40, 6
GROWTH: dict[str, tuple[int, ...]] = {
    "classes": (1, 2, 5, 10, 20, 40),
    "retained images of a class": (10, 20, 40),
    "image side": (16, 32, 64),
    "network width": (8, 16, 32),
}
USUAL = {"classes": 1, "retained images of a class": 20, "image side": 32, "network width": 16}
SMALL = {"classes": 1, "retained images of a class": 2, "image side": 16, "network width": 4}
FIRST_WORK = """
import sys, time
from unlearnkit.steps.forget import forget_run
from unlearnkit.steps.specs import CaseSpec
from unlearnkit.steps.output import Output
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.runtime.progress import Silent
from pathlib import Path
class First(Silent):
    def start(self, name, steps):
        print(time.process_time(), flush=True)
        raise SystemExit
forget_run(CaseSpec(weights=Path(sys.argv[1]), data=sys.argv[2], forget=(sys.argv[3],)), MethodChoice(),
           Output(Path(sys.argv[4])), audit=None, progress=First())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with train.parquet and test.parquet")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--weights", type=Path, help="a run folder's weights for (e), first work; none: left out")
    parser.add_argument("--weights-data", default="digits", help="and their data")
    parser.add_argument("--out", type=Path, help="where the results go as JSON")
    arguments = parser.parse_args()
    if not arguments.smoke and arguments.data is None:
        parser.error("Expected --data DIR or --smoke, but got neither; give one of them.")
    torch.set_num_threads(1)
    repeats = 1 if arguments.smoke else arguments.repeats
    if arguments.smoke:
        model: nn.Module = AirbenchNet(10, width=4).eval()
        data = random_data(classes=10, per_class=12, side=16)
        short = ["retain_per_class=8", "noise.batch_size=8", "noise.steps=2", "noise.repeats=2"]
        numbers = {"retained": 8, "noise": 8, "steps": 2, "times": 2}
    else:
        model, data = load_models("small", 0)[0]["original"], load_data(f"parquet:{arguments.data}")
        short, numbers = [], {"retained": 1000, "noise": 256, "steps": 40, "times": 20}
    request = ForgetRequest(classes=(data.classes[0],))
    ways = usual_ways(short)
    report: dict[str, Any] = {"repeats": repeats, "smoke": arguments.smoke}
    report |= compared(model, data, request, ways, numbers, repeats)
    report["growth"] = growth(smoke=arguments.smoke)
    report["command"] = command(arguments.weights, arguments.weights_data)
    report |= {"hardware": {"machine": platform.machine(), "threads": 1}, "versions": versions()}
    print("\n".join(markdown(report)))
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def usual_ways(short: Sequence[str] = ()) -> dict[str, ConfiguredMethod]:
    """UNSIR by the article's numbers and as it comes, and `erase`; `short` has settings that make them quick."""
    return {
        "unsir, paper": UNSIR.paper().with_settings(short),
        "unsir, default without search": UNSIR(search=None).with_settings(short),
        "erase": Erase().with_settings(short[:1]),
    }


def now(device: torch.device) -> float:
    """CPU seconds of this process, or on another device those of the clock when its work is done."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize(device)
    return time.perf_counter()


def compared(
    model: nn.Module,
    data: ImageData,
    request: ForgetRequest,
    ways: Mapping[str, ConfiguredMethod],
    numbers: Mapping[str, int],
    repeats: int,
    *,
    runtime: Runtime = CPU,
    epochs: int = NETWORK_EPOCHS,
) -> dict[str, Any]:
    """(a), (b) and (d): seconds, passes and operations of each way, in turn.

    Ways of this project run as `runtime` says, what they are held against in float32 on the same device; `epochs` are
    those of the reference's recipe.
    """
    device = runtime.device
    split = split_for(request, data)
    data.fix_shape_for(split)
    rows = split[Part.RETAIN_TRAIN]
    images, labels = data.normalise(data.train.images(rows, device)), data.labels("train")[rows].to(device)
    bare_model = copy.deepcopy(model).to(device)
    fisher_samples = min(64 if device.type == "cpu" else 2048, len(rows))  # so that starting a run does not count
    last: dict[str, Unlearned] = {}

    def run(name: str, method: ConfiguredMethod, runtime: Runtime = runtime) -> None:
        last[name] = unlearn(model, method, data, request, seed=0, runtime=runtime, tolerance=None)

    def operations(name: str) -> int:
        if name in ways:
            run(name, ways[name], replace(runtime, count_operations=True))
            return int(last[name].cost["total"]["operations"])
        counter = Operations()
        with counter.counting():
            runs[name]()
        return counter.total

    runs: dict[str, Callable[[], object]] = {
        "published": lambda: published(bare_model, images, labels, data.shape, (0,), **numbers),
        **{name: partial(run, name, method) for name, method in ways.items()},
        "fisher, a few samples": lambda: run(
            "fisher, a few samples", FisherForgetting().with_settings([f"fisher.samples={fisher_samples}"])
        ),
        "bare forward": lambda: bare(bare_model, images[:BATCH], labels[:BATCH], backward=False),
        "bare forward and backward": lambda: bare(bare_model, images[:BATCH], labels[:BATCH], backward=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, work in runs.items():
            began = now(device)
            work()
            seconds[name].append(now(device) - began)
    batch = len(images[:BATCH])
    forward, both = (median(seconds[f"bare {kind}"]) / batch for kind in ("forward", "forward and backward"))
    found: dict[str, Any] = {}
    for name in ("published", *ways):
        classes = int(labels.unique().numel())
        total = last[name].cost["total"] if name in last else published_passes(classes, **numbers)
        passes = total["samples_forward"], total["samples_backward"]
        found[name] = {
            "seconds": seconds[name],
            "samples_forward": passes[0],
            "samples_backward": passes[1],
            "operations": operations(name),
            "bare_seconds": (passes[0] - passes[1]) * forward + passes[1] * both,
        }
    retraining = {
        "the reference's recipe": epochs * RETAINED * both,
        "the article's": ARTICLE_EPOCHS * RETAINED * both,
        "fisher": median(seconds["fisher, a few samples"]) / fisher_samples * RETAINED,
    }
    return {"ways": found, "beside": retraining}


def published(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    shape: tuple[int, int, int],
    forgotten: tuple[int, ...],
    *,
    retained: int,
    noise: int,
    steps: int,
    times: int,
) -> nn.Module:
    """The published notebook with its bugs fixed, in plain torch: noise, impair, repair.

    Source: A. K. Tarun et al., arXiv 2111.08947, and the numbers of the authors' notebook.
    """
    network = copy.deepcopy(model).train()
    kept = torch.cat([torch.nonzero(labels == k).flatten()[:retained] for k in labels.unique()])
    made = []
    for k in forgotten:
        pictures = torch.randn(noise, *shape, device=images.device, requires_grad=True)
        optimizer = torch.optim.Adam([pictures], lr=0.1)
        target = torch.full((noise,), k, device=images.device)
        for _ in range(steps):
            error = nn.functional.cross_entropy(network(pictures), target)
            loss = 0.1 * pictures.square().sum(dim=(1, 2, 3)).mean() - error
            optimizer.zero_grad()
            loss.backward()  # gradients of the weights are computed too, as published
            optimizer.step()
        made.append((pictures.detach().repeat(times, 1, 1, 1), target.repeat(times)))
    mixed = (
        torch.cat([images[kept], *(pictures for pictures, _ in made)]),
        torch.cat([labels[kept], *(target for _, target in made)]),
    )
    for rate, (inputs, targets) in ((0.02, mixed), (0.01, (images[kept], labels[kept]))):
        optimizer = torch.optim.Adam(network.parameters(), lr=rate)
        for positions in torch.randperm(len(inputs)).to(images.device).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[positions]), targets[positions]).backward()
            optimizer.step()
    return network.eval()


def published_passes(classes: int, *, retained: int, noise: int, steps: int, times: int) -> dict[str, int]:
    """Samples that `published` passes when it forgets one class, in each direction."""
    count = noise * (steps + times) + 2 * retained * classes
    return {"samples_forward": count, "samples_backward": count}


def bare(model: nn.Module, images: Tensor, labels: Tensor, *, backward: bool) -> None:
    """One batch through the model, and back."""
    with torch.set_grad_enabled(backward):
        loss = nn.functional.cross_entropy(model(images), labels)
    if backward:
        loss.backward()
        model.zero_grad(set_to_none=True)


def growth(*, smoke: bool) -> dict[str, list[dict[str, float]]]:
    """(c): seconds and memory of `erase` as one thing grows; each run in a process of its own."""
    usual, classes = (SMALL, 10) if smoke else (USUAL, 100)
    found: dict[str, list[dict[str, float]]] = {}
    for what, values in list(GROWTH.items())[: 1 if smoke else None]:
        found[what] = []
        for value in values[:1] if smoke else values:
            with multiprocessing.get_context("fork").Pool(1) as pool:
                given = usual | ({} if smoke else {what: value})
                seconds, memory = pool.apply(grown, (classes, *given.values()))
            found[what].append({"value": given[what], "seconds": seconds, "memory_bytes": memory})
    return found


def grown(classes: int, forgotten: int, per_class: int, side: int, width: int) -> tuple[float, int]:
    """CPU seconds of one run of `erase` on random images, and the memory that it added at most."""
    data = random_data(classes=classes, per_class=per_class + 2, side=side)
    model = AirbenchNet(classes, width=width).eval()
    request = ForgetRequest(classes=data.classes[:forgotten])
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    unlearn(model, Erase(retain_per_class=per_class), data, request, seed=0, runtime=CPU, tolerance=None)
    seconds = time.process_time() - began
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def random_data(*, classes: int, per_class: int, side: int) -> ImageData:
    """Random colour images."""

    def images(count: int, seed: int) -> ImageSet:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(classes).repeat_interleave(count)
        pixels = torch.randint(0, 256, (len(labels), 3, side, side), generator=generator, dtype=torch.uint8)
        return ImageSet(labels, lambda _: (3, side, side), lambda rows, _: pixels[list(rows)])

    names = tuple(str(k) for k in range(classes))
    return ImageData(source="random", classes=names, train=images(per_class, 0), test=images(1, 1))


def command(weights: Path | None, data: str) -> dict[str, float]:
    """(e): CPU seconds of `--help`, whether torch is loaded for it (1; 0: not), and until a run's first work."""
    helped = "import sys; sys.argv = ['unlearnkit', '--help']\nfrom unlearnkit.cli import app\n"
    helped += "try:\n    app()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run([sys.executable, "-c", helped], check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {"help": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}
    found["help loads torch"] = float(shown.split()[-1] == "True")
    if weights is not None:
        first = "0" if data != "digits" else "3"
        done = subprocess.run(
            [sys.executable, "-c", FIRST_WORK, str(weights), data, first, str(weights.parent / "never-written")],
            check=True,
            capture_output=True,
            text=True,
        )
        found["first work"] = float(done.stdout.split()[-1])
    return found


def markdown(report: Mapping[str, Any]) -> list[str]:
    """Return the tables."""
    ways, beside = report["ways"], report["beside"]
    slowest = median(ways["published"]["seconds"])
    lines = [
        "| way | seconds (lowest to highest) | samples forward, backward | operations | published / this "
        "| this / bare passes | the reference's retraining / this | the article's / this | Fisher / this |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, way in ways.items():
        spent = median(way["seconds"])
        others = (beside[other] / spent for other in ("the reference's recipe", "the article's", "fisher"))
        lines.append(
            f"| {name} | {spent:.2f} ({min(way['seconds']):.2f} to {max(way['seconds']):.2f}) "
            f"| {way['samples_forward']:,}, {way['samples_backward']:,} | {way['operations']:.3g} "
            f"| {slowest / spent:.1f} | {spent / way['bare_seconds']:.2f} | "
            + " | ".join(f"{ratio:.0f}" for ratio in others)
            + " |"
        )
    lines += ["", "| `erase` on random images, as this grows | | seconds | times the first | memory, MB |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for what, rows in report["growth"].items():
        for row in rows:
            times = row["seconds"] / rows[0]["seconds"]
            memory = row["memory_bytes"] / 1e6
            lines.append(f"| {what} | {row['value']} | {row['seconds']:.2f} | {times:.2f} | {memory:.0f} |")
    lines += ["", *(f"{name}: {seconds:.2f} CPU seconds" for name, seconds in report["command"].items())]
    return lines


if __name__ == "__main__":
    main()
