"""Freezes teacher models, and measures the divergence of a student's outputs from theirs.

Shapes: N samples, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from unlearnkit.network import logits_of


def teacher_of(model: nn.Module) -> nn.Module:
    """Return a frozen copy of `model` in eval mode."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def divergence(teacher_NK: Tensor, student_NK: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the Kullback-Leibler divergence (N,) of the student from the teacher, each in [0, inf).

        T^2 sum over k of p_k (log p_k - log q_k),   p = softmax(teacher / T),  q = softmax(student / T)

    The factor T^2 keeps the size of the gradients when T changes.

    Args:
        teacher_NK: logits, the first argument of KL(p || q).
        student_NK: logits.
        temperature: T.

    Source: G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531.
    """
    log_p_NK = (teacher_NK / temperature).log_softmax(dim=1)
    log_q_NK = (student_NK / temperature).log_softmax(dim=1)
    return temperature**2 * (log_p_NK.exp() * (log_p_NK - log_q_NK)).sum(dim=1)


@torch.no_grad()
def taught(teacher: nn.Module, images_NCHW: Tensor) -> Tensor:
    """Return the teacher's logits (N, K), without gradients."""
    return logits_of(teacher(images_NCHW))
