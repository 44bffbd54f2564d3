"""Runs a draw of retained training images through weights, fed in this way or another, and judges the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from unlearnkit.data import AccessLog, DataView, ImageData, PartSamples
from unlearnkit.data.preprocessing import Origin
from unlearnkit.errors import ConfigError, DataError, ModelError, WeightsError
from unlearnkit.models import build_model, check_model
from unlearnkit.models.checkpoint import Checkpoint
from unlearnkit.models.hub import WeightsSource
from unlearnkit.models.names import parse_name
from unlearnkit.models.open_options import written_name
from unlearnkit.models.timm_zoo import pooling_of
from unlearnkit.network import evaluating, logits_of
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part, Split
from unlearnkit.steps.case import Case
from unlearnkit.steps.feedings import Feeding, normalisations, read_at, sizes
from unlearnkit.steps.opening import InputOptions, classes_origin
from unlearnkit.steps.plausible import Finding, judge

IMAGES, MOST_IMAGES = 384, 640  # what is drawn: this many, or 5 of each class up to the second number
PER_CLASS = 5
BATCH = 64
BETTER = 0.2  # by which another way must raise the accuracy to be named
POOLINGS = ("avg", "max", "avgmax")  # of timm, those that leave the width of the head as it is
FEWER = 128  # images that other sizes are tried with, as they must be read once more


@dataclass(frozen=True, kw_only=True)
class Examined:
    """Weights of a model, and what is needed to run images through them.

    Args:
        model: with the weights.
        checkpoint: the weights.
        architecture: name that the model was built with.
        data: its image shape known.
        split: the parts of the data.
        source: the data source.
        inputs: what of reading it is given by hand.
        hub: what a hub says of the weights.
        trusted: go on whatever is found.
        name: what messages call the weights.
        learns: whether training follows, which mends what weights for something else do not know.
    """

    model: nn.Module
    checkpoint: Checkpoint
    architecture: str
    data: ImageData
    split: Split
    source: str
    inputs: InputOptions
    hub: WeightsSource | None = None
    trusted: bool = False
    name: str = "the weights"
    learns: bool = False

    @classmethod
    def of(cls, case: Case) -> Examined:
        """Return the original of a case."""
        return cls(
            model=case.model,
            checkpoint=case.checkpoint,
            architecture=case.architecture,
            data=case.data,
            split=case.split,
            source=case.spec.data,
            inputs=case.spec.inputs,
            hub=case.source,
            trusted=case.spec.trust_inputs,
        )

    @property
    def classes_origin(self) -> Origin:
        """Where the order of the classes comes from."""
        return classes_origin(self.checkpoint, self.inputs, self.hub)


@dataclass(frozen=True, kw_only=True)
class Judging:
    """Reads the images once, and judges the answers to them, fed in this way or another.

    Args:
        subject: the weights.
        network: their model, on the device.
        runtime: device and precision.
        access: where reads are counted.
    """

    subject: Examined
    network: nn.Module
    runtime: Runtime
    access: AccessLog

    @cached_property
    def drawn(self) -> Tensor:
        """Positions of the images among the retained training ones."""
        return drawn_alike(self._samples(self.subject.data, self.access).labels)

    @cached_property
    def labels(self) -> Tensor:
        """Their labels."""
        return self._samples(self.subject.data, self.access).labels[self.drawn]

    @cached_property
    def training(self) -> Tensor:
        """Training images of each class, (K,)."""
        return torch.bincount(self.subject.data.labels("train"), minlength=len(self.subject.data.classes))

    @cached_property
    def pixels(self) -> Tensor:
        """The images as they are stored."""
        with self.subject.data.seeded_reads(0):
            return self._samples(self.subject.data, self.access).pixels(self.drawn)

    @cached_property
    def logits(self) -> Tensor:
        """The answers to the images as they are fed."""
        return _logits(self.network, self.pixels, self.subject.data.normalise, self.runtime)

    @cached_property
    def found(self) -> Finding:
        """What the answers come to."""
        return judge(self.logits, self.labels, self.training)

    def better(self) -> tuple[Feeding, float] | None:
        """Return the way to feed images, or to pool, that is right the most often, with its accuracy, if far better."""
        ways = list(self._pooled())
        if self.pixels.dtype == torch.uint8:  # floats are fed as their source made them
            ways += [(way, self._judged(way, self.pixels, slice(None))) for way in normalisations(self.subject.data)]
            ways += self._resized(slice(None, None, -(-len(self.drawn) // FEWER)))
        fitting = [(way, found.accuracy) for way, found in ways if found.kind == "fits"]
        best = max(fitting, key=lambda each: each[1], default=None)
        return best if best is not None and best[1] >= self.found.accuracy + BETTER else None

    def _pooled(self) -> Iterator[tuple[Feeding, Finding]]:
        """Judge the answers of networks of timm that pool in another way, which no weight tells."""
        subject = self.subject
        parsed = parse_name(subject.architecture)
        if parsed.kind != "timm" or "global_pool" in parsed.options:
            return
        present = pooling_of(parsed.base, parsed.options)
        for pooling in POOLINGS if present in POOLINGS else ():
            if pooling == present:
                continue
            name = written_name(parsed, {"global_pool": pooling})
            try:
                with torch.random.fork_rng(devices=[]):
                    model = build_model(name, num_classes=len(subject.data.classes), in_channels=subject.data.shape[0])
                subject.checkpoint.load_into(model)
            except (ModelError, WeightsError):
                continue  # the weights tell that they belong to another pooling
            way = Feeding(f"global_pool={pooling}", f"write --model {name}", subject.data.normalise)
            logits = _logits(self.runtime.weights(model), self.pixels, way.feed, self.runtime)
            yield way, judge(logits, self.labels, self.training)

    def _resized(self, some: slice) -> Iterator[tuple[Feeding, Finding]]:
        """Judge the answers to some of the images in other sizes, and in the best of them with other normalisations."""
        subject, tried = self.subject, []
        row = int(subject.split[Part.RETAIN_TRAIN][self.drawn[0]])
        for size in sizes(subject.data, subject.source, subject.inputs, subject.architecture, subject.hub, row):
            try:
                data = read_at(
                    size, subject.source, subject.checkpoint, subject.inputs, subject.architecture, subject.hub
                )
                data.fix_shape(row)
                check_model(subject.model, classes=len(data.classes), shape=data.shape)
            except (ConfigError, DataError, ModelError):
                continue  # the source or the model takes no such size, so the model was not trained with it
            if data.preprocessing.size != size.wanted.size:
                continue  # a source that takes no heed of sizes
            access = AccessLog(data)
            pixels = self._samples(data, access).pixels(self.drawn[some])
            self.access.include(access)
            way = Feeding(size.name, f"give {size.options}", subject.data.normalise)
            tried.append((size, pixels, self._judged(way, pixels, some)))
            yield way, tried[-1][2]
        if tried:
            size, pixels, _ = max(tried, key=lambda each: each[2].accuracy)
            for way in normalisations(subject.data):
                both = Feeding(f"{size.name} and {way.name}", f"{way.options} {size.options}", way.feed)
                yield both, self._judged(both, pixels, some)

    def _judged(self, way: Feeding, pixels: Tensor, some: slice) -> Finding:
        return judge(_logits(self.network, pixels, way.feed, self.runtime), self.labels[some], self.training)

    def _samples(self, data: ImageData, access: AccessLog) -> PartSamples:
        parts = frozenset({Part.RETAIN_TRAIN})
        view = DataView(data, self.subject.split, parts, reader="first_look", log=access, device=self.runtime.device)
        return view.part(Part.RETAIN_TRAIN)


def drawn_alike(labels: Tensor) -> Tensor:
    """Return positions of about `IMAGES` rows, as many of each class as there are, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randperm(len(labels), generator=generator)
    order = mixed[torch.argsort(labels[mixed], stable=True)]
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    ranks = torch.arange(len(labels)) - starts[labels[order]]
    wanted = min(max(IMAGES, PER_CLASS * int((counts > 0).sum())), MOST_IMAGES)
    return order[torch.argsort(ranks, stable=True)][:wanted].sort().values


@torch.no_grad()
def _logits(network: nn.Module, pixels: Tensor, feed: Callable[[Tensor], Tensor], runtime: Runtime) -> Tensor:
    """Logits (n, K) on the CPU of images that are fed in a certain way."""
    with evaluating(network):
        chunks = [logits_of(network(runtime.inputs(feed(chunk)))) for chunk in pixels.split(BATCH)]
    return torch.cat(chunks).float().cpu()
