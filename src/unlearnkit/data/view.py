"""Defines DataView, which hands out only the declared parts and counts every sample that is read.

Shapes: n samples, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from unlearnkit.data.access import AccessLog, Reader
from unlearnkit.data.images import ImageData
from unlearnkit.data.stream import Shape
from unlearnkit.errors import AccessError
from unlearnkit.split import Part, Split


class Batch(NamedTuple):
    """Positions of the samples of one training step, and the share of them that this process reads.

    Args:
        positions: (m,) int64; what is random is drawn for all of them.
        mine: contiguous share of them that this process computes, where several train together.
    """

    positions: Tensor
    mine: slice = slice(None)

    def places(self) -> range:
        """Return the slice of the batch that is this process's share."""
        places = range(len(self.positions))[self.mine]
        assert places.step == 1, "a share is contiguous"
        return places


class Samples(Protocol):
    """Labelled images that are read by position."""

    @property
    def labels(self) -> Tensor:
        """Labels of the samples, (n,) int64 on the CPU."""
        ...

    def __len__(self) -> int: ...

    def images(self, positions: Tensor) -> Tensor:
        """Return normalised images (m, C, H, W) at `positions`, on the run's device."""
        ...

    def stream(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Yield the images at `positions[mine]` of every batch, in order; images that must be decoded are read ahead.

        What is random is drawn for the whole batch and then cut, so that the processes that share a batch see the
        images that one process would see.
        """
        ...


class PartSamples:
    """Samples of one part, or a subset of them; image reads are counted, label reads are not."""

    def __init__(self, view: DataView, part: Part, rows: Tensor) -> None:
        self._view, self._part, self._rows = view, part, rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def labels(self) -> Tensor:
        """Labels of the samples, (n,) int64 on the CPU."""
        return self._view._data.labels(self._part.side)[self._rows]

    def subset(self, positions: Tensor) -> PartSamples:
        """Return the samples at `positions`."""
        return PartSamples(self._view, self._part, self._rows[positions])

    def images(self, positions: Tensor) -> Tensor:
        """Return normalised float32 images (m, C, H, W) on the run's device, and count the read."""
        return self._view._data.normalise(self.pixels(positions))

    def pixels(self, positions: Tensor) -> Tensor:
        """Return stored images (m, C, H, W) on the run's device, and count the read."""
        return self._view._data.set(self._part.side).images(self._draw(positions), self._view.device)

    def stream(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Yield the normalised images of this process's share of every batch; a share is counted when it is drawn.

        With workers, that is up to two batches for each of them before the images are handed out.
        """
        shares = ((self._draw(batch.positions[batch.mine]), batch.places()) for batch in batches)
        stored = self._view._data.set(self._part.side)
        for pixels in stored.stream(shares, len(batches), self._view.device):
            yield self._view._data.normalise(pixels)

    def _draw(self, positions: Tensor) -> Tensor:
        """Mark the rows at `positions` as read, and return them."""
        rows = self._rows[positions.cpu()]
        self._view.log.mark(self._view.reader, self._part.side, rows)
        return rows


class DataView:
    """What one reader may read of the data: the parts that it declared.

    Args:
        data: the whole data set.
        split: the parts.
        parts: the parts that may be read.
        reader: whose reads these are.
        log: where they are counted.
        device: where images are delivered.
    """

    def __init__(
        self,
        data: ImageData,
        split: Split,
        parts: frozenset[Part],
        *,
        reader: Reader,
        log: AccessLog,
        device: torch.device,
    ) -> None:
        self._data, self.split, self.parts = data, split, parts
        self.reader, self.log, self.device = reader, log, device

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of the images."""
        return self._data.shape

    @property
    def std(self) -> tuple[float, ...]:
        """Divisor of each channel, one value or one for each: a pixel step of 1 becomes 1 / std."""
        return self._data.preprocessing.std

    @property
    def augment(self) -> str:
        """Augmentations that the data source allows in training."""
        return self._data.augment

    @property
    def repeatable(self) -> bool:
        """Whether every read of a row gives the same pixels; see `ImageSet.random`."""
        return not (self._data.train.random or self._data.test.random)

    def seeded_reads(self, seed: int) -> AbstractContextManager[None]:
        """Seed by `seed` what reads draw at random in the `with` block; draws also depend on the order of reads.

        A run that is to be determined by its seed is made in such a block.
        """
        return self._data.seeded_reads(seed)

    def part(self, part: Part) -> PartSamples:
        """Return the samples of a declared part.

        Raises:
            AccessError: the part was not declared.
        """
        if part not in self.parts:
            allowed = ", ".join(sorted(self.parts)) or "no data at all"
            raise AccessError(
                f"Expected a read of {allowed} by the {self.reader}, but it asked for {part.value}; "
                "a method declares what it reads in `needs`."
            )
        return PartSamples(self, part, self.split[part])
