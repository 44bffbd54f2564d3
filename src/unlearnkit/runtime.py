"""Runtime: device, precision and batch size of inference, decided once and passed down."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from unlearnkit.errors import ConfigError


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how a run computes.

    Args:
        device: where tensors live; default: CUDA, else MPS, else the CPU.
        precision: `fp32`, or `bf16` for automatic mixed precision.
        eval_batch_size: images per forward pass where no gradient of the weights is needed.
    """

    device: torch.device = field(default_factory=_best_device)
    precision: Literal["fp32", "bf16"] = "fp32"
    eval_batch_size: int = 500

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16"):
            raise ConfigError(f"Expected precision fp32 or bf16, but got {self.precision!r}; fp32 is the default.")
        if self.eval_batch_size < 1:
            raise ConfigError(
                f"Expected a positive eval_batch_size, but got {self.eval_batch_size}; 500 is the default."
            )

    @classmethod
    def named(cls, device: str | None, precision: Literal["fp32", "bf16"] = "fp32") -> Runtime:
        """Return the runtime for a device name such as `cpu` or `cuda:1`; none means the best there is.

        Raises:
            ConfigError: torch does not know the device, or this machine does not have it.
        """
        if device is None:
            return cls(precision=precision)
        wish = f"Expected cpu, cuda, cuda:N or mps, as far as this machine has it, but got {device!r}"
        try:
            if device.partition(":")[0] not in ("cpu", "cuda", "mps"):
                raise RuntimeError(device)
            chosen = torch.device(device)
            torch.empty(1, device=chosen)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"{wish}; leave --device out for the best there is.") from error
        return cls(device=chosen, precision=precision)

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which forward passes run in the run's precision."""
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def synchronize(self) -> None:
        """Wait until the device has done all its work, so that a clock reads true."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def check_seed(seed: int) -> None:
    """Refuse a seed that the generators do not take.

    Raises:
        ConfigError: it is negative or beyond 2**31.
    """
    if not 0 <= seed < 2**31:
        raise ConfigError(f"Expected a seed from 0 to {2**31 - 1}, but got {seed}; 0 is the default.")


@contextmanager
def isolated_randomness(seed: int) -> Iterator[torch.Generator]:
    """Seed every global generator, yield a CPU Generator of the same seed, and restore all states afterwards.

    Dropout and module constructors take no Generator, so the global ones must be seeded; nobody but the callers of
    this function (the harness) does that. Convolutions are held to deterministic algorithms meanwhile.

    Raises:
        ConfigError: the seed is negative or beyond 2**31.
    """
    check_seed(seed)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count()))  # manual_seed seeds every one of them
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(deterministic=True, benchmark=False),
    ):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
