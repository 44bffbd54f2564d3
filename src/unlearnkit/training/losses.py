"""Defines the losses of the training loop: (model, images (n, C, H, W), labels (n,)) -> scalar.

Shapes: n samples, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit.network import logits_of

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
Criterion = Callable[[Tensor, Tensor], Tensor]  # (logits (n, K), labels (n,)) -> scalar, the mean over the samples


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of the model on a batch."""
    return F.cross_entropy(logits_of(model(images)), labels)


def supervised(criterion: Criterion | None = None, *, label_smoothing: float = 0.0) -> Loss:
    """Return the loss that compares the model's logits with the labels by `criterion`.

    Args:
        criterion: the user's own; default: cross-entropy.
        label_smoothing: of the default, share of the label spread over all classes.
    """
    if criterion is None and label_smoothing == 0:
        return cross_entropy

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        logits = logits_of(model(images))
        if criterion is not None:
            return criterion(logits, labels)
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)

    return loss


def per_sample(criterion: Criterion | None = None, *, label_smoothing: float = 0.0) -> Criterion:
    """Return the loss of each sample: (logits (n, K), labels (n,)) -> (n,), where `supervised` gives their mean.

    Args:
        criterion: the user's own, called on one sample at a time; default: cross-entropy.
        label_smoothing: of the default, share of the label spread over all classes.
    """

    def losses(logits: Tensor, labels: Tensor) -> Tensor:
        if criterion is None:
            return F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
        return torch.stack([criterion(logits[i : i + 1], labels[i : i + 1]) for i in range(len(labels))])

    return losses


def distillation(teacher: nn.Module, gone: Sequence[int]) -> Loss:
    """Cross-entropy to the teacher's outputs without the classes `gone`; labels are ignored.

        - mean over images of sum over k of p_k log q_k,   p = softmax of the teacher's logits with `gone` at minus
        infinity, q = softmax of all of the model's logits: the outputs of `gone` are pushed down.

    Source: G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531, with
    temperature 1; without the class of the image: Y. Zhou et al., DELETE, CVPR 2025 (arXiv 2503.23751). That `gone` is
    removed from every image's target, not its own class alone, is ours.

    Args:
        teacher: in eval mode; it is not trained.
        gone: class ids to remove.
    """

    def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001 - the Loss interface
        with torch.no_grad():
            target_probabilities = probabilities_without(logits_of(teacher(images)), gone)
        return -(target_probabilities * logits_of(model(images)).log_softmax(dim=1)).sum(dim=1).mean()

    return loss


def probabilities_without(logits_nK: Tensor, gone: Sequence[int]) -> Tensor:
    """Return the softmax (n, K) of logits in which the classes `gone` are at minus infinity."""
    removed = torch.zeros(logits_nK.shape[1], dtype=torch.bool, device=logits_nK.device)
    removed[list(gone)] = True
    return logits_nK.masked_fill(removed, -math.inf).softmax(dim=1)
