"""Losses that hold a model against frozen teachers.

Shapes: n samples, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from unlearnkit.network import logits_of


def teacher_of(model: nn.Module) -> nn.Module:
    """Return a frozen copy of `model` in eval mode."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def divergence(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the Kullback-Leibler divergence (n,) of the student from the teacher, each in [0, inf).

        T^2 sum over k of p_k (log p_k - log q_k),   p = softmax(teacher / T),  q = softmax(student / T)

    The factor T^2 keeps the size of the gradients when T changes.

    Args:
        teacher: logits (n, K), the first argument of KL(p || q).
        student: logits (n, K).
        temperature: T.

    Source: G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
    """
    log_p, log_q = (teacher / temperature).log_softmax(dim=1), (student / temperature).log_softmax(dim=1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(dim=1)


@torch.no_grad()
def taught(teacher: nn.Module, images: Tensor) -> Tensor:
    """Return the teacher's logits (n, K), without gradients."""
    return logits_of(teacher(images))
