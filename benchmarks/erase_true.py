"""Holds the directions that `erase` estimates against the true ones, layer by layer; erases along the true ones, too.

    python benchmarks/erase_true.py --data DIR --network small [--seeds 3] [--images 4000] [--set level=1 ...]

`--data` is a folder with CIFAR-10's train.parquet and test.parquet; class 0 is forgotten by a network of
benchmarks/references. The true direction of the class is that of the mean of 500 of its test images, which `erase`
never sees: what it has outside of the span of the retained classes' means, whitened within these classes, in the
network as it is edited so far. For each layer stand the distance of that mean in standard deviations and the cosine of
the estimate with it; `trust` is what `erase` itself foretells of the cosine at the original's head, and stands beside
that cosine. Both ways are read on other test images as `benchmarks/erase.py` does. Results:
benchmarks/results/erase-true-NETWORK.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

import unlearnkit.methods.erase.edit as edit
import unlearnkit.methods.erase.erase as erasure
from erase import FORGOTTEN, NETWORKS, SHAPE, answers, load_models, readings
from erase_shown import HEAD, distance, features
from unlearnkit import Erase, ForgetRequest, Part, Runtime, load_data, split_for, unlearn
from unlearnkit.audit.observe.feature_layers import choose_layers
from unlearnkit.methods import Context
from unlearnkit.methods.erase.directions import Showing, shared_directions, showing, unit, whitened
from unlearnkit.methods.erase.observe import Observed, features_of, over_positions
from unlearnkit.methods.erase.plan import Plan
from unlearnkit.methods.erase.stages import Layer, Stage
from unlearnkit.run_dir import versions

SEEN = 500  # test images of the class, whose mean is the truth
IMAGES: list[Tensor] = []  # of the class, normalised, set by `main`
RESULTS = Path(__file__).parent / "results"


class Watched(Erase):
    """Erase, watched by somebody who knows the class: notes what the truth is, and follows it where asked to."""

    network: str
    follow: bool = False

    def carry_out(self, plan: Plan, ctx: Context) -> nn.Module:
        """Edit the network, and note each layer's distance and cosine under `true`."""
        find, notes = edit.find_edit, []
        forgotten = entering(plan.head, self.network, plan.model)
        estimate, truth, _ = true_direction(plan.seen.entering, plan.seen.labels, plan.looks, forgotten)
        ctx.log.notes["at_the_head"] = float(estimate @ truth)

        def watch(stage: Stage, outputs: Sequence[Tensor], seen: Observed, looks: Tensor, target: Tensor) -> edit.Edit:
            retained = torch.cat([features_of(stage, y, n) for y, n in zip(outputs, seen.sizes, strict=True)])
            forgotten = features_at(stage, self.network, plan.model)
            estimate, truth, far = true_direction(retained, seen.labels, looks, forgotten)
            cosine = float(estimate @ truth)
            notes.append({"layer": stage.name, "distance": far, "cosine": cosine})
            if not self.follow:
                return find(stage, outputs, seen, looks, target)

            def along_the_truth(*args: Any) -> Showing:
                return replace(showing(*args), directions=truth[:, None] * (1.0 if cosine >= 0 else -1.0))

            with patch.object(edit, "showing", along_the_truth):
                return find(stage, outputs, seen, looks, target)

        with patch.object(erasure, "find_edit", watch):
            model = super().carry_out(plan, ctx)
        ctx.log.notes["true"] = notes
        return model


