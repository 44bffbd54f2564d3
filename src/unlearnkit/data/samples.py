"""Samples made from samples: images held in memory, several sets as one, random crops and flips.

Shapes: n samples, C channels, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnkit.data.view import Samples


class TensorSamples:
    """Images that are already in memory, each present `repeats` times.

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
        """(n * repeats,) int64 on the CPU."""
        return self._labels.repeat(self._repeats)

    def images(self, positions: Tensor) -> Tensor:
        """Images (m, C, H, W) at `positions`."""
        return self._images[(positions % len(self._labels)).to(self._images.device)]


class Concat:
    """Several sets of samples, one after the other."""

    def __init__(self, sets: Sequence[Samples]) -> None:
        self._sets = [s for s in sets if len(s)]
        self._ends = torch.tensor([len(s) for s in self._sets]).cumsum(0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def labels(self) -> Tensor:
        """(n,) int64 on the CPU."""
        return torch.cat([s.labels for s in self._sets])

    def images(self, positions: Tensor) -> Tensor:
        """Images (m, C, H, W) at `positions`, in their order."""
        owner = torch.bucketize(positions, self._ends, right=True)
        order, parts = [], []
        for k, samples in enumerate(self._sets):
            mine = torch.nonzero(owner == k).flatten()
            if len(mine):
                start = int(self._ends[k]) - len(samples)
                parts.append(samples.images(positions[mine] - start))
                order.append(mine)
        stacked = torch.cat([part.to(parts[0].dtype) for part in parts])
        return stacked[torch.argsort(torch.cat(order)).to(stacked.device)]


class Augmented:
    """Samples whose images are randomly cropped and mirrored at every read."""

    def __init__(self, samples: Samples, generator: torch.Generator) -> None:
        self._samples, self._generator = samples, generator

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def labels(self) -> Tensor:
        """(n,) int64 on the CPU."""
        return self._samples.labels

    def images(self, positions: Tensor) -> Tensor:
        """Augmented images (m, C, H, W) at `positions`."""
        return crop_and_flip(self._samples.images(positions), self._generator)


def crop_and_flip(images: Tensor, generator: torch.Generator, padding: int = 4) -> Tensor:
    """Shift every image by up to `padding` pixels (reflected edges) and mirror half of them; same shape.

    Images of no more than `padding` pixels are shifted by one pixel less than they have.
    """
    n, _, height, width = images.shape
    padding = min(padding, height - 1, width - 1)
    padded = F.pad(images, (padding,) * 4, mode="reflect")
    shift_y, shift_x = torch.randint(0, 2 * padding + 1, (2, n), generator=generator)
    flip = torch.rand(n, generator=generator) < 0.5
    ys = shift_y[:, None] + torch.arange(height)
    xs = shift_x[:, None] + torch.where(flip[:, None], torch.arange(width - 1, -1, -1), torch.arange(width))
    ys, xs = ys.to(images.device), xs.to(images.device)
    index = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[index, ys[:, :, None], xs[:, None, :]].permute(0, 3, 1, 2).contiguous()


def per_class(labels: Tensor, count: int | Mapping[int, int], generator: torch.Generator | None) -> Tensor:
    """Positions of `count` samples of every class in `labels`: drawn at random, or the first ones without generator.

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
