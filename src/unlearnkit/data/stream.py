"""Reads rows as pixels in order: ahead of time in worker processes, or when they are needed in this process."""

from __future__ import annotations

import pickle  # nosec B403  # the name of its error alone
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unlearnkit.errors import DataError

Shape = tuple[int, int, int]
DecodeFn = Callable[[Sequence[int], Shape], Tensor]


class Share(NamedTuple):
    """The rows of a batch that this process reads, with a seed for each where reads are random."""

    rows: Tensor
    seeds: Sequence[int] | None = None


def read_seed(*numbers: int) -> int:
    """Return a seed below 2**32 for a read, from the numbers that tell it from other reads."""
    return zlib.crc32(repr(numbers).encode())


class RowReader(Dataset[Tensor | str]):
    """Decodes shares of batches and checks the pixels; it is sent to the worker processes.

    An error is returned as its sentence: raised in a worker, torch would wrap it into that worker's traceback. An
    exception may bring a traceback along too (`tblib`, which dask installs, pickles them), whose frames hold the
    workers' iterator and so keep the workers running.
    """

    def __init__(self, decode: DecodeFn, shape: Shape, dtype: torch.dtype) -> None:
        self._decode, self._shape, self._dtype = decode, shape, dtype

    def __getitem__(self, share: Share) -> Tensor | str:
        try:
            return self.read(share)
        except DataError as error:
            return str(error)

    def read(self, share: Share) -> Tensor:
        """Return the pixels (n, C, H, W) of a share.

        Raises:
            DataError: a row does not decode, or has another shape or type, or pixels that are no finite numbers.
        """
        rows = share.rows.tolist()
        if not rows:
            return torch.empty((0, *self._shape), dtype=self._dtype)
        if share.seeds is None:
            return self._checked(rows)
        chunks = []
        for row, seed in zip(rows, share.seeds, strict=True):
            with seeded(seed):
                chunks.append(self._checked([row]))
        return torch.cat(chunks)

    def _checked(self, rows: list[int]) -> Tensor:
        pixels = self._decode(rows, self._shape)
        if pixels.shape != (len(rows), *self._shape):
            raise DataError(
                f"Expected images of shape {self._shape}, but got {tuple(pixels.shape[1:])}; give all one size."
            )
        if pixels.dtype != self._dtype:
            raise DataError(
                f"Expected pixels of {self._dtype}, but row {rows[0]} has {pixels.dtype}; give all one type."
            )
        if pixels.is_floating_point():
            bad = ~pixels.isfinite().flatten(1).all(dim=1)
            if bad.any():
                raise DataError(
                    f"Expected finite pixels, but row {rows[int(bad.int().argmax())]} has NaN or infinite ones; "
                    "repair or remove it."
                )
        return pixels


def stream(reader: RowReader, shares: Iterable[Share], *, workers: int, pin: bool) -> Iterator[Tensor]:
    """Yield the pixels of every share, in order.

    The shares are drawn in this process, those of two batches for each worker ahead of the consumer. Closing the
    generator ends the workers.

    Args:
        reader: how rows become pixels.
        shares: what to read.
        workers: processes that read ahead; 0: each share is read when it is asked for.
        pin: whether the tensors come in page-locked memory, for copies to CUDA.

    Raises:
        DataError: see `RowReader.read`; or a worker died, or the data cannot be sent to one.
    """
    if workers == 0:
        yield from map(reader.read, shares)
        return
    loader = DataLoader(
        reader,
        batch_size=None,  # an index of the sampler is the share of a whole batch
        sampler=shares,
        num_workers=workers,
        pin_memory=pin,
        # by default the workers' seeds would be drawn from the global generator, and dropout would then depend on
        # whether images are streamed; what is random in a read has seeds of its own
        generator=torch.Generator().manual_seed(0),
    )
    try:
        iterator = iter(loader)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise DataError(
            f"Expected data that can be sent to worker processes, but it does not pickle ({error}); define its parts "
            "at the top of a module, or use 0 workers."
        ) from error
    try:
        while True:
            try:
                pixels = next(iterator)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error) or "Caught" in str(error):
                    raise
                raise DataError(
                    "Expected worker processes that decode images, but one of them died, for lack of memory or shared "
                    "memory as a rule; use fewer workers, 0 for none."
                ) from error
            if isinstance(pixels, str):
                raise DataError(pixels)
            yield pixels
    finally:
        del iterator  # the last reference: its workers end here, not when some traceback is freed


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators that random transforms use, and restore their states afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # the CPU's alone: workers must not touch CUDA
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
