"""Runs the only training loop: trains a model on samples by a loss and a Recipe, and records the losses.

Shapes: n samples of a batch, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from unlearnkit.data.samples import Augmented
from unlearnkit.data.view import Batch, Samples
from unlearnkit.errors import ConfigError
from unlearnkit.network import batchnorm_layers, start_learning
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.training.lookahead import Lookahead
from unlearnkit.training.losses import Loss, supervised
from unlearnkit.training.micro_batches import MicroBatches
from unlearnkit.training.recipe import Recipe, make_optimizer, rate_factor
from unlearnkit.training.resuming import Checkpoints, Training


def even_batches(order: Tensor, batch_size: int) -> Sequence[Tensor]:
    """Split `order` into ceil(n / batch_size) batches whose sizes differ by at most one.

    No sample is dropped, and there is no small last batch, which batch statistics would suffer from.
    """
    return torch.tensor_split(order, max(1, math.ceil(len(order) / batch_size)))


def train(
    model: nn.Module,
    samples: Samples,
    recipe: Recipe,
    *,
    stage: str,
    generator: torch.Generator,
    runtime: Runtime,
    log: RunLog,
    loss: Loss | None = None,
    after_step: Callable[[], None] | None = None,
    stored_statistics: bool = False,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train `model` in place on `samples`, reshuffled every epoch; frozen parameters stay frozen.

    So do the running statistics of a BatchNorm layer whose parameters are all frozen.

    Several processes compute their shares of each batch and add up the gradients, and a batch that memory does not
    hold is computed in micro-batches whose gradients add up: without batch statistics the weights are those of one
    process and whole batches, up to rounding. With BatchNorm each share or micro-batch is normalised by its own
    statistics, and the running statistics are the mean over the processes.

    Args:
        model: on the run's device; left in train mode, or in eval mode with `stored_statistics`.
        samples: labelled images.
        recipe: how.
        stage: name under which cost and losses are logged.
        generator: CPU generator of the order and the augmentation.
        runtime: device, precision, processes.
        log: where cost and losses go.
        loss: (model, images (n, C, H, W), labels (n,)) -> scalar, the mean over the images; default: cross-entropy
            with the recipe's label smoothing.
        after_step: called when a step has changed the weights, for a method that puts some of them back.
        stored_statistics: train in eval mode: BatchNorm uses and keeps its stored statistics, and dropout is off. For
            batches of forget data alone, whose statistics are not those of the data that is to be kept.
        checkpoints: where the state is left at the ends of epochs, and taken from to go on; of one process alone.

    Raises:
        ModelError: the model has no trainable parameter.
        ConfigError: a batch would hold a single sample, and the model has BatchNorm that learns; or there are more
            processes than samples in a batch.
        NonFiniteLossError: a loss became NaN or infinite.
    """
    with log.paused():  # the first optimiser of a process loads torch's compiler
        optimizer = make_optimizer(model, recipe)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    loss = loss or supervised(label_smoothing=recipe.label_smoothing)
    processes, labels = runtime.processes, samples.labels
    mirrored = Augmented(samples, generator, recipe.max_shift) if recipe.augment == "crop_flip" else None
    samples = samples if mirrored is None else mirrored
    if stored_statistics:
        model.eval()
    else:
        start_learning(model)
    steps_per_epoch = len(even_batches(torch.empty(len(samples)), recipe.batch_size))
    _check_batches(model, len(samples) // steps_per_epoch, len(samples), recipe.batch_size, runtime)
    steps = recipe.epochs * steps_per_epoch
    compiled = cast(nn.Module, torch.compile(model)) if runtime.compile else model
    micro_batches = MicroBatches(compiled, loss, runtime, log)
    lookahead = Lookahead(model, steps) if recipe.lookahead else None
    training = Training(
        model=model,
        optimizer=optimizer,
        generator=generator,
        mirrored=mirrored,
        lookahead=lookahead,
        micro_batches=micro_batches,
        log=log,
        device=runtime.device,
    )
    saved = checkpoints.load() if checkpoints else None
    if saved is not None:
        training.put_back(saved, stage)
    epochs = saved.epochs if saved else 0
    step = epochs * steps_per_epoch
    with log.stage(stage, steps - step) as progress, _own_randomness(runtime):
        for epoch in range(epochs, recipe.epochs):
            order = torch.randperm(len(samples), generator=generator)
            batches = [Batch(p, processes.share(len(p))) for p in even_batches(order, recipe.batch_size)]
            for batch, images in zip(batches, samples.stream(batches), strict=True):
                factor = rate_factor(recipe.schedule, step, steps, recipe.warmup)
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * factor
                own_positions = batch.positions[batch.mine]
                value = micro_batches.backward(
                    images, labels[own_positions].to(runtime.device), of=len(batch.positions)
                )
                _add_up(parameters, value, runtime)
                if recipe.clip_value is not None:
                    nn.utils.clip_grad_value_(parameters, recipe.clip_value)
                optimizer.step()
                progress.step(value)
                step += 1
                if lookahead:
                    lookahead.after(step)
                if after_step:
                    after_step()
            if checkpoints:
                with log.paused():
                    checkpoints.save(epoch + 1, partial(training.take, epoch + 1, stage, progress))
    processes.average_buffers(model)


def _add_up(parameters: Sequence[Tensor], value: Tensor, runtime: Runtime) -> None:
    """Sum gradients and loss over the processes; a weight that no process used keeps no gradient."""
    if runtime.processes.count == 1:
        return
    used = torch.tensor([p.grad is not None for p in parameters], dtype=value.dtype, device=value.device)
    runtime.processes.sum([used])
    gradients = []
    for parameter, count in zip(parameters, used.tolist(), strict=True):
        if count:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            gradients.append(parameter.grad)
    runtime.processes.sum([value, *gradients])


@contextmanager
def _own_randomness(runtime: Runtime) -> Iterator[None]:
    """Give every process its own dropout; afterwards the global generators agree again."""
    if runtime.processes.count == 1:
        yield
        return
    seed = int(torch.randint(2**31 - 1, ()))
    devices = [runtime.device] if runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed + runtime.processes.rank)
        yield


def _check_batches(model: nn.Module, smallest: int, samples: int, batch_size: int, runtime: Runtime) -> None:
    count = runtime.processes.count
    if smallest < count:
        raise ConfigError(
            f"Expected at least one sample of every batch for each process, but {samples} samples in batches of "
            f"{batch_size} are fewer than {count} processes; start fewer processes or choose a larger batch size."
        )
    if any(layer.training for layer in batchnorm_layers(model)) and smallest < 2 * count:
        by_process = "" if count == 1 else f" for each of {count} processes"
        batches = (
            "a single sample" if samples == 1 else f"{samples} samples in batches of {batch_size} leave a single one"
        )
        more = "give more samples, or choose a method that keeps BatchNorm's stored statistics (docs/methods.md)"
        raise ConfigError(
            f"Expected batches of two samples or more{by_process} for a model with BatchNorm, but got {batches}; "
            f"{more if samples < 2 * count else 'choose another batch size'}."
        )
