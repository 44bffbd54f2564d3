"""How many rows, and how much memorised, an audit of a request for rows needs to tell anything.

    python benchmarks/row_power.py --rows 10,30,60,150 --labels random --retrained 5
    python benchmarks/row_power.py --rows 20,60,180 --labels true --noise 0,6,12

On the bundled digits: rows drawn at random are learned with true or with random labels by a perceptron that overfits,
and each candidate is held against models that were retrained without the rows. With true labels noise on the pixels,
the same at each read, sets how much must be learned by heart: the more noise, the fewer rows a model names rightly that
never saw them. Prints, for every number of rows, the verdict on the original, on one more retrained model and on
methods, with the readings that vote.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

import unlearnkit as uk
from unlearnkit.audit import METRICS, Audit, Metric, audit, gather
from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metric import ROWS
from unlearnkit.audit.metrics.registry import votes_for
from unlearnkit.data import AccessLog, DataView, ImageData, ImageSet
from unlearnkit.methods import ConfiguredMethod, Retrain, unlearn
from unlearnkit.request import ForgetRequest, ResolvedRequest
from unlearnkit.runtime.progress import Silent
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part, Side, Split, split_for, split_resolved
from unlearnkit.training.loop import train
from unlearnkit.training.recipe import Recipe

CPU = Runtime(device=torch.device("cpu"), precision="fp32")
RECIPE = Recipe(epochs=25, batch_size=64, lr=0.1)
VOTING = {name: m for name, m in METRICS.items() if any(v.kinds >= ROWS for v in m.votes)}
WITHOUT_TRAINING = {name: metric for name, metric in VOTING.items() if "return" not in metric.wants}


def perceptron() -> nn.Module:
    """A network of one hidden layer, which learns a few random labels by heart."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def memorised(count: int, *, random_labels: bool, noise: float = 0.0, seed: int = 0) -> tuple[ImageData, ForgetRequest]:
    """Return the digits, and a request for `count` of their training rows, whose labels may be wrong at random.

    Args:
        count: rows to forget.
        random_labels: whether they have wrong labels.
        noise: standard deviation of Gaussian noise on all pixels, in the 16 levels of the digits.
        seed: of all draws.
    """
    data, generator = noisy_digits(noise, seed=seed), torch.Generator().manual_seed(seed)
    learned = split_resolved(_nothing(data), data)[Part.RETAIN_TRAIN]
    rows = learned[torch.randperm(len(learned), generator=generator)[:count]].sort().values
    labels = data.train.labels.clone()
    if random_labels:
        labels[rows] = (labels[rows] + torch.randint(1, 10, (count,), generator=generator)) % 10
    return replace(data, train=data.train.relabelled(labels)), ForgetRequest(rows=tuple(rows.tolist()))


def noisy_digits(noise: float, *, seed: int) -> ImageData:
    """Return the digits with noise on their pixels, which is the same at each read."""
    data = uk.load_data("digits")
    if not noise:
        return data

    def noisy(side: Side) -> ImageSet:
        known, labels = data.set(side), data.labels(side)
        data.fix_shape(0, side)
        clean = known.images(torch.arange(len(labels)), CPU.device).float()
        generator = torch.Generator().manual_seed(2 * seed + (side == "test"))
        drawn = noise / 16 * 255 * torch.randn(clean.shape, generator=generator)
        pixels = (clean + drawn).round().clamp(0, 255).to(torch.uint8)
        channels, height, width = pixels.shape[1:]
        return ImageSet(labels, lambda _row: (channels, height, width), lambda rows, _shape: pixels[list(rows)])

    return replace(data, train=noisy("train"), test=noisy("test"))


def trained(data: ImageData, request: ForgetRequest | None, *, seed: int) -> nn.Module:
    """Train on everything, or on what a request leaves."""
    split = split_resolved(_nothing(data), data) if request is None else split_for(request, data)
    data.fix_shape_for(split)
    view = DataView(
        data, split, frozenset({Part.RETAIN_TRAIN}), reader="method", log=AccessLog(data), device=CPU.device
    )
    with isolated_randomness(seed) as generator:
        model = perceptron()
        log = RunLog(CPU, Silent())
        train(model, view.part(Part.RETAIN_TRAIN), RECIPE, stage="train", generator=generator, runtime=CPU, log=log)
    return model.eval()


