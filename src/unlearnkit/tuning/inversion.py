"""Makes images of a class by model inversion, from images of other classes; reads no image of the class.

Shapes: n images, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit.data.samples import crop_and_flip
from unlearnkit.network import frozen, logits_of
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime

STEPS, RATE = 40, 0.1  # of Adam on the pixels
JITTER = 0.3  # standard deviation of the noise that every step adds, in normalised units
NORM = 0.01  # weight of the squared norm


def invert(
    model: nn.Module, starts: Tensor, targets: Tensor, *, generator: torch.Generator, runtime: Runtime, log: RunLog
) -> Tensor:
    """Return images (n, C, H, W), optimised until `model` predicts `targets` for them; the model is not changed.

    From x = start, `STEPS` of Adam on

        sum over images of CE(f(shift(x) + jitter), target) + NORM (sum over pixels of x^2)

    with another shift (an eighth of the height at most) and other noise at every step, so that what is found are the
    class's marks rather than a pattern that this very model alone is deceived by.

    Args:
        model: logits (n, K); on the run's device.
        starts: normalised images, on the run's device.
        targets: (n,) int64, the class to be.
        generator: CPU generator of shifts and noise.
        runtime: device, precision, images per batch.
        log: where cost and losses go, stage `remake` (its name in cost.json).

    Source: model inversion, M. Fredrikson, S. Jha, T. Ristenpart, CCS 2015; the random shifts: A. Mordvintsev et al.,
    "Inceptionism", 2015. The start from real images of other classes and the constants are ours.
    """
    inverted = []
    cuts = torch.arange(len(starts)).split(runtime.eval_batch_size)
    with log.stage("remake", STEPS * len(cuts)) as stage, frozen(model):
        for positions in cuts:
            images = starts[positions.to(starts.device)].clone().requires_grad_(True)
            labels = targets[positions].to(starts.device)
            still = torch.zeros(len(images), dtype=torch.bool)
            optimizer = torch.optim.Adam([images], lr=RATE)
            for _ in range(STEPS):
                jitter = torch.randn(images.shape, generator=generator).to(images)
                shown = crop_and_flip(images, generator, flip=still) + JITTER * jitter
                with runtime.autocast():
                    logits = logits_of(model(runtime.inputs(shown)))
                loss = F.cross_entropy(logits, labels, reduction="sum") + NORM * images.square().sum()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                stage.step(loss / len(images))
            inverted.append(images.detach())
    return torch.cat(inverted)
