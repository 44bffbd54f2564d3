"""Learns error-maximising noise: images on which a frozen model's loss is as large as possible.

Shapes: M noise images of all classes together, B of them in a batch, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.config import Config
from unlearnkit.network import frozen, logits_of, start_learning
from unlearnkit.runtime.runlog import RunLog, Stage
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.training.loop import even_batches
from unlearnkit.training.losses import Criterion

MOST, MOST_TOGETHER, FEWEST = 256, 512, 16  # noise images of a class, of all classes, of a class at the least


class NoiseSettings(Config):
    """Settings of the noise: how it is learned, and how much of it the impair step uses."""

    batch_size: int | None = Field(
        default=None,
        gt=0,
        description="noise images for each class to forget (notebook: 256); none: 256, and fewer where all together "
        "would be more than 512 or 0.3 of the retained subset, but no fewer than 16",
    )
    steps: int = Field(default=40, gt=0, description="steps of Adam on the noise (notebook: 40)")
    lr: float = Field(default=0.1, gt=0, le=1e3, description="learning rate of those steps (notebook: 0.1)")
    penalty: float = Field(default=0.1, ge=0, description="lambda, weight of the squared norm (notebook: 0.1)")
    repeats: int | None = Field(
        default=None,
        gt=0,
        description="times each noise image stands in an impair epoch (notebook: 20); "
        "none: once, or so often that all noise is about 0.3 of the retained subset",
    )

    def per_class(self, classes: int, room: int = MOST_TOGETHER) -> int:
        """Return the noise images for each of `classes` to forget; by default their total hardly grows with these.

        Args:
            classes: number of classes.
            room: noise images, of all classes, that an impair epoch has use for.
        """
        return self.batch_size or max(FEWEST, min(MOST, min(MOST_TOGETHER, room) // classes))


def learn_noise(
    model: nn.Module,
    class_ids: Sequence[int],
    shape: tuple[int, int, int],
    settings: NoiseSettings,
    *,
    generator: torch.Generator,
    runtime: Runtime,
    log: RunLog,
    criterion: Criterion | None = None,
) -> tuple[Tensor, Tensor]:
    """Learn noise for all `class_ids` together; the model is not changed.

    From N ~ N(0, I), `steps` of Adam on

        sum over c of [ -CE(f(N_c), c) + lambda * mean over images of (sum over pixels of N_c^2) ]

    The weights are frozen and not differentiated, and BatchNorm uses its stored statistics, so every image's noise
    depends on that image's start alone: the images are learned in batches that mix the classes, and a class's
    noise is the same whether it is learned alone or with others, from the same start.

    Args:
        model: logits (M, K); on the run's device.
        class_ids: classes to forget.
        shape: (C, H, W); the noise lives in the normalised input space.
        settings: size, steps, rate and penalty.
        generator: CPU generator of the start.
        runtime: device, precision, images per batch.
        log: where the loss goes, stage `noise`.
        criterion: (logits, labels) -> mean loss, to be maximised instead of the cross-entropy.

    Returns:
        noise (M, C, H, W) in the dtype of the weights and labels (M,) int64, class by class.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite.

    Source: Tarun et al., "Fast Yet Effective Machine Unlearning", TNNLS 2023, section IV (arXiv 2111.08947).
    """
    weights = next(model.parameters())
    per_class = settings.per_class(len(class_ids))
    labels_M = torch.tensor(class_ids).repeat_interleave(per_class)
    start_MCHW = torch.randn((len(labels_M), *shape), generator=generator).to(weights)
    own_positions = torch.arange(len(labels_M))[runtime.processes.share(len(labels_M))]
    batches = even_batches(own_positions, runtime.eval_batch_size) if len(own_positions) else []
    learned = []
    with log.stage("noise", settings.steps * len(batches)) as stage, frozen(model):
        for positions_B in batches:
            labels_B = labels_M[positions_B].to(weights.device)
            start_BCHW = start_MCHW[positions_B.to(weights.device)]
            learned.append(
                _maximise_error(model, start_BCHW, labels_B, settings, per_class, runtime, log, stage, criterion)
            )
    return runtime.processes.gather(torch.cat([*learned, start_MCHW[:0]]), len(labels_M)), labels_M


def notebook_noise(
    model: nn.Module,
    class_ids: Sequence[int],
    shape: tuple[int, int, int],
    settings: NoiseSettings,
    *,
    generator: torch.Generator,
    runtime: Runtime,
    log: RunLog,
    criterion: Criterion | None = None,
) -> tuple[Tensor, Tensor]:
    """Learn noise as the published notebook does, including its bugs; see `learn_noise` for arguments and result.

    Class after class and in train mode, so BatchNorm's running statistics drift towards the noise; only the first C
    (number of channels) images of each batch are kept; and every image is labelled class 0.

    Source: GitHub vikram2000b/Fast-Machine-Unlearning, commit 252bc92.
    """
    weights, per_class = next(model.parameters()), settings.per_class(len(class_ids))
    learned = []
    with log.stage("noise", settings.steps * len(class_ids)) as stage:
        start_learning(model)
        for class_id in class_ids:
            start_BCHW = torch.randn((per_class, *shape), generator=generator).to(weights)
            labels_B = torch.full((per_class,), class_id, device=weights.device)
            noise_BCHW = _maximise_error(
                model, start_BCHW, labels_B, settings, per_class, runtime, log, stage, criterion
            )
            model.zero_grad(set_to_none=True)
            learned.append(noise_BCHW[: shape[0]])
    images_MCHW = torch.cat(learned)
    return images_MCHW, torch.zeros(len(images_MCHW), dtype=torch.int64)


def _maximise_error(
    model: nn.Module,
    start_BCHW: Tensor,
    labels_B: Tensor,
    settings: NoiseSettings,
    per_class: int,
    runtime: Runtime,
    log: RunLog,
    stage: Stage,
    criterion: Criterion | None,
) -> Tensor:
    """Run the steps on one batch; each image gets the gradient that it has in a batch of `per_class` images."""
    noise_BCHW = start_BCHW.clone().requires_grad_(True)
    with log.paused():  # the first optimiser of a process loads torch's compiler
        optimizer = torch.optim.Adam([noise_BCHW], lr=settings.lr)
    for _ in range(settings.steps):
        with runtime.autocast():
            logits_BK = logits_of(model(runtime.inputs(noise_BCHW)))
        error = (criterion or F.cross_entropy)(logits_BK, labels_B) * len(labels_B)
        norm = noise_BCHW.square().sum()
        loss = (settings.penalty * norm - error) / per_class
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        stage.step(loss * (per_class / len(labels_B)))
    return noise_BCHW.detach()
