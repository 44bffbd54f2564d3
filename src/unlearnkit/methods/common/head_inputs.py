"""Finds the classifier head of a run's model, and reads what enters it: once for many samples, or inside of a loss.

Shapes: n samples, C channels, H x W pixels, K classes, D features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unlearnkit.data.view import Batch, Samples
from unlearnkit.methods.method import Context
from unlearnkit.models.head import find_head, head_features
from unlearnkit.network import evaluating, logits_of
from unlearnkit.training.losses import Loss

FeatureLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # images, features (n, D), logits, labels -> scalar


def head_of(model: nn.Module, ctx: Context) -> str:
    """Return the name of the head; the two random images that find it are no samples, and are not counted.

    Raises:
        ModelError: the model has no single head.
    """
    with ctx.log.meter.by_hand(model):
        return find_head(model, num_classes=len(ctx.request.classes), shape=ctx.shape)


@torch.no_grad()
def features_of(model: nn.Module, samples: Samples, head: str, ctx: Context, *, stage: str) -> Tensor:
    """Return the head's input (n, D) on the CPU, in the samples' order and in eval mode; processes share the samples.

    Args:
        model: on the run's device.
        samples: at least one.
        head: its name.
        ctx: the run.
        stage: name under which the cost is logged.
    """
    runtime, n = ctx.runtime, len(samples)
    shared = n >= runtime.processes.count
    positions = torch.arange(n)[runtime.processes.share(n) if shared else slice(None)]
    batches = [Batch(p) for p in positions.split(runtime.eval_batch_size)]
    with (
        ctx.log.stage(stage, len(batches)) as progress,
        evaluating(model),
        runtime.autocast(),
        head_features(model, head) as passes,
    ):
        for images in samples.stream(batches):
            model(runtime.inputs(images))
            progress.advance()
    found = torch.cat(passes)
    found = found if found.dtype == torch.float64 else found.float()
    return (runtime.processes.gather(found, n) if shared else found).cpu()


def on_features(head: str, loss: FeatureLoss) -> Loss:
    """Return a loss of the training loop that sees the head's input beside the logits.

    Args:
        head: name of the head in the model that is trained.
        loss: (images, features, logits, labels) -> scalar, the mean over the images.
    """

    def with_features(model: nn.Module, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:
        with head_features(model, head) as passes:
            logits_NK = logits_of(model(images_NCHW))
        return loss(images_NCHW, passes[-1].to(logits_NK.dtype), logits_NK, labels_N)

    return with_features


def class_means(features_nD: Tensor, labels_n: Tensor, classes: int) -> Tensor:
    """Return the mean feature of each class (K, D); a class without samples gets the mean of all."""
    means_KD = features_nD.mean(dim=0, keepdim=True).repeat(classes, 1)
    for k in labels_n.unique().tolist():
        means_KD[k] = features_nD[labels_n == k].mean(dim=0)
    return means_KD
