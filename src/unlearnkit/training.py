"""The only training loop: samples, loss and Recipe -> trained model and loss history.

Shapes: n samples of a batch, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from unlearnkit.config import Config
from unlearnkit.data.samples import Augmented
from unlearnkit.data.view import Samples
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.losses import Loss, cross_entropy, logits_of
from unlearnkit.modes import evaluating
from unlearnkit.runlog import RunLog
from unlearnkit.runtime import Runtime

Augment = Literal["none", "crop_flip"]


class Recipe(Config):
    """How to train: optimiser, schedule, batches, augmentation."""

    epochs: int = Field(default=1, gt=0, description="passes over the samples")
    batch_size: int = Field(default=256, gt=0, description="samples per step, at most")
    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="sgd", description="sgd has Nesterov momentum 0.9")
    lr: float = Field(default=0.1, gt=0, le=1e3, description="peak learning rate")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty (decoupled for adamw)")
    schedule: Literal["constant", "cosine", "one_cycle"] = Field(
        default="constant", description="cosine falls to 0; one_cycle warms up linearly first"
    )
    warmup: float = Field(default=0.2, ge=0, lt=1, description="share of the steps that one_cycle warms up")
    clip_value: float | None = Field(default=None, gt=0, description="gradient elements are clipped to this size")
    augment: Augment = Field(default="none", description="crop_flip: reflected 4-pixel random crop, mirror")


def even_batches(order: Tensor, batch_size: int) -> Sequence[Tensor]:
    """Cut `order` into ceil(n / batch_size) batches whose sizes differ by one at most.

    No sample is dropped, and there is no small last batch, which batch statistics would suffer from.
    """
    return torch.tensor_split(order, max(1, math.ceil(len(order) / batch_size)))


def rate_factor(schedule: str, step: int, steps: int, warmup: float) -> float:
    """Factor on the peak learning rate at `step` of `steps`, in (0, 1]."""
    if schedule == "constant":
        return 1.0
    rising = warmup * steps if schedule == "one_cycle" else 0.0
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising)))


def make_optimizer(parameters: Iterable[Tensor], recipe: Recipe) -> torch.optim.Optimizer:
    """Build the recipe's optimiser over `parameters`."""
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=recipe.lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)


def train(
    model: nn.Module,
    samples: Samples,
    recipe: Recipe,
    *,
    stage: str,
    generator: torch.Generator,
    runtime: Runtime,
    log: RunLog,
    loss: Loss = cross_entropy,
) -> None:
    """Train `model` in place on `samples`, reshuffled every epoch; frozen parameters stay frozen.

    Args:
        model: on the run's device; left in train mode.
        samples: labelled images.
        recipe: how.
        stage: name under which cost and losses are logged.
        generator: CPU generator of the order and the augmentation.
        runtime: device and precision.
        log: where cost and losses go.
        loss: (model, images (n, C, H, W), labels (n,)) -> scalar.

    Raises:
        ModelError: the model has no trainable parameter.
        ConfigError: a batch would hold a single sample, and the model has BatchNorm.
        NonFiniteLossError: a loss became NaN or infinite.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ModelError("Expected a model with trainable parameters, but all are frozen; unfreeze some of them.")
    optimizer = make_optimizer(parameters, recipe)
    labels = samples.labels
    if recipe.augment == "crop_flip":
        samples = Augmented(samples, generator)
    steps_per_epoch = len(even_batches(torch.empty(len(samples)), recipe.batch_size))
    if has_batchnorm(model) and len(samples) < 2 * steps_per_epoch:
        raise ConfigError(
            f"Expected batches of two samples or more for a model with BatchNorm, but {len(samples)} samples in "
            f"batches of {recipe.batch_size} leave a single one; choose another batch size or more samples."
        )
    steps = recipe.epochs * steps_per_epoch
    model.train()
    with log.stage(stage, steps) as progress:
        step = 0
        for _ in range(recipe.epochs):
            order = torch.randperm(len(samples), generator=generator)
            for positions in even_batches(order, recipe.batch_size):
                for group in optimizer.param_groups:
                    group["lr"] = recipe.lr * rate_factor(recipe.schedule, step, steps, recipe.warmup)
                images = samples.images(positions)
                with runtime.autocast():
                    value = loss(model, images, labels[positions].to(runtime.device))
                optimizer.zero_grad(set_to_none=True)
                value.backward()
                if recipe.clip_value is not None:
                    nn.utils.clip_grad_value_(parameters, recipe.clip_value)
                optimizer.step()
                progress.step(value)
                step += 1


@torch.no_grad()
def predict(model: nn.Module, samples: Samples, runtime: Runtime) -> Tensor:
    """Logits (n, K) on the CPU, in eval mode and in the samples' own order; the mode is put back."""
    chunks = []
    with evaluating(model), runtime.autocast():
        for positions in torch.arange(len(samples)).split(runtime.eval_batch_size):
            chunks.append(logits_of(model(samples.images(positions))).cpu())
    return torch.cat(chunks) if chunks else torch.empty(0, 0)


def has_batchnorm(model: nn.Module) -> bool:
    """Whether any layer keeps batch statistics."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def recalibrate_batchnorm(
    model: nn.Module,
    samples: Samples,
    *,
    batch_size: int,
    generator: torch.Generator,
    runtime: Runtime,
    log: RunLog,
) -> None:
    """Estimate BatchNorm's running statistics anew: the mean over one shuffled pass of `samples`, and nothing else.

    Shuffled, because in batches of one class the differences between the classes would be missing from the variance.

    Source: P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (SWA), UAI 2018,
    section 3.2.
    """
    if not has_batchnorm(model):
        return
    batches = even_batches(torch.randperm(len(samples), generator=generator), batch_size)
    with log.stage("recalibrate", len(batches)) as stage, runtime.autocast():

        def images() -> Iterable[Tensor]:
            for positions in batches:
                yield samples.images(positions)
                stage.advance()

        update_bn(images(), model)
