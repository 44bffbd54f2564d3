"""Implements SISA training: the data is divided into shards, each shard's network is trained slice by slice.

A network sees no sample of another shard, and its state is kept after every slice. What a sample has touched is
therefore known: the states of its shard from its slice on, and nothing else.

Source: L. Bourtoule et al., "Machine Unlearning", IEEE Symposium on Security and Privacy 2021 (arXiv 1912.03817).

Shapes: N training rows of the data, n of them retained; S shards, R slices.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.config import Config
from unlearnkit.data.view import DataView, PartSamples
from unlearnkit.errors import ConfigError, DataError
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.training.from_scratch import initialise
from unlearnkit.training.loop import train
from unlearnkit.training.recipe import Recipe

MOST_SHARDS = 1000
State = dict[str, Tensor]


class Sharding(Config):
    """Into how many parts the training data is divided."""

    shards: int = Field(default=1, gt=0, le=MOST_SHARDS, description="networks, each trained on its share of the data")
    slices: int = Field(default=1, gt=0, le=MOST_SHARDS, description="steps in which each network is given its share")


class ShardedTraining(Sharding):
    """All that decides a sharded training, as it is recorded with the weights.

    Example:
        >>> plan = ShardedTraining.planned(Sharding(shards=2, slices=3), rows=12, seed=0, recipe=Recipe(epochs=10))
        >>> sorted(plan.cells().tolist()) == sorted(list(range(6)) * 2), plan.slice_epochs
        (True, 5)
    """

    seed: int = Field(ge=0, lt=2**31, description="of the assignment and of every training")
    rows: int = Field(gt=0, description="training rows of the data, those left out among them")
    assignment: str = Field(description="SHA-256 of the shard and slice of every row")
    recipe: Recipe = Field(description="of a training without slices")

    @classmethod
    def planned(cls, sharding: Sharding, *, rows: int, seed: int, recipe: Recipe) -> ShardedTraining:
        """Return the plan for data with so many training rows."""
        digest = _digest(_cells(sharding, rows, seed))
        return cls(**sharding.model_dump(), seed=seed, rows=rows, assignment=digest, recipe=recipe.model_dump())

    @property
    def slice_epochs(self) -> int:
        """Epochs of each slice's training.

        With e' epochs without slices, e = 2 e' / (R + 1) passes as many samples in all R trainings together, of which
        the r-th is on r / R of the shard (section V of the paper); rounded, and at least one.
        """
        return max(1, round(2 * self.recipe.epochs / (self.slices + 1)))

    def cells(self) -> Tensor:
        """Return shard * R + slice for every row, (N,) int64: a seeded draw that looks at no image and no label.

        Raises:
            ConfigError: this version of torch draws another assignment than the recorded one.
        """
        found = _cells(self, self.rows, self.seed)
        if _digest(found) != self.assignment:
            raise ConfigError(
                "Expected the recorded assignment of samples to shards, but this version of torch draws another one "
                "from the same seed; use the version that manifest.json records."
            )
        return found

    def passes(self, rows: Tensor, first: Mapping[int, int] | None = None) -> int:
        """Return how many samples a training passes forward and backward.

        Args:
            rows: numbers of the rows that are trained on, (n,).
            first: the first slice that is trained, for every shard that is; None: all of them from scratch.
        """
        counts = torch.bincount(self.cells()[rows], minlength=self.shards * self.slices).view(self.shards, self.slices)
        seen = counts.cumsum(dim=1)  # samples of the training that ends with a slice
        begin = dict.fromkeys(range(self.shards), 0) if first is None else first
        return self.slice_epochs * sum(int(seen[shard, start:].sum()) for shard, start in begin.items())

    def touched(self, rows: Tensor) -> dict[int, int]:
        """Return, for every shard that has one of these rows (k,), the first slice that has one."""
        first: dict[int, int] = {}
        for cell in sorted(self.cells()[rows].unique().tolist()):
            first.setdefault(cell // self.slices, cell % self.slices)
        return first


@dataclass(frozen=True, kw_only=True)
class ShardTrainer:
    """Trains the networks of single shards; what comes out depends on the plan, the shard and its samples alone.

    Args:
        plan: of the whole training.
        view: allows `retain_train`.
        build: makes a new network of the architecture; draws from the global generator.
        runtime: device and precision; one process.
        log: where cost and losses go.
    """

    plan: ShardedTraining
    view: DataView
    build: Callable[[], nn.Module]
    runtime: Runtime
    log: RunLog

    @property
    def rows(self) -> Tensor:
        """Numbers of the rows that are trained on, (n,)."""
        return self.view.split[Part.RETAIN_TRAIN]

    def train(self, shard: int, *, first: int = 0, start: State | None = None) -> list[State]:
        """Return the states of a shard's network after each slice from `first` on, on the CPU.

        Every slice's training has seeds of its own and a new optimiser, so it begins from the state before it and from
        nothing else. A slice without samples of its own repeats what is there.

        Args:
            shard: number from 0.
            first: the first slice to train on.
            start: the state after the slice before; None where `first` is 0.

        Raises:
            DataError: no sample of the shard is left.
        """
        plan, samples = self.plan, self.view.part(Part.RETAIN_TRAIN)
        cells = plan.cells()[self.rows]
        own = cells // plan.slices == shard
        if not bool(own.any()):
            raise DataError(
                f"Expected samples in every shard, but none of shard {shard + 1} of {plan.shards} are left; train anew "
                "with fewer --shards."
            )
        with isolated_randomness(_seed(plan.seed, shard, "start")):
            network = self.log.meter.attach(self.runtime.weights(self.build()))
        if start is not None:
            network.load_state_dict(start)
        recipe = Recipe(**{**plan.recipe.model_dump(), "epochs": plan.slice_epochs})
        begun = bool((own & (cells % plan.slices < first)).any())  # earlier requests may have emptied those slices
        states = []
        for number in range(first, plan.slices):
            given = samples.subset(torch.nonzero(own & (cells % plan.slices <= number)).flatten())
            seed = _seed(plan.seed, shard, str(number))
            with isolated_randomness(seed) as generator, self.view.seeded_reads(seed):
                if len(given) and not begun:
                    initialise(network, given, generator)
                if len(given):
                    self._fit(network, given, recipe, generator, shard)
                    begun = True
            states.append(
                {key: value.detach().to("cpu", copy=True).contiguous() for key, value in network.state_dict().items()}
            )
        self.log.meter.detach(network)
        return states

    def _fit(self, network: nn.Module, given: PartSamples, recipe: Recipe, draws: torch.Generator, shard: int) -> None:
        train(
            network,
            given,
            recipe,
            stage=f"shard {shard + 1}",
            generator=draws,
            runtime=self.runtime,
            log=self.log,
        )


def check_sharding(plan: ShardedTraining, rows: Tensor, labels: Tensor, classes: tuple[str, ...]) -> list[str]:
    """Refuse more parts than samples; return a sentence for each class that a shard has no sample of.

    Args:
        plan: of the training.
        rows: numbers of the rows that are trained on, (n,).
        labels: of these rows, (n,).
        classes: the class list.

    Raises:
        ConfigError: there are more shards, or more slices in all shards together, than samples.
    """
    wish = f"Expected at most {len(rows)} slices in all shards together, as there are {len(rows)} samples to train on"
    if plan.shards * plan.slices > len(rows):
        raise ConfigError(f"{wish}, but got {plan.shards} shards of {plan.slices} slices; lower --shards or --slices.")
    cells = plan.cells()[rows]
    empty = [shard for shard in range(plan.shards) if not bool((cells == shard * plan.slices).any())]
    if empty:
        raise ConfigError(
            f"Expected samples in the first slice of every shard, but shard {empty[0] + 1} has none there; lower "
            "--shards or --slices."
        )
    missing = []
    for shard in range(plan.shards):
        present = set(labels[cells // plan.slices == shard].tolist())
        absent = [classes[k] for k in sorted(set(labels.tolist()) - present)]
        if absent:
            missing.append(f"shard {shard + 1} of {plan.shards} has no sample of {', '.join(absent[:5])}")
    return missing


def _cells(sharding: Sharding, rows: int, seed: int) -> Tensor:
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    cells = torch.empty(rows, dtype=torch.int64)
    cells[order] = torch.arange(rows) % (sharding.shards * sharding.slices)
    return cells


def _digest(cells: Tensor) -> str:
    return hashlib.sha256(cells.numpy().tobytes()).hexdigest()


def _seed(seed: int, shard: int, what: str) -> int:
    """Return a seed of its own for each training of a shard."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{shard}/{what}".encode()).digest()[:4]) >> 1
