"""Builds sets of samples from others: images in memory, several sets as one, random crops and flips.

Shapes: n samples, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnkit.data.view import Batch, Samples


class TensorSamples:
    """Samples of images that are already in memory, each repeated `repeats` times.

    Args:
        images: (n, C, H, W), as the model takes them.
        labels: (n,) int64.
        repeats: how often each image stands in the set.
    """

    def __init__(self, images: Tensor, labels: Tensor, repeats: int = 1) -> None:
        self._images, self._labels, self._repeats = images, labels.cpu(), repeats

    def __len__(self) -> int:
        return len(self._labels) * self._repeats

    @property
    def labels(self) -> Tensor:
        """Labels of the samples, (n * repeats,) int64 on the CPU."""
        return self._labels.repeat(self._repeats)

    def images(self, positions: Tensor) -> Tensor:
        """Return the images (m, C, H, W) at `positions`."""
        return self._images[(positions % len(self._labels)).to(self._images.device)]

    def stream(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Yield the images of this process's share of every batch."""
        for batch in batches:
            yield self.images(batch.positions[batch.mine])


class Relabelled:
    """Samples with other labels.

    Args:
        samples: whose images they are.
        labels: (n,) int64, in their order.
    """

    def __init__(self, samples: Samples, labels: Tensor) -> None:
        self._samples, self._labels = samples, labels.cpu()

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def labels(self) -> Tensor:
        """Labels of the samples, (n,) int64 on the CPU."""
        return self._labels

    def images(self, positions: Tensor) -> Tensor:
        """Return the images (m, C, H, W) at `positions`."""
        return self._samples.images(positions)

    def stream(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Yield the images of this process's share of every batch."""
        return self._samples.stream(batches)


class Drawn:
    """Some of the samples, by position.

    Args:
        samples: whose they are.
        positions: (m,) int64.
    """

    def __init__(self, samples: Samples, positions: Tensor) -> None:
        self._samples, self._positions = samples, positions.cpu()

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def labels(self) -> Tensor:
        """Labels of the samples, (m,) int64 on the CPU."""
        return self._samples.labels[self._positions]

    def images(self, positions: Tensor) -> Tensor:
        """Return the images at `positions` of the draw."""
        return self._samples.images(self._positions[positions.cpu()])

    def stream(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Yield the images of this process's share of every batch."""
        return self._samples.stream([Batch(self._positions[batch.positions.cpu()], batch.mine) for batch in batches])


class Concat:
    """Several sets of samples, joined one after the other."""

    def __init__(self, sets: Sequence[Samples]) -> None:
        self._sets = [s for s in sets if len(s)]
        self._ends = torch.tensor([len(s) for s in self._sets]).cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def labels(self) -> Tensor:
        """Labels of the samples, (n,) int64 on the CPU."""
        return torch.cat([s.labels for s in self._sets])

    def images(self, positions: Tensor) -> Tensor:
        """Return the images (m, C, H, W) at `positions`, in their order."""
        pieces = self._pieces(Batch(positions))
        return _joined([self._sets[piece.owner].images(piece.batch.positions) for piece in pieces], pieces)

    def stream(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Yield the images of this process's share of every batch; the sets are streamed side by side."""
        cut = [self._pieces(batch) for batch in batches]
        streams = [
            samples.stream([piece.batch for pieces in cut for piece in pieces if piece.owner == k])
            for k, samples in enumerate(self._sets)
        ]
        try:
            for pieces in cut:
                yield _joined([next(streams[piece.owner]) for piece in pieces], pieces)
        finally:
            streams.clear()  # ends the workers of the other sets where one has failed

    def _pieces(self, batch: Batch) -> list[_Piece]:
        """Split a batch by the sets that its samples come from.

        A set with samples in the batch is listed even if none of them is in this process's share: reading it may
        advance a random state for the whole batch.
        """
        owners = torch.bucketize(batch.positions, self._ends, right=True)
        share, pieces = batch.places(), []
        for k, samples in enumerate(self._sets):
            places_in_batch = torch.nonzero(owners == k).flatten()
            if len(places_in_batch) or (k == 0 and not len(owners)):
                share_of_set = slice(
                    int((places_in_batch < share.start).sum()), int((places_in_batch < share.stop).sum())
                )
                positions = batch.positions[places_in_batch] - (int(self._ends[k]) - len(samples))
                pieces.append(_Piece(k, Batch(positions, share_of_set), places_in_batch[share_of_set]))
        return pieces


class _Piece(NamedTuple):
    """The samples of one set in a batch, and the positions in the batch of those in this process's share."""

    owner: int
    batch: Batch
    places: Tensor


def _joined(parts: Sequence[Tensor], pieces: Sequence[_Piece]) -> Tensor:
    stacked = torch.cat([part.to(parts[0].dtype) for part in parts])
    return stacked[torch.argsort(torch.cat([piece.places for piece in pieces])).to(stacked.device)]


class Augmented:
    """Samples whose images are randomly cropped, and mirrored at every second read.

    Whether an image is mirrored first is drawn at random; after that it alternates, so that two epochs in a row show
    both sides, where independent draws would show one side twice for half of the images.

    Args:
        samples: what is augmented.
        generator: CPU generator of the draws.
        max_shift: see `crop_and_flip`.

    Source: K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024 (arXiv 2404.00498), section 3.6.
    """

    def __init__(self, samples: Samples, generator: torch.Generator, max_shift: int | None = None) -> None:
        self._samples, self._generator, self._max_shift = samples, generator, max_shift
        self.mirrored = torch.rand(len(samples), generator=generator) < 0.5

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def labels(self) -> Tensor:
        """Labels of the samples, (n,) int64 on the CPU."""
        return self._samples.labels

    def images(self, positions: Tensor) -> Tensor:
        """Return the augmented images (m, C, H, W) at `positions`."""
        images = self._samples.images(positions)
        return crop_and_flip(images, self._generator, self._max_shift, flip=self._turn(positions))

    def stream(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Yield the augmented images of this process's share of every batch."""
        for batch, images in zip(batches, self._samples.stream(batches), strict=True):
            height, width = images.shape[2:]
            flip = self._turn(batch.positions)
            crops = _draw_crops(flip, height, width, self._generator, self._max_shift)
            yield _crop(images, _Crops(crops.padding, *(drawn[batch.mine] for drawn in crops[1:])))

    def _turn(self, positions: Tensor) -> Tensor:
        """Return (m,) bool, which of the images at `positions` are mirrored in this read."""
        now = self.mirrored[positions]
        self.mirrored[positions] = ~now
        return now


def crop_and_flip(
    images: Tensor, generator: torch.Generator, max_shift: int | None = None, *, flip: Tensor | None = None
) -> Tensor:
    """Shift every image at random (reflected edges) and mirror some; same shape.

    Args:
        images: (n, C, H, W).
        generator: CPU generator of the draws.
        max_shift: pixels that an image is shifted by at most in each direction, and one less than it has at most;
            default: an eighth of the height, 4 at 32 pixels and 28 at 224.
        flip: (n,) bool, which images are mirrored; default: each with probability 1/2.
    """
    n, _, height, width = images.shape
    flip = torch.rand(n, generator=generator) < 0.5 if flip is None else flip
    return _crop(images, _draw_crops(flip, height, width, generator, max_shift))


class _Crops(NamedTuple):
    """How far each image is padded, and for each (n,) where its window begins and whether it is mirrored."""

    padding: int
    shift_y: Tensor
    shift_x: Tensor
    flip: Tensor


def _draw_crops(flip: Tensor, height: int, width: int, generator: torch.Generator, max_shift: int | None) -> _Crops:
    padding = min(max(1, height // 8) if max_shift is None else max_shift, height - 1, width - 1)
    shift_y, shift_x = torch.randint(0, 2 * padding + 1, (2, len(flip)), generator=generator)
    return _Crops(padding, shift_y, shift_x, flip)


def _crop(images: Tensor, crops: _Crops) -> Tensor:
    n, _, height, width = images.shape
    if not n:  # torch does not pad an empty tensor
        return images
    padded = F.pad(images, (crops.padding,) * 4, mode="reflect")
    ys = crops.shift_y[:, None] + torch.arange(height)
    columns = torch.where(crops.flip[:, None], torch.arange(width - 1, -1, -1), torch.arange(width))
    ys, xs = ys.to(images.device), (crops.shift_x[:, None] + columns).to(images.device)
    index = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, ys[:, :, None], xs[:, None, :]].permute(0, 3, 1, 2).contiguous()


def per_class(labels: Tensor, count: int | Mapping[int, int], generator: torch.Generator | None) -> Tensor:
    """Return positions of `count` samples of every class: drawn at random, or the first ones without a generator.

    A class with fewer samples gives all it has. The positions come class by class.

    Args:
        labels: (n,) int64.
        count: samples per class, one number for all or one for each class id.
        generator: CPU generator of the draw.
    """
    chosen = []
    for class_id in labels.unique().tolist():
        positions = torch.nonzero(labels == class_id).flatten()
        if generator is not None:
            positions = positions[torch.randperm(len(positions), generator=generator)]
        chosen.append(positions[: count if isinstance(count, int) else count[class_id]])
    return torch.cat(chosen)
