"""The fast network on CIFAR-10: accuracy with and without test-time augmentation, and the time of training.

    python benchmarks/fast_network.py --data DIR --work DIR [--seeds 1] [--set epochs=16 ...]

`--data` is a folder with train.parquet and test.parquet. Trains by the architecture's own recipe on 95 % of every class
(the rest is held out for validation); the run folders in --work are reused. Test-time augmentation averages the logits
of the image, of the image shifted by a pixel up-left and down-right, and of their mirror images, half of the weight on
the unshifted ones (K. Jordan, arXiv 2404.00498, section 3.5).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit import Runtime
from unlearnkit.cli.progress import progress_for_stderr
from unlearnkit.data import AccessLog, DataView
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.request import ResolvedRequest
from unlearnkit.run_dir import MANIFEST, WEIGHTS, read_json, versions
from unlearnkit.split import Part, split_resolved
from unlearnkit.steps.opening import load_images, open_model
from unlearnkit.steps.train import train_run
from unlearnkit.training.predict import predict


class Averaged(nn.Module):
    """A classifier that is asked six times for each image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, C, H, W) -> logits (n, K)."""
        height, width = images.shape[2:]
        wide = F.pad(images, (1, 1, 1, 1), mode="reflect")
        shifted = [wide[:, :, y : y + height, x : x + width] for y, x in ((0, 0), (2, 2))]
        plain, first, second = (self.model(x) + self.model(x.flip(-1)) for x in (images, *shifted))
        logits: Tensor = plain / 4 + (first + second) / 8
        return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="airbench")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "fast_network.json")
    arguments = parser.parse_args()
    runtime, rows = Runtime.named(None), []
    for seed in range(arguments.seeds):
        folder = arguments.work / f"{arguments.model}-{seed}"
        if not (folder / MANIFEST).is_file():
            train_run(
                model=arguments.model,
                data=f"parquet:{arguments.data}",
                out=folder,
                seed=seed,
                settings=arguments.settings,
                runtime=runtime,
                progress=progress_for_stderr(),
            )
        rows.append(_evaluated(arguments.model, f"parquet:{arguments.data}", folder, runtime))
        print(rows[-1])
    result = {
        "benchmark": "fast_network",
        "model": arguments.model,
        "settings": arguments.settings,
        "hardware": {"device": str(runtime.device), "machine": platform.machine(), "threads": torch.get_num_threads()},
        "versions": versions(),
        "rows": rows,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for key in ("accuracy", "accuracy_tta"):
        values = [100 * row[key] for row in rows]
        print(
            f"{key}: {statistics.mean(values):.2f} % over {len(values)} seeds, {min(values):.2f} to {max(values):.2f}"
        )


def _evaluated(name: str, source: str, folder: Path, runtime: Runtime) -> dict[str, float]:
    """Accuracy on the test images, and what training cost."""
    checkpoint = read_checkpoint(folder / WEIGHTS)
    data = load_images(source, None, checkpoint)
    split = split_resolved(ResolvedRequest(forget=(), already_forgotten=(), classes=data.classes), data)
    data.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
    view = DataView(data, split, frozenset(Part), reader="audit", log=AccessLog(data), device=runtime.device)
    model, test = open_model(name, checkpoint, data), view.part(Part.RETAIN_TEST)
    runtime = runtime.fitted(model, data.shape)
    model = runtime.weights(model)
    accuracy, averaged = (
        float((predict(network, test, runtime).argmax(dim=1) == test.labels).float().mean())
        for network in (model, Averaged(model))
    )
    config, cost = read_json(folder, "config.json"), read_json(folder, "cost.json", "total")["total"]
    return {
        "seed": config["seed"],
        "epochs": config["recipe"]["epochs"],
        "validation_accuracy": config["validation_accuracy"],
        "accuracy": accuracy,
        "accuracy_tta": averaged,
        "seconds": cost["seconds"],
    }


if __name__ == "__main__":
    main()
