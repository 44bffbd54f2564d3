"""Erasure against mask, masked distillation and retrained models on a reference network: quality, seconds, share.

    python benchmarks/erase.py --data DIR --network small [--seeds 3] [--set level=1 ...] [--name NAME]

`--data` is a folder with CIFAR-10's train.parquet and test.parquet; class 0 is forgotten by a network of
benchmarks/references, so that nothing need be trained. Columns: accuracy on retained test images (A_r) and on those of
the class (A_f); answers to these: total variation of the shares of the classes and mean distance of the probabilities
(act), against each retrained model; recall of the class by a linear probe on whitened features, at the depths that the
audit looks at and at the head's input; the same by the nearest class mean at the head's input. Seconds are CPU seconds
of one process with one thread; a retraining's are those of a few of its steps (forward, backward, update; its data
loading left out), timed before and after in the same process, times their number.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from small_residual import SmallResidual
from unlearnkit import Erase, ForgetRequest, ImageData, Part, Runtime, Split, load_data, split_for, unlearn
from unlearnkit.audit.evidence import HEAD
from unlearnkit.audit.observe.feature_layers import choose_layers, collecting
from unlearnkit.methods import Context
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.teachers import teacher_of
from unlearnkit.methods.head_mask import MASKED
from unlearnkit.models import AirbenchNet
from unlearnkit.network import logits_of
from unlearnkit.run_dir import versions
from unlearnkit.training.losses import distillation
from unlearnkit.training.recipe import Recipe, make_optimizer

REFERENCES = Path(__file__).parent / "references"
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "small": lambda: AirbenchNet(10, width=16),
    "small-residual": lambda: SmallResidual(10),
    "airbench": lambda: AirbenchNet(10),
}
FORGOTTEN, SHAPE = 0, (3, 32, 32)
STEPS, RETRAINING_SAMPLES = 4, 42_750  # of the retained training samples, 5 % are held out
DISTILLATION = Recipe(epochs=1, batch_size=128, optimizer="adam", lr=5e-3, schedule="cosine")


@dataclass(frozen=True, kw_only=True)
class MaskedDistillation:
    """The baseline: the original without the class, distilled on retained images."""

    steps: int = 105
    needs: frozenset[Part] = frozenset({Part.RETAIN_TRAIN})

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Distil for `steps` batches."""
        samples = retained_subset(ctx, None)
        drawn = torch.randperm(len(samples), generator=ctx.generator)[: self.steps * DISTILLATION.batch_size]
        loss = distillation(teacher_of(model), list(ctx.request.forget))
        fit(model, samples.subset(drawn), DISTILLATION, ctx, stage="distil", loss=loss, augment=True)
        return model


