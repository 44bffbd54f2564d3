"""Finds retained training images that are, or look like, images to forget: what they show is learned all the same.

Shapes: n images to forget, m retained ones, C channels, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnkit.data.access import AccessLog
from unlearnkit.data.images import ImageData
from unlearnkit.data.row_names import BATCH, content_hash
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.split import Part, Split

DISTANCE = 4  # of 64 bits, up to which two images look alike
BRIGHTNESS = 0.05  # of the range of pixels, by which they may differ on average: plain skies have like hashes too
SHOWN = 100  # pairs that a record lists


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Pairs (row to forget, retained row) of training images, by number.

    Args:
        exact: of the same pixels.
        near: of difference hashes at most `DISTANCE` apart, and of a brightness on the same grid that differs by at
            most `BRIGHTNESS` on average; exact ones not among them.
        looked_at: retained images that were compared.
    """

    exact: tuple[tuple[int, int], ...]
    near: tuple[tuple[int, int], ...]
    looked_at: int

    def as_record(self) -> dict[str, Any]:
        """Return the pairs as JSON holds them: their numbers, and the first `SHOWN` of either kind."""
        return {
            "distance": DISTANCE,
            "brightness": BRIGHTNESS,
            "looked_at": self.looked_at,
            "exact": len(self.exact),
            "near": len(self.near),
            "exact_pairs": [list(pair) for pair in self.exact[:SHOWN]],
            "near_pairs": [list(pair) for pair in self.near[:SHOWN]],
        }


def difference_hash(images_NCHW: Tensor) -> Tensor:
    """Return whether each place of an 8 x 8 grid is darker than its right neighbour, (n, 64) bool.

    Grey images are reduced to 8 rows of 9 means of their areas. Source: N. Krawetz, "Kind of Like That", The Hacker
    Factor Blog, 2013 (dHash).

    Args:
        images_NCHW: any numbers, of one or several channels.
    """
    small_NHW = grid_of(images_NCHW)
    return (small_NHW[:, :, 1:] > small_NHW[:, :, :-1]).flatten(1)


def grid_of(images_NCHW: Tensor) -> Tensor:
    """Return the brightness of images on a grid of 8 rows of 9 areas, (n, 8, 9), in the images' own units."""
    grey = images_NCHW.float().mean(dim=1, keepdim=True)
    return F.interpolate(grey, size=(8, 9), mode="bilinear", antialias=True, align_corners=False)[:, 0]


def distances(first: Tensor, second: Tensor) -> Tensor:
    """Return the number of bits in which hashes differ: (n, 64) and (m, 64) bool -> (n, m)."""
    signs = [2.0 * bits.float() - 1 for bits in (first, second)]
    return (first.shape[1] - signs[0] @ signs[1].T) / 2


def find_duplicates(data: ImageData, split: Split, log: AccessLog, progress: Progress | None = None) -> Duplicates:
    """Compare every retained training image with the rows to forget one by one; each is read once.

    Args:
        data: decoded in the model's size.
        split: whose request has rows or subclasses.
        log: where the reads are counted, under `naming`.
        progress: where the pass is shown.
    """
    progress = progress or Silent()
    asked = torch.tensor(split.request.train_rows, dtype=torch.int64)
    retained = torch.cat([split[Part.RETAIN_TRAIN], split[Part.RETAIN_VAL]]).sort().values
    known = [look for batch in asked.split(BATCH) for look in _looks(data, batch, log)]
    own = torch.stack([look.bits for look in known])
    low, high = torch.stack([look.grid for look in known]).aminmax()
    span = 255.0 if data.train.dtype == torch.uint8 else float(high - low)
    exact: list[tuple[int, int]] = []
    near: list[tuple[int, int]] = []
    batches = retained.split(BATCH)
    progress.start("looking for duplicates", len(batches))
    for batch in batches if len(retained) else ():
        others = _looks(data, batch, log)
        close = distances(own, torch.stack([look.bits for look in others])) <= DISTANCE
        for i, j in torch.nonzero(close).tolist():
            pair = int(asked[i]), int(batch[j])
            if known[i].content == others[j].content:
                exact.append(pair)
            elif float((known[i].grid - others[j].grid).abs().mean()) <= BRIGHTNESS * span:
                near.append(pair)
        progress.advance()
    progress.finish()
    return Duplicates(exact=tuple(exact), near=tuple(near), looked_at=len(retained))


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is compared of an image: the hash of its content, its difference hash (64,), its brightness (8, 9)."""

    content: str
    bits: Tensor
    grid: Tensor


def _looks(data: ImageData, rows: Tensor, log: AccessLog) -> list[Look]:
    """Return what is compared of each row, which is read once."""
    log.mark("naming", "train", rows)
    images = data.train.images(rows, torch.device("cpu"))
    each = zip(images, difference_hash(images), grid_of(images), strict=True)
    return [Look(content=content_hash(image), bits=bits, grid=grid) for image, bits, grid in each]
