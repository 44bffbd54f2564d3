"""Measures what the default audit costs against one retraining, without doing either: prices times counts.

    python benchmarks/audit_cost.py --data DIR [--model resnet18-cifar] [--retrained 3] [--epochs 10] [--image-size N]
        [--clock]

- *Prices*: CPU seconds for an image that is passed forward, or trained on, at the batch sizes that the audit and the
  training use. A few steps of each, with random weights: time does not depend on them.
- *Counts*: how many images each part of the audit passes, from a real default audit of tiny networks on the same data.
  Relearning is made to go on to its cap, the most that it can take; how often a filter is tried is counted for the
  tiny network, and is a hundredth of the rest.
- *Readings*: the real ones, all of them, on features of this architecture's layers and sizes, drawn with class means.

The product of the first two and the last are the audit's seconds; the retraining's are epochs times retained training
images times the price of a training step. One thread; CPU seconds, so that other load matters little. Prints a table,
and writes benchmarks/results/audit_cost-MODEL.json (MODEL-N with an image size).

`--clock` does both as well: the default audit of untrained networks of that architecture, for which relearning goes on
to its cap, and a tenth of an epoch of its training, and holds the estimate beside them. It ends within half an hour for
images of 16 pixels; at full size it would take hours.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit import ForgetRequest, Runtime
from unlearnkit.audit import METRICS, audit, gather
from unlearnkit.audit.bank import priors_for
from unlearnkit.audit.evidence import Evidence, Outputs, Subject
from unlearnkit.audit.observe import relearning
from unlearnkit.audit.observe.attacking import FEW_SHOT
from unlearnkit.audit.observe.feature_layers import choose_layers, collecting
from unlearnkit.audit.observe.relative_steps import RelativeSteps
from unlearnkit.audit.observe.returning import BATCH as RETURN_BATCH
from unlearnkit.audit.reading import ModelName, Spent
from unlearnkit.data import ImageData
from unlearnkit.data.access import AccessLog
from unlearnkit.data.view import DataView
from unlearnkit.models import build_model
from unlearnkit.models.head import find_head
from unlearnkit.network import evaluating, logits_of
from unlearnkit.run_dir import versions
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.split import Part, Split, split_for
from unlearnkit.steps.opening import InputOptions, load_images
from unlearnkit.training.from_scratch import recipe_for
from unlearnkit.training.loop import train
from unlearnkit.training.recipe import make_optimizer

RESULTS = Path(__file__).parent / "results"
TINY = "small-cnn,width=4"
PASSES = 128  # images in a forward pass
STAGES = ("prices", "counts", "readings")
OF_CLASS = {Part.RETAIN_TRAIN: 3_000, Part.FORGET_TRAIN: 1_000, Part.RETAIN_TEST: 5_000, Part.FORGET_TEST: 1_000}


def price(run: Callable[[], None], images: int, times: int) -> float:
    """Return the CPU seconds of an image, the least of several runs after one that is not counted."""
    run()
    taken = []
    for _ in range(times):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return min(taken) / images


def prices(name: str, data: ImageData, runtime: Runtime, times: int) -> dict[str, float]:
    """Return what an image costs that is passed forward or trained on in the ways of the audit and of `train`."""
    model = runtime.weights(build_model(name, num_classes=len(data.classes), in_channels=data.shape[0]))
    recipe = recipe_for(model, data.augment)
    images = torch.randn(PASSES, *data.shape)
    labels = torch.arange(PASSES) % len(data.classes)
    head = find_head(model, num_classes=len(data.classes), shape=data.shape)
    layers = choose_layers(model, num_classes=len(data.classes), shape=data.shape)

    def forward() -> None:
        with torch.no_grad(), evaluating(model), collecting(model, layers, head, shape=data.shape):
            model(runtime.inputs(images))

    def step(batch: int, zero: Callable[[], None], move: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            model.train()
            zero()
            F.cross_entropy(logits_of(model(runtime.inputs(images[:batch]))), labels[:batch]).backward()
            move()

        return run

    relative = RelativeSteps(model, rate=1e-4)
    found = {"forward": price(forward, PASSES, times)}
    for key, batch in (("return", RETURN_BATCH), ("relearning", relearning.BATCH)):
        found[key] = price(step(batch, relative.zero_grad, relative.step), batch, times)
    for key, each in (("few_shots", FEW_SHOT), ("training", recipe)):
        batch, optimizer = min(each.batch_size, PASSES), make_optimizer(model, each.model_copy(update={"lr": 1e-6}))
        found[key] = price(step(batch, optimizer.zero_grad, optimizer.step), batch, times)
    return found


def counts(data: ImageData, split: Split, runtime: Runtime, retrained: int) -> dict[str, Spent]:
    """Return what a real default audit of tiny networks passes, by part; relearning goes on to its cap."""

    def tiny() -> nn.Module:
        return build_model(TINY, num_classes=len(data.classes), in_channels=data.shape[0]).eval()

    relearning.MARGIN = -1.0  # no accuracy is so far above the original's
    models: dict[ModelName, Any] = {
        "original": tiny(),
        "unlearned": tiny(),
        "retrained": [tiny() for _ in range(retrained)],
    }
    spent = gather(models, data, split, metrics=METRICS.values(), seed=0, runtime=runtime).spent
    return {str(work): each for work, each in spent.items()}


def readings(evidence: Evidence) -> dict[str, float]:
    """Return the CPU seconds of each metric, what gathers the evidence apart."""
    seconds = {}
    for name, metric in METRICS.items():
        began = time.process_time()
        metric.fn(evidence)
        seconds[name] = time.process_time() - began
    return seconds


def drawn(name: str, data: ImageData, split: Split, retrained: int) -> Evidence:
    """Return evidence of the size that the default audit has of this architecture, with features around class means."""
    model = build_model(name, num_classes=len(data.classes), in_channels=data.shape[0]).eval()
    head = find_head(model, num_classes=len(data.classes), shape=data.shape)
    layers = choose_layers(model, num_classes=len(data.classes), shape=data.shape)
    with torch.no_grad(), collecting(model, layers, head, shape=data.shape) as collected:
        model(torch.randn(2, *data.shape))
    widths = {layer: values.shape[1] for layer, values in collected.features().items()}
    generator = torch.Generator().manual_seed(0)
    classes = {part: split.request.forget if part.forgotten else split.request.retained for part in OF_CLASS}

    def outputs(part: Part, means: dict[str, Tensor]) -> Outputs:
        n = OF_CLASS[part]
        labels = torch.tensor(classes[part])[torch.arange(n) % len(classes[part])]
        noise = {layer: torch.randn(n, width, generator=generator) for layer, width in widths.items()}
        known = {layer: means[layer][labels] + values for layer, values in noise.items()}
        logits = 3 * F.one_hot(labels, len(data.classes)) + torch.randn(n, len(data.classes), generator=generator)
        return Outputs(logits=logits, labels=labels, sampled_from=len(split[part]), features=known)

    subjects = []
    named: list[tuple[ModelName, int]] = [("original", 0), ("unlearned", 0)]
    named += [("retrained", i) for i in range(retrained)]
    for model_name, replicate in named:
        means = {
            layer: torch.randn(len(data.classes), width, generator=generator) * 3 / width**0.5
            for layer, width in widths.items()
        }
        seen = {part: outputs(part, means) for part in OF_CLASS}
        subjects.append(Subject(name=model_name, replicate=replicate, outputs=seen))
    return Evidence(request=split.request, subjects=tuple(subjects), tier="E3")


def by_the_clock(name: str, data: ImageData, split: Split, runtime: Runtime, retrained: int) -> dict[str, float]:
    """Return the CPU seconds that a default audit of untrained networks takes, and an image of their training."""

    def untrained() -> nn.Module:
        return build_model(name, num_classes=len(data.classes), in_channels=data.shape[0]).eval()

    models: dict[ModelName, Any] = {
        "original": untrained(),
        "unlearned": untrained(),
        "retrained": [untrained() for _ in range(retrained)],
    }
    began = time.process_time()
    evidence = gather(models, data, split, metrics=METRICS.values(), seed=0, runtime=runtime)
    gathered = time.process_time()
    audit(evidence, METRICS, priors=priors_for(None))
    audited = time.process_time()
    found = {"gathering": gathered - began, "reading": audited - gathered}
    model = runtime.weights(untrained())
    recipe = recipe_for(model, data.augment).model_copy(update={"epochs": 1})
    view = DataView(
        data, split, frozenset({Part.RETAIN_TRAIN}), reader="method", log=AccessLog(data), device=runtime.device
    )
    samples = view.part(Part.RETAIN_TRAIN)
    generator = torch.Generator().manual_seed(0)
    some = samples.subset(torch.randperm(len(samples), generator=generator)[: len(samples) // 10])
    began = time.process_time()
    train(model, some, recipe, stage="train", generator=generator, runtime=runtime, log=RunLog(runtime))
    return found | {"training image": (time.process_time() - began) / len(some)}


def seconds_of(found: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds of each part of the audit, from prices, counts and readings."""
    price_of, forward = found["cpu seconds of an image"], found["cpu seconds of an image"]["forward"]
    seconds = {
        work: back * price_of.get(work, 0.0) + (passed - back) * forward
        for work, (passed, back) in found["images"].items()
    }
    for name, taken in found["readings"].items():
        work = "features" if "features" in METRICS[name].wants else "readings"
        seconds[work] = seconds.get(work, 0.0) + taken
    return seconds