@dataclass(frozen=True)
class Answers:
    """What one model gives for the test images: features by layer, and probabilities."""

    features: dict[str, Tensor]
    probabilities: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", choices=NETWORKS, default="small")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--retrained", type=int, default=3)
    parser.add_argument("--images", type=int, default=5000, help="test images")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="of erase, NAME=VALUE")
    parser.add_argument("--name", default=None, help="of the result; none: the network's")
    parser.add_argument("--no-baselines", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runtime = Runtime(device=torch.device("cpu"), precision="fp32")
    data, request = load_data(f"parquet:{arguments.data}"), ForgetRequest(classes=(str(FORGOTTEN),))
    split = split_for(request, data)
    data.fix_shape_for(split)
    models, facts = load_models(arguments.network, arguments.retrained)
    original = models.pop("original")
    rows = torch.cat([split[Part.RETAIN_TEST], split[Part.FORGET_TEST]]).sort().values[: arguments.images]
    labels = data.labels("test")[rows]
    layers = choose_layers(original, num_classes=10, shape=SHAPE)

    def look(model: nn.Module) -> Answers:
        return answers(model, layers, data, rows, runtime)

    retrained = {name: look(model) for name, model in models.items()}
    known = look(original)
    table: list[dict[str, Any]] = []

    def note(name: str, found: Answers, seconds: float = 0.0, **more: Any) -> None:
        others = [answer for other, answer in retrained.items() if other != name]
        table.append({"model": name, "seconds": seconds, **readings(found, labels, others), **more})
        print(line(table[-1]), flush=True)

    for name, found in retrained.items():
        note(name, found)
    note("original", known)
    note("mask", without_class(known))
    timed = [retraining_seconds(original, facts["recipe"], data, split)]
    methods: dict[str, Any] = {"erase": Erase().with_settings(arguments.settings)}
    if not arguments.no_baselines:
        methods["masked distillation"] = MaskedDistillation()
    for name, method in methods.items():
        for seed in range(arguments.seeds):
            began = time.process_time()
            result = unlearn(original, method, data, request, seed=seed, runtime=runtime)
            seconds = time.process_time() - began
            note(
                name, look(result.model), seconds, seed=seed, cost=result.cost["total"], notes=result.notes.get("erase")
            )
    timed.append(retraining_seconds(original, facts["recipe"], data, split))
    for row in table:
        row["share"] = row["seconds"] / median(timed)
    report = {
        "benchmark": f"erase-{arguments.name or arguments.network}",
        "network": facts["model"],
        "settings": arguments.settings,
        "images": len(rows),
        "layers": [*layers, HEAD],
        "retraining_seconds": timed,
        "hardware": {"machine": platform.machine(), "threads": 1},
        "versions": versions(),
        "rows": table,
    }
    out = Path(__file__).parent / "results" / f"{report['benchmark']}.json"
    out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"\na retraining: {timed[0]:.0f} and {timed[1]:.0f} CPU seconds\n")
    print("\n".join(markdown(table)))


def load_models(network: str, retrained: int) -> tuple[dict[str, nn.Module], dict[str, Any]]:
    """Return the original and the retrained models by name, and what is known of the original."""
    models: dict[str, nn.Module] = {}
    with safe_open(REFERENCES / f"{network}.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["models"])
        for name in ("original", *(f"retrained-{i}" for i in range(retrained))):
            keys = [key for key in file.keys() if key.startswith(f"{name}/")]  # noqa: SIM118 - not a dictionary
            values = {key.partition("/")[2]: file.get_tensor(key) for key in keys}
            models[name] = NETWORKS[network]()
            models[name].load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in values.items()})
            models[name].eval()
    return models, facts["original"]


@torch.no_grad()
def answers(model: nn.Module, layers: list[str], data: ImageData, rows: Tensor, runtime: Runtime) -> Answers:
    """Run a model over test images."""
    logits = []
    with collecting(model, layers, "head", shape=SHAPE) as collected:
        for part in rows.split(runtime.eval_batch_size):
            logits.append(logits_of(model(data.normalise(data.test.images(part, runtime.device)))))
    return Answers(collected.features(), torch.cat(logits).softmax(dim=1))


def without_class(found: Answers) -> Answers:
    """Return the answers with the class's logit masked; the features are the same."""
    logits = found.probabilities.log()
    logits[:, FORGOTTEN] = MASKED
    return Answers(found.features, logits.softmax(dim=1))


def readings(found: Answers, labels: Tensor, retrained: list[Answers]) -> dict[str, Any]:
    """Return accuracies, distances from each retrained model, and how well the class can be recovered."""
    forgotten, predicted = labels == FORGOTTEN, found.probabilities.argmax(dim=1)
    right = predicted == labels
    shares = [_shares(answer.probabilities[forgotten]) for answer in (found, *retrained)]
    ours = found.probabilities[forgotten]
    return {
        "A_r": 100 * float(right[~forgotten].float().mean()),
        "A_f": 100 * float(right[forgotten].float().mean()),
        "tv": [float((shares[0] - other).abs().sum() / 2) for other in shares[1:]],
        "act": [float((ours - answer.probabilities[forgotten]).norm(dim=1).mean()) for answer in retrained],
        "probe": [probe(values, labels) for values in found.features.values()],
        "ncm": nearest_mean(found.features[HEAD], labels),
        "largest": float(ours.amax(dim=1).mean()),
    }


