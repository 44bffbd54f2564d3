"""Takes the whole state of a training at the end of an epoch, and restores it, so that training continues bit for bit.

The state is what decides the rest: weights and buffers, the optimiser's, the slow weights of Lookahead, which images
are mirrored next, every generator of random numbers, and the losses so far. All of it is tensors and plain numbers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from unlearnkit.data.samples import Augmented
from unlearnkit.errors import OutputError, reason
from unlearnkit.runtime.runlog import RunLog, Stage
from unlearnkit.training.lookahead import Lookahead
from unlearnkit.training.micro_batches import MicroBatches

MERSENNE = "MT19937"  # the kind of numpy's global generator, by numpy's name


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The state of a training after some epochs.

    Args:
        epochs: how many are done.
        tensors: by name, on the CPU, none of them shared with the training.
        numbers: what is no tensor.
    """

    epochs: int
    tensors: dict[str, Tensor]
    numbers: dict[str, float]


class Checkpoints(Protocol):
    """Where the training loop saves its state, and what it continues from."""

    def load(self) -> Saved | None:
        """Return the state to go on from; None: the training begins."""
        ...

    def save(self, epochs: int, take: Callable[[], Saved]) -> None:
        """Keep the state after some epochs, if that is worth its time; `take` takes it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Training:
    """The running parts of a training whose state is taken and put back."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    mirrored: Augmented | None
    lookahead: Lookahead | None
    micro_batches: MicroBatches
    log: RunLog
    device: torch.device

    def take(self, epochs: int, name: str, stage: Stage) -> Saved:
        """Return the state between two epochs of a stage.

        Raises:
            StageLossError: a recent loss is NaN or infinite.
        """
        stage.check()
        cost = self.log.so_far(name, stage)
        live = self._live()
        for number, parameter in enumerate(_parameters(self.optimizer)):
            slots = self.optimizer.state.get(parameter, {}).items()
            live |= {f"optimizer.{number}.{slot}": value for slot, value in slots if value is not None}
        tensors = {key: _copy(value) for key, value in live.items()} | _generators(self.generator, self.device)
        tensors["losses"] = torch.tensor([*self.log.history.get(name, ()), *stage.losses], dtype=torch.float64)
        numbers: dict[str, float] = {
            "seconds": cost.seconds,
            "samples_forward": cost.samples_forward,
            "samples_backward": cost.samples_backward,
            "peak_memory_bytes": cost.peak_memory_bytes,
            "micro_batch": self.micro_batches.size or 0,
            **({} if cost.operations is None else {"operations": cost.operations}),
        }
        return Saved(epochs=epochs, tensors=tensors, numbers=numbers)

    def put_back(self, saved: Saved, name: str) -> None:
        """Go on from a state; no weight is changed where it does not fit.

        Raises:
            OutputError: a tensor is missing, unknown, of another shape or type, or no state of a generator.
        """
        try:
            self._put_back(saved.tensors)
        except (ValueError, TypeError, OverflowError, RuntimeError) as error:
            raise OutputError(
                "Expected the whole state of this training in what an interrupted run has left, but "
                f"{reason(error)}; delete that file to start anew."
            ) from error
        self.micro_batches.size = int(saved.numbers["micro_batch"]) or None
        self.log.go_on(name, saved.tensors["losses"].tolist(), saved.numbers)

    def _put_back(self, tensors: Mapping[str, Tensor]) -> None:
        state = _optimizer_state(self.optimizer, tensors)
        live = self._live()
        generators = _generators(self.generator, self.device)
        wanted: dict[str, Tensor | None] = {**live, **state, **generators, "losses": tensors.get("losses")}
        for key, value in wanted.items():
            _check(key, value, tensors.get(key))
        unknown = sorted(tensors.keys() - wanted.keys())
        if unknown:
            raise ValueError(f"it holds {unknown[0]!r} too")
        _set_generators(tensors, self.generator, self.device)
        with torch.no_grad():
            for key, value in {**live, **state}.items():
                value.copy_(tensors[key])
        for key, value in state.items():
            _, number, slot = key.split(".")
            self.optimizer.state[_parameters(self.optimizer)[int(number)]][slot] = value

    def _live(self) -> dict[str, Tensor]:
        """Every tensor that training changes, but for the optimiser's, which are there from its first step on."""
        tensors: dict[str, Tensor] = dict(self.model.named_parameters(prefix="model", remove_duplicate=False))
        tensors |= dict(self.model.named_buffers(prefix="model", remove_duplicate=False))
        if self.mirrored is not None:
            tensors["mirrored"] = self.mirrored.mirrored
        if self.lookahead is not None:
            tensors |= {f"lookahead.{number}": value for number, value in enumerate(self.lookahead.slow)}
        return tensors


def _copy(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()


def _check(key: str, wanted: Tensor | None, found: Tensor | None) -> None:
    if found is None or wanted is None:
        raise ValueError(f"it holds no {key!r}")
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        raise ValueError(
            f"{key!r} is {found.dtype} {tuple(found.shape)} where {wanted.dtype} {tuple(wanted.shape)} is needed"
        )


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _optimizer_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return empty tensors for the optimiser's state, laid out in memory as the optimiser itself makes them.

    A parameter that no step has used has none.
    """
    parameters = _parameters(optimizer)
    slots = ("momentum_buffer",) if isinstance(optimizer, torch.optim.SGD) else ("step", "exp_avg", "exp_avg_sq")
    keys = [(f"optimizer.{number}.{slot}", slot, value) for number, value in enumerate(parameters) for slot in slots]
    return {
        key: torch.empty((), dtype=torch.float32) if slot == "step" else torch.empty_like(value)
        for key, slot, value in keys
        if key in tensors
    }


def _generators(generator: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """The states of all generators of random numbers; `math.nan` stands for a normal draw that is not there."""
    _, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    assert numpy["bit_generator"] == MERSENNE, "numpy's global generator has this kind"
    states = {
        "random.order": generator.get_state(),
        "random.torch": torch.get_rng_state(),
        "random.python": torch.tensor(words, dtype=torch.int64),
        "random.python.normal": torch.tensor(math.nan if gauss is None else gauss, dtype=torch.float64),
        "random.numpy": torch.from_numpy(numpy["state"]["key"].astype(np.int64)),
        "random.numpy.normal": torch.tensor(
            [numpy["state"]["pos"], numpy["has_gauss"], numpy["gauss"]], dtype=torch.float64
        ),
    }
    if device.type == "cuda":
        states["random.device"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["random.device"] = torch.mps.get_rng_state()
    return {key: value.clone() for key, value in states.items()}


def _set_generators(tensors: Mapping[str, Tensor], generator: torch.Generator, device: torch.device) -> None:
    normal = float(tensors["random.python.normal"])
    words = tuple(tensors["random.python"].tolist())
    random.setstate((3, words, None if math.isnan(normal) else normal))
    position, has_gauss, cached = tensors["random.numpy.normal"].tolist()
    if not 0 <= position <= len(tensors["random.numpy"]):  # numpy would read beyond its own memory
        raise ValueError("the state of numpy's generator has no such position")
    keys = tensors["random.numpy"].numpy().astype(np.uint32)
    np.random.set_state((MERSENNE, keys, int(position), int(has_gauss), cached))
    generator.set_state(tensors["random.order"])
    torch.set_rng_state(tensors["random.torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.device"], device)
    if device.type == "mps":
        torch.mps.set_rng_state(tensors["random.device"])
