"""Marks the samples to forget in a batch that holds retained ones too, by labels of their own.

Their classes do not tell them apart: rows are forgotten of classes that stay. A marked sample of class k has the label
k + K, as if the class list stood there a second time for what is to be forgotten.

Shapes: N samples of a batch, K classes.
"""

from __future__ import annotations

from torch import Tensor

from unlearnkit.data.samples import Relabelled
from unlearnkit.data.view import Samples


def marked(samples: Samples, classes: int) -> Relabelled:
    """Return the samples with their labels moved up by the number of classes.

    >>> import torch
    >>> from unlearnkit.data.samples import TensorSamples
    >>> marked(TensorSamples(torch.zeros(2, 1, 8, 8), torch.tensor([0, 2])), 3).labels.tolist()
    [3, 5]
    """
    return Relabelled(samples, samples.labels + classes)


def unmarked(labels_N: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the classes (N,) int64 of samples, and which of them are marked, (N,) bool.

    >>> import torch
    >>> unmarked(torch.tensor([1, 5]), 3)
    (tensor([1, 2]), tensor([False,  True]))
    """
    return labels_N % classes, labels_N >= classes