def true_direction(retained: Tensor, labels: Tensor, looks: Tensor, forgotten: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return the estimated and the true direction (C,), whitened, and the distance of the class's mean along it."""
    space = whitened(retained, labels)
    shared = shared_directions(retained, labels, space)
    mean = (forgotten.double().mean(dim=0) - space.mean) @ space.inverse
    rest = mean - shared @ (shared.T @ mean)
    return showing(retained, looks, space, shared).directions[:, 0], unit(rest[:, None])[:, 0], float(rest.norm())


@torch.no_grad()
def run_copy(network: str, model: nn.Module, watch: Callable[[nn.Module], object]) -> None:
    """Run the class's images through a copy of the network as it is now, without its hooks; `watch` adds others."""
    copied = NETWORKS[network]().eval()
    copied.load_state_dict(model.state_dict())
    watch(copied)
    for images in IMAGES:
        copied(images)


def features_at(stage: Stage, network: str, edited: nn.Module) -> Tensor:
    """Return what a stage gives for the class's images."""
    found: list[Tensor] = []

    def after(_layer: nn.Module, _args: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(features_of(stage, output, len(output)))

    run_copy(network, edited, lambda copied: copied.get_submodule(stage.name).register_forward_hook(after))
    return torch.cat(found)


def entering(head: Layer, network: str, model: nn.Module) -> Tensor:
    """Return what enters the head for the class's images."""
    found: list[Tensor] = []
    name = next(name for name, layer in model.named_modules() if layer is head)

    def before(_layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        found.append(over_positions(head, args[0], len(args[0])))

    run_copy(network, model, lambda copied: copied.get_submodule(name).register_forward_pre_hook(before))
    return torch.cat(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=4000, help="test images that are read")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="of erase, NAME=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runtime = Runtime(device=torch.device("cpu"), precision="fp32")
    data, request = load_data(f"parquet:{arguments.data}"), ForgetRequest(classes=(str(FORGOTTEN),))
    split = split_for(request, data)
    data.fix_shape_for(split)
    known, asked = split[Part.FORGET_TEST][:SEEN], split[Part.FORGET_TEST][SEEN:]
    IMAGES[:] = [data.normalise(data.test.images(part, runtime.device)) for part in known.split(250)]
    drawn = split[Part.RETAIN_TRAIN][:: len(split[Part.RETAIN_TRAIN]) // 1800]
    models, facts = load_models(arguments.network, 3)
    original = models.pop("original")
    rows = torch.cat([split[Part.RETAIN_TEST][: arguments.images - len(asked)], asked])
    labels = data.labels("test")[rows]
    layers = choose_layers(original, num_classes=10, shape=SHAPE)
    retrained = {name: answers(model, layers, data, rows, runtime) for name, model in models.items()}
    table: list[dict[str, Any]] = []

    def note(name: str, model: nn.Module, **more: Any) -> None:
        read = answers(model, layers, data, rows, runtime)
        others = [each for other, each in retrained.items() if other != name]
        table.append({"model": name, **readings(read, labels, others), **more})
        print(line(table[-1]), flush=True)

    note("original", original)
    for name, model in models.items():
        note(name, model)
    for follow in (False, True):
        for seed in range(arguments.seeds):
            method = Watched(network=arguments.network, follow=follow).with_settings(arguments.settings)
            done = unlearn(original, method, data, request, seed=seed, runtime=runtime)
            trust, true = done.notes["erase"]["trust"], done.notes["true"]
            retained = features(done.model, data, "train", drawn)[HEAD]
            forgotten = features(done.model, data, "test", known)[HEAD]
            note(
                "erase, along the truth" if follow else "erase",
                done.model,
                seed=seed,
                trust=trust,
                cosine_at_the_head=done.notes["at_the_head"],
                layers=true,
                head=distance(retained, data.labels("train")[drawn], forgotten),
            )
    report = {
        "benchmark": f"erase-true-{arguments.network}",
        "network": facts["model"],
        "settings": arguments.settings,
        "images": len(rows),
        "versions": versions(),
        "rows": table,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{report['benchmark']}.json").write_text(json.dumps(report, indent=1, default=str) + "\n")


def line(row: dict[str, Any]) -> str:
    """Return a row in one or two lines."""
    tv, act = median(row["tv"]), median(row["act"])
    found = f"{row['model']:24} A_r {row['A_r']:.1f}  tv {tv:.2f}  act {act:.2f}  class means {row['ncm']:.2f}"
    if "layers" not in row:
        return found
    by_layer = "  ".join(f"{each['distance']:.1f} ({each['cosine']:.2f})" for each in row["layers"])
    trust = "-" if row["trust"] is None else f"{row['trust']:.2f}"
    return (
        f"{found}  trust {trust} (cosine {row['cosine_at_the_head']:.2f})\n"
        f"    distance (cosine) by layer: {by_layer}  head {row['head']:.1f}"
    )


if __name__ == "__main__":
    main()
