"""Draws a fifth of every class as test rows where a source has no test part, independently of the other classes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

FRACTION = 0.2


def held_out(labels: Tensor, classes: Sequence[str]) -> Tensor:
    """Mark a fifth of every class as test rows (n,) bool; at least one where the class has two rows or more.

    The draw depends on the class's name and on how many rows it has, and on nothing else: a source from which a
    class has been deleted keeps the test rows of the others, so none of them is trained on later.

    Args:
        labels: (n,) ids.
        classes: their names.
    """
    mark = torch.zeros(len(labels), dtype=torch.bool)
    for class_id, name in enumerate(classes):
        rows = torch.nonzero(labels == class_id).flatten()
        count = round(FRACTION * len(rows)) or int(len(rows) > 1)
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        mark[rows[torch.randperm(len(rows), generator=generator)[:count]]] = True
    return mark
