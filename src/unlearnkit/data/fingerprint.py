"""Computes the fingerprint of samples, a hash of their labels and pixels in order."""

from __future__ import annotations

import hashlib
import sys

import torch

from unlearnkit.data.view import Batch, PartSamples
from unlearnkit.runtime.progress import Progress

BATCH = 256  # images read at once; data that draws its pixels at random draws them by batches, so it stays what it is


def fingerprint(samples: PartSamples, progress: Progress) -> str:
    """Return the SHA-256 of the labels and the normalised pixels, in hexadecimal: one pass over all samples.

    Args:
        samples: on the CPU, whose arithmetic is the same on every machine; draws are those of `seeded_reads(0)`, which
            the caller opens.
        progress: where the pass is shown.
    """
    digest = hashlib.sha256()
    labels = samples.labels
    digest.update(_bytes(labels))
    batches = [Batch(positions) for positions in torch.arange(len(labels)).split(BATCH)]
    progress.start("fingerprint of the data", len(batches))
    for images in samples.stream(batches):
        digest.update(_bytes(images.float()))
        progress.advance()
    progress.finish()
    return digest.hexdigest()


def _bytes(values: torch.Tensor) -> bytes:
    array = values.contiguous().numpy()
    return bytes((array if sys.byteorder == "little" else array.byteswap()).tobytes())