@dataclass
class RowJudge:
    """Holds models against the same original and retrained ones, which are looked at once."""

    data: ImageData
    request: ForgetRequest
    original: nn.Module
    retrained: Sequence[nn.Module]
    metrics: dict[str, Metric]
    known: Evidence | None = None

    @functools.cached_property
    def split(self) -> Split:
        """The parts of the request."""
        return split_for(self.request, self.data)

    def __call__(self, unlearned: nn.Module) -> Audit:
        """Audit one model."""
        models = {"original": self.original, "retrained": list(self.retrained), "unlearned": unlearned}
        evidence = gather(
            models,  # type: ignore[arg-type]
            self.data,
            self.split,
            metrics=self.metrics.values(),
            seed=0,
            runtime=CPU,
            earlier=self.known,
        )
        if self.known is None:
            self.known = replace(evidence, subjects=tuple(s for s in evidence.subjects if s.name != "unlearned"))
        return audit(evidence, self.metrics)


def judge_for(
    data: ImageData, request: ForgetRequest, *, retrained: int, metrics: dict[str, Metric] = VOTING
) -> RowJudge:
    """Train the original and the retrained models, and return what judges others by them."""
    references = [trained(data, request, seed=10 + k) for k in range(retrained)]
    return RowJudge(data, request, trained(data, None, seed=1), references, metrics)


def candidates(judge: RowJudge, names: Sequence[str]) -> Iterator[tuple[str, nn.Module]]:
    """Yield the models to judge: the original, one more retrained model, and what each method makes."""
    yield "original", judge.original
    yield "retrained", trained(judge.data, judge.request, seed=99)
    for name in names:
        method: ConfiguredMethod = uk.METHODS[name]()
        if isinstance(method, Retrain):
            continue
        yield (
            name,
            unlearn(judge.original, method, judge.data, judge.request, seed=0, runtime=CPU, factory=perceptron).model,
        )


def main() -> None:
    """Print one line for each number of rows and each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="10,30,60,150")
    parser.add_argument("--labels", choices=("true", "random"), default="random")
    parser.add_argument("--noise", default="0")
    parser.add_argument("--retrained", type=int, default=5)
    parser.add_argument("--methods", default="")
    asked = parser.parse_args()
    pairs = [(float(noise), int(count)) for noise in asked.noise.split(",") for count in asked.rows.split(",")]
    for noise, count in pairs:
        data, request = memorised(count, random_labels=asked.labels == "random", noise=noise)
        start = time.process_time()
        judge = judge_for(data, request, retrained=asked.retrained)
        for name, model in candidates(judge, [n for n in asked.methods.split(",") if n]):
            found = judge(model)
            readings = [f"{v.key} {shown(found, v.metric, v.part)}" for v in votes_for(ROWS)]
            spent = time.process_time() - start
            what = f"noise {noise:g}, {count} rows, {name}: {found.verdict.status}"
            print(f"{what}; {'; '.join(readings)} ({spent:.0f} CPU s)", flush=True)


def shown(found: Audit, metric: str, part: Part | None) -> str:
    """Return a reading of the judged model, with the span of the retrained ones and what became of it."""
    group = [r for r in found.readings if r.metric == metric and r.part == (None if part is None else part.value)]
    own = next(r for r in group if r.model == "unlearned")
    values = [r.value for r in group if r.model == "retrained" and r.value is not None]
    if own.value is None or not values:
        return "unmeasured"
    return f"{own.value:.3f} (retrained {min(values):.3f} to {max(values):.3f}) {own.verdict}"


def _nothing(data: ImageData) -> ResolvedRequest:
    return ResolvedRequest(forget=(), already_forgotten=(), classes=data.classes)


if __name__ == "__main__":
    main()