def _shares(probabilities: Tensor) -> Tensor:
    return torch.bincount(probabilities.argmax(dim=1), minlength=probabilities.shape[1]) / len(probabilities)


def probe(features: Tensor, labels: Tensor) -> float:
    """Recall of the class by logistic regression (C = .03) on whitened features, trained on one half in turn."""
    values, truth, right = features.double().numpy(), labels.numpy(), 0
    for train, test in _halves(len(values)):
        mean, covariance = values[train].mean(axis=0), np.cov(values[train].T)
        eigenvalues, vectors = np.linalg.eigh(covariance)
        whiten = vectors / np.sqrt(np.maximum(eigenvalues, 1e-6 * eigenvalues.max()))
        fitted = LogisticRegression(C=0.03, max_iter=300).fit((values[train] - mean) @ whiten, truth[train])
        asked = test[truth[test] == FORGOTTEN]
        right += int((fitted.predict((values[asked] - mean) @ whiten) == FORGOTTEN).sum())
    return right / int((truth == FORGOTTEN).sum())


def nearest_mean(features: Tensor, labels: Tensor) -> float:
    """Recall of the class by the nearest class mean, in standardised features, from the other half."""
    values, truth, right = features.double().numpy(), labels.numpy(), 0
    for train, test in _halves(len(values)):
        scale = values[train].std(axis=0) + 1e-9
        means = np.stack([values[train][truth[train] == k].mean(axis=0) for k in range(10)]) / scale
        asked = test[truth[test] == FORGOTTEN]
        distances = np.square(values[asked][:, None] / scale - means).sum(axis=2)
        right += int((distances.argmin(axis=1) == FORGOTTEN).sum())
    return right / int((truth == FORGOTTEN).sum())


def _halves(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    order = np.random.RandomState(0).permutation(count)
    return [(order[::2], order[1::2]), (order[1::2], order[::2])]


def retraining_seconds(original: nn.Module, recipe: dict[str, Any], data: ImageData, split: Split) -> float:
    """CPU seconds of a retraining's forward and backward passes and updates, from the median of a few steps."""
    settings, model = Recipe(**recipe), teacher_of(original).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(original.get_parameter(name).requires_grad)
    optimizer = make_optimizer(model, settings)
    rows = split[Part.RETAIN_TRAIN][: settings.batch_size]
    images, labels = data.normalise(data.train.images(rows, torch.device("cpu"))), data.labels("train")[rows]
    seconds = []
    for _ in range(STEPS):
        began = time.process_time()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - began)
    return median(seconds) * settings.epochs * RETRAINING_SAMPLES / len(rows)


def line(row: dict[str, Any]) -> str:
    """Return a row in one line."""
    tv, act = median(row["tv"]), median(row["act"])
    depths = " ".join(f"{value:.2f}" for value in row["probe"])
    return (
        f"{row['model']:20} {row['seconds']:6.1f} s  A_r {row['A_r']:.1f}  A_f {row['A_f']:.1f}  tv {tv:.2f}  "
        f"act {act:.2f}  probe {depths}  ncm {row['ncm']:.2f}  largest {row['largest']:.2f}"
    )


def markdown(table: list[dict[str, Any]]) -> list[str]:
    """Return the table, with one row for each kind of model: the range over its seeds."""
    lines = ["| model | seconds | share | A_r | tv | act | probe by depth | ncm |", "|" + " --- |" * 8]
    for kind in dict.fromkeys(row["model"].partition("-")[0] for row in table):
        rows = [row for row in table if row["model"].partition("-")[0] == kind]
        share = median(row["share"] for row in rows)
        probes = [_range([row["probe"][i] for row in rows], 2) for i in range(len(rows[0]["probe"]))]
        cells = (
            kind,
            f"{median(row['seconds'] for row in rows):.1f}" if share else "-",
            f"1/{1 / share:.0f}" if share else "-",
            _range([row["A_r"] for row in rows], 1),
            _range([median(row["tv"]) for row in rows], 2),
            _range([median(row["act"]) for row in rows], 2),
            ", ".join(probes),
            _range([row["ncm"] for row in rows], 2),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _range(values: list[float], digits: int) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    main()
