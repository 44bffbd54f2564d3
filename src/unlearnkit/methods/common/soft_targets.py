"""Trains towards a table of target distributions, one row for each sample; the labels are positions in the table.

A target that is drawn at random or computed from the original is then the same in every process and micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unlearnkit.data.samples import Augmented, Relabelled
from unlearnkit.data.view import Samples
from unlearnkit.methods.method import Context
from unlearnkit.network import logits_of
from unlearnkit.training.losses import Loss, distillation, probabilities_without
from unlearnkit.training.predict import predict


def numbered(samples: Samples) -> Relabelled:
    """Return the samples with their positions, 0 to n - 1, in place of labels."""
    return Relabelled(samples, torch.arange(len(samples)))


def towards(targets_nK: Tensor) -> Loss:
    """Return the loss: mean cross-entropy of the model's outputs to the rows of the table.

        - mean over images of sum over k of p_k log q_k,   p the row of the image, q = softmax of the logits

    Args:
        targets_nK: distributions over the classes, on any device; the labels of the images are rows of it.
    """

    def loss(model: nn.Module, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:
        logits_NK = logits_of(model(images_NCHW))
        targets_NK = targets_nK[labels_N.to(targets_nK.device)].to(logits_NK)
        return -(targets_NK * logits_NK.log_softmax(dim=1)).sum(dim=1).mean()

    return loss


def outputs_of(model: nn.Module, samples: Samples, ctx: Context, *, stage: str) -> Tensor:
    """Return the logits (n, K) of all samples on the CPU, in eval mode, as a stage of the run."""
    with ctx.log.stage(stage, 1) as progress:
        logits_nK = predict(model, samples, ctx.runtime)
        progress.advance()
    return logits_nK


def distilled(original: nn.Module, samples: Samples, gone: Sequence[int], ctx: Context) -> tuple[Samples, Loss]:
    """Return samples and a loss that teach the original's answers without the classes `gone`; see `distillation`.

    Where an image is the same at every read the original is asked once, now, for all epochs and attempts to come
    (stage `answers`); where it is not, which is so for augmented ones, at every step.

    Args:
        original: the teacher, in eval mode.
        samples: the images to learn from.
        gone: class ids to remove from the answers.
        ctx: the run's.
    """
    if isinstance(samples, Augmented) or not ctx.view.repeatable:
        return samples, distillation(original, gone)
    logits_nK = outputs_of(original, samples, ctx, stage="answers").to(ctx.runtime.device)
    return numbered(samples), towards(probabilities_without(logits_nK, gone))
