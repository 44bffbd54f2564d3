"""Asks whether UNSIR's noise points along the forgotten class: its cosine with the true direction, layer by layer.

    python benchmarks/noise_direction.py --data DIR --network small [--seeds 2]

`--data` is a folder with CIFAR-10's train.parquet and test.parquet; class 0 is forgotten by a network of
benchmarks/references. Noise is learned as UNSIR learns it, which maximises the original's error on the class, and once
more with the sign turned, so that it minimises the error. A direction is what a mean has outside of the span of the
retained classes' means, whitened within these classes: the truth is that of the class's test images, noise gives that
of its images, and `erase` estimates one from retained images alone. Results:
benchmarks/results/noise-direction-NETWORK.json.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from erase import FORGOTTEN, NETWORKS, SHAPE, load_models
from erase_shown import HEAD, features, passing, resemblance_of, retained_rows
from erase_true import true_direction
from unlearnkit import UNSIR, ForgetRequest, Part, Runtime, load_data, split_for
from unlearnkit.methods.unsir.noise import learn_noise
from unlearnkit.run_dir import versions
from unlearnkit.runtime.runlog import RunLog

PER_CLASS = 200  # retained images, as `erase` takes
RESULTS = Path(__file__).parent / "results"
WAYS = {
    "noise of the greatest error": F.cross_entropy,
    "noise of the least error": lambda logits, labels: -F.cross_entropy(logits, labels),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models, _ = load_models(arguments.network, 0)
    rows = cosines(models["original"], arguments.data, arguments.seeds)
    for way in dict.fromkeys(row["way"] for row in rows):
        mine = [row["cosines"] for row in rows if row["way"] == way]
        middles = {layer: median(row[layer] for row in mine) for layer in mine[0]}
        print(f"{way:30}", "  ".join(f"{layer} {value:+.2f}" for layer, value in middles.items()))
    name = f"noise-direction-{arguments.network}"
    result = {"benchmark": name, "versions": versions(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def cosines(original: nn.Module, folder: Path, seeds: int) -> list[dict[str, Any]]:
    """Return for `erase` and for each kind of noise and seed the cosine with the truth, by layer."""
    data, request = load_data(f"parquet:{folder}"), ForgetRequest(classes=(str(FORGOTTEN),))
    split, runtime = split_for(request, data), Runtime.named("cpu")
    data.fix_shape_for(split)
    drawn = retained_rows(data, split, PER_CLASS)
    labels = data.labels("train")[drawn]
    retained, forgotten = (
        features(original, data, part, rows) for part, rows in (("train", drawn), ("test", split[Part.FORGET_TEST]))
    )
    looks = resemblance_of(original, retained[HEAD])

    def by_layer(other: dict[str, Tensor] | None) -> dict[str, float]:
        return {
            layer: cosine(values, labels, looks, forgotten[layer], None if other is None else other[layer])
            for layer, values in retained.items()
        }

    settings = UNSIR().noise
    assert settings is not None, "UNSIR's default learns noise"
    found = [{"way": "erase", "seed": 0, "cosines": by_layer(None)}]
    for way, criterion in WAYS.items():
        for seed in range(seeds):
            noise, _ = learn_noise(
                original,
                [FORGOTTEN],
                SHAPE,
                settings,
                generator=torch.Generator().manual_seed(seed),
                runtime=runtime,
                log=RunLog(runtime),
                criterion=criterion,
            )
            passed = passing(original, partial(original, noise))
            found.append({"way": way, "seed": seed, "cosines": by_layer(passed)})
    return found


def cosine(retained: Tensor, labels: Tensor, looks: Tensor, forgotten: Tensor, other: Tensor | None) -> float:
    """Return the cosine with the true direction of that of other images, (m, C); of `erase`'s estimate without any."""
    estimate, truth, _ = true_direction(retained, labels, looks, forgotten)
    if other is not None:
        _, estimate, _ = true_direction(retained, labels, looks, other)
    return float(estimate @ truth)


if __name__ == "__main__":
    main()