def show(found: Mapping[str, Any]) -> None:
    """Print the parts of the audit in seconds, and as shares of the retraining."""
    retraining = found["one retraining"]["cpu seconds"]
    print(f"one retraining of {found['one retraining']['epochs']} epochs: {retraining:.0f} s")
    for work, taken in found["cpu seconds"].items():
        passed = found["images"].get(work)
        images = f"{passed[0]:,} images forward, {passed[1]:,} back" if passed else ""
        print(f"{work:12} {taken:8.0f} s {taken / retraining:7.1%}  {images}")
    print(f"{'all':12} {sum(found['cpu seconds'].values()):8.0f} s {found['audit of a retraining']:7.1%}")
    for name, taken in sorted(found["readings"].items(), key=lambda pair: -pair[1])[:6]:
        print(f"  {name}: {taken:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of CIFAR-10's parquet files")
    parser.add_argument("--model", default="resnet18-cifar")
    parser.add_argument("--retrained", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--times", type=int, default=2, help="that each price is measured")
    parser.add_argument("--image-size", type=int, help="pixels that images are resized to")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES), help="measure these alone anew")
    parser.add_argument("--clock", action="store_true", help="measure a whole audit, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runtime = Runtime(device=torch.device("cpu"))
    data = load_images(f"parquet:{arguments.data}", None, InputOptions.by_hand(size=arguments.image_size))
    split = split_for(ForgetRequest(classes=(0,)), data)
    data.fix_shape(split.retained_row("the audit"))
    RESULTS.mkdir(exist_ok=True)
    name = f"audit_cost-{arguments.model}" + (f"-{arguments.image_size}" if arguments.image_size else "")
    out = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
    found |= {
        "benchmark": name,
        "model": arguments.model,
        "shape": list(data.shape),
        "retrained": arguments.retrained,
        "hardware": {"device": "cpu", "machine": platform.machine(), "threads": 1},
        "versions": versions(),
    }
    for stage in arguments.only:
        began = time.process_time()
        if stage == "prices":
            found["cpu seconds of an image"] = prices(arguments.model, data, runtime, arguments.times)
        elif stage == "counts":
            passed = counts(data, split, runtime, arguments.retrained)
            found["images"] = {work: [each.samples_forward, each.samples_backward] for work, each in passed.items()}
        else:
            found["readings"] = readings(drawn(arguments.model, data, split, arguments.retrained))
        out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{stage}: measured in {time.process_time() - began:.0f} CPU seconds", flush=True)
    if all(key in found for key in ("cpu seconds of an image", "images", "readings")):
        images = arguments.epochs * len(split[Part.RETAIN_TRAIN])
        retraining = images * found["cpu seconds of an image"]["training"]
        seconds = seconds_of(found)
        found["one retraining"] = {"epochs": arguments.epochs, "images": images, "cpu seconds": retraining}
        found["cpu seconds"] = seconds
        found["audit of a retraining"] = sum(seconds.values()) / retraining
        out.write_text(json.dumps(found, indent=1) + "\n")
        show(found)
        if arguments.clock:
            clock = by_the_clock(arguments.model, data, split, runtime, arguments.retrained)
            clock["audit of a retraining"] = (clock["gathering"] + clock["reading"]) / (
                images * clock["training image"]
            )
            found["by the clock"] = clock
            out.write_text(json.dumps(found, indent=1) + "\n")
            print(f"by the clock: {clock}")


if __name__ == "__main__":
    main()
