"""How much of retained images' resemblance to a forgotten class shows by layer, in original and retrained models.

    python benchmarks/erase_shown.py --data DIR --network small [--retrained 3] [--per-class 200]

This is the rule by which `erase` finds its strength: see `unlearnkit.methods.erase.directions.showing`. `--data` is a
folder with CIFAR-10's train.parquet and test.parquet; class 0 is forgotten by a network of benchmarks/references.
Beside what shows, on retained training images, stands what the method does not see: the distance of the class's mean
on test images from the span of the retained classes' means, in standard deviations within these classes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from erase import FORGOTTEN, NETWORKS, SHAPE, load_models
from unlearnkit import ForgetRequest, ImageData, Part, Split, load_data, split_for
from unlearnkit.data.samples import per_class
from unlearnkit.methods.erase.directions import resemblance, shared_directions, showing_of, whitened
from unlearnkit.methods.erase.observe import BATCH, features_of
from unlearnkit.methods.erase.stages import Stage, find_stages

HEAD = "head"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--retrained", type=int, default=3)
    parser.add_argument("--per-class", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data(f"parquet:{arguments.data}")
    split = split_for(ForgetRequest(classes=(str(FORGOTTEN),)), data)
    data.fix_shape_for(split)
    drawn = retained_rows(data, split, arguments.per_class)
    labels = data.labels("train")[drawn]
    models, _ = load_models(arguments.network, arguments.retrained)
    looks: Tensor | None = None
    for name, model in models.items():
        retained = features(model, data, "train", drawn)
        forgotten = features(model, data, "test", split[Part.FORGET_TEST])
        if looks is None:  # the original comes first
            looks = resemblance_of(model, retained[HEAD])
        cells = []
        for layer, values in retained.items():
            shows = float(showing_of(values, labels, looks).by_class)
            cells.append(f"{layer} {shows:.2f} ({distance(values, labels, forgotten[layer]):.2f})")
        print(f"{name:12}", "  ".join(cells), flush=True)


def retained_rows(data: ImageData, split: Split, count: int) -> Tensor:
    """Return the rows of some retained training images of each class, in a random order that is always the same."""
    pool = split[Part.RETAIN_TRAIN]
    labels = data.labels("train")[pool]
    drawn = pool[per_class(labels, dict.fromkeys(labels.unique().tolist(), count), torch.Generator().manual_seed(0))]
    return drawn[torch.randperm(len(drawn), generator=torch.Generator().manual_seed(1))]


def resemblance_of(original: nn.Module, entering: Tensor) -> Tensor:
    """Return how much images resemble the forgotten class to the original's head."""
    rows = original.get_submodule(HEAD).get_parameter("weight").detach()
    return resemblance(entering, rows, [FORGOTTEN], [FORGOTTEN])


def features(model: nn.Module, data: ImageData, part: str, rows: Tensor) -> dict[str, Tensor]:
    """Return what directions are found in for images of the data, by layer, and what enters the head."""
    source = data.train if part == "train" else data.test

    def run() -> None:
        for chunk in rows.split(BATCH):
            model(data.normalise(source.images(chunk, torch.device("cpu"))))

    return passing(model, run)


@torch.no_grad()
def passing(model: nn.Module, run: Callable[[], object]) -> dict[str, Tensor]:
    """Return what directions are found in for the images that `run` passes, by layer, and what enters the head."""
    found: dict[str, list[Tensor]] = {}
    handles = []
    for stage in find_stages(model, head=HEAD, shape=SHAPE).stages:

        def watch(_layer: nn.Module, _args: tuple[Tensor, ...], output: Tensor, stage: Stage = stage) -> None:
            found.setdefault(stage.name, []).append(features_of(stage, output, len(output)))

        handles.append(stage.layer.register_forward_hook(watch))

    def enter(_layer: nn.Module, args: tuple[Tensor, ...]) -> None:
        found.setdefault(HEAD, []).append(args[0])

    handles.append(model.get_submodule(HEAD).register_forward_pre_hook(enter))
    run()
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in found.items()}


def distance(retained_nC: Tensor, labels_n: Tensor, forgotten_mC: Tensor) -> float:
    """Distance of the forgotten mean from the span of the retained ones, whitened, without what sampling adds to it."""
    space = whitened(retained_nC, labels_n)
    shared = shared_directions(retained_nC, labels_n, space)
    white = (forgotten_mC.double() - space.mean) @ space.inverse
    rest = white.mean(dim=0) - shared @ (shared.T @ white.mean(dim=0))
    noise = white.var(dim=0).sum() / len(white)
    return float((rest.square().sum() - noise).clamp_min(0).sqrt())


if __name__ == "__main__":
    main()
