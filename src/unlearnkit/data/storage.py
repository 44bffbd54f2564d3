"""Decides where decoded images are kept: on the run's device, in main memory, or nowhere (decoded at each read)."""

from __future__ import annotations

import math
import os
from typing import Literal

import psutil
import torch
from torch import Tensor

from unlearnkit.errors import ConfigError, DataError

Storage = Literal["auto", "memory", "stream"]
STORAGES: tuple[Storage, ...] = ("auto", "memory", "stream")
SHARE = 0.4  # of the free memory that `auto` takes; the model, its gradients and other programs need the rest
WORKERS = 4  # more of them rarely help one model, and each holds batches in memory


def checked_storage(storage: str) -> Storage:
    """Return `storage` if it is a known kind; refuse it otherwise.

    Raises:
        ConfigError: it is not.
    """
    for known in STORAGES:
        if storage == known:
            return known
    raise ConfigError(f"Expected storage auto, memory or stream, but got {storage!r}; auto is the default.")


def checked_workers(workers: int | None) -> int:
    """Return the number of worker processes that decode; None means one for each core, 4 at most.

    Raises:
        ConfigError: it is negative.
    """
    if workers is None:
        return min(WORKERS, os.cpu_count() or 1)
    if workers < 0:
        raise ConfigError(f"Expected 0 or more workers, but got {workers}; 0 decodes in the main process.")
    return workers


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free for this process on `device`; MPS shares the main memory.

    Processes of one run on one machine ask at the same time, so each is given its part of the main memory.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    processes = 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", torch.distributed.get_world_size()))
    return int(psutil.virtual_memory().available) // processes


def home(storage: Storage, size: int, device: torch.device) -> torch.device | None:
    """Return the device that will hold `size` bytes of images, or None where they are not kept.

    The run's device comes first, then main memory; on each, `auto` takes 40 % of what is free at most, and `memory`
    takes all of the main memory if need be.

    Raises:
        DataError: `memory` is asked for, and there is too little.
    """
    cpu = torch.device("cpu")
    if storage == "stream":
        return None
    if size <= SHARE * free_bytes(device):
        return device
    free = free_bytes(cpu)
    if size <= (free if storage == "memory" else SHARE * free):
        return cpu
    if storage == "memory":
        raise DataError(
            f"Expected the images to fit into memory, but they take {gigabytes(size)} and {gigabytes(free)} are free; "
            "choose storage auto or stream, or a smaller image size."
        )
    return None


class Store:
    """The decoded images of one set, allocated once their place is decided.

    Args:
        storage: how they are to be kept.
        count: how many there are.
    """

    def __init__(self, storage: Storage, count: int) -> None:
        self.storage, self._count = storage, count
        self._held = torch.zeros(count, dtype=torch.bool)
        self._pixels: Tensor | None = None
        self._asked: torch.device | None = None

    def settle(self, device: torch.device, shape: tuple[int, int, int], dtype: torch.dtype) -> bool:
        """Decide by sizes, before any allocation, whether images for `device` are kept; return the decision.

        Raises:
            DataError: they are to be kept in memory, and there is too little.
        """
        if self._asked != device:
            size = self._count * math.prod(shape) * dtype.itemsize
            if self._pixels is None:
                place = home(self.storage, size, device)
                if place is not None:
                    self._pixels = torch.empty((self._count, *shape), dtype=dtype, device=place)
            elif self._pixels.device != device and size <= SHARE * free_bytes(device):
                self._pixels = self._pixels.to(device)
            self._asked = device
        return self._pixels is not None

    def missing(self, rows: Tensor) -> Tensor:
        """Return the distinct rows among `rows` that are not stored yet."""
        absent: Tensor = rows[~self._held[rows]]
        return absent.unique() if len(absent) else absent  # after the first pass over the data there is none

    def put(self, rows: Tensor, pixels: Tensor) -> None:
        """Keep the images of `rows`."""
        assert self._pixels is not None, "the store is settled, and keeps images"
        self._pixels[rows.to(self._pixels.device)] = pixels.to(self._pixels.device)
        self._held[rows] = True

    def get(self, rows: Tensor, device: torch.device) -> Tensor:
        """Return the images of `rows`, all of which are stored, on `device`."""
        assert self._pixels is not None, "the store is settled, and keeps images"
        images: Tensor = self._pixels[rows.to(self._pixels.device)]
        return images.to(device)


def gigabytes(size: int) -> str:
    """Return `size` bytes as text such as 1.5 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
