"""Checks seeds, and makes a Generator from a seed while the global random state is kept."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from unlearnkit.errors import ConfigError


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
    # manual_seed seeds every one of them; to count them looks for a driver anew each time
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    cudnn = torch.backends.cudnn
    with (
        torch.random.fork_rng(devices=devices),
        # `flags` switches off all that it is not given: without `enabled` convolutions run without cuDNN, 50x slower
        cudnn.flags(enabled=cudnn.enabled, deterministic=True, benchmark=False, allow_tf32=cudnn.allow_tf32),
    ):
        _seed_torch(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield torch.Generator().manual_seed(seed)
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def _seed_torch(seed: int) -> None:
    """Seed the CPU's global generator, and those of the accelerators where there are any.

    Without one `torch.manual_seed` would only keep, for a day when there is one, the seed and a copy of the call stack:
    memory that grows with every call, and a large part of a small run's time.
    """
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)
