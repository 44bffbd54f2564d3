"""The only training loop: samples, loss and Recipe -> trained model and loss history.

Shapes: n samples of a batch, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal, cast

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn

from unlearnkit.config import Config
from unlearnkit.data.samples import Augmented
from unlearnkit.data.view import Batch, Samples
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.lookahead import Lookahead
from unlearnkit.losses import Loss, logits_of, supervised
from unlearnkit.modes import batchnorm_layers, evaluating, modes_kept, start_learning
from unlearnkit.pieces import Pieces
from unlearnkit.runlog import RunLog
from unlearnkit.runtime import Runtime

# where settings are given as text, `none` is None for all of them; here it is a word of its own
Augment = Annotated[Literal["none", "crop_flip"], BeforeValidator(lambda given: "none" if given is None else given)]


class Recipe(Config):
    """How to train: optimiser, schedule, batches, augmentation."""

    epochs: int = Field(default=1, gt=0, description="passes over the samples")
    batch_size: int = Field(default=256, gt=0, description="samples per step, at most")
    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="sgd", description="how steps are made of gradients")
    momentum: float = Field(default=0.9, gt=0, lt=1, description="of sgd")
    nesterov: bool = Field(default=True, description="sgd's momentum is Nesterov's; false: plain, as most papers have")
    lr: float = Field(default=0.1, gt=0, le=1e3, description="peak learning rate")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty (decoupled for adamw)")
    schedule: Literal["constant", "cosine", "one_cycle"] = Field(
        default="constant", description="cosine falls to 0; one_cycle warms up linearly first"
    )
    warmup: float = Field(default=0.2, ge=0, lt=1, description="share of the steps that one_cycle warms up")
    clip_value: float | None = Field(default=None, gt=0, description="gradient elements are clipped to this size")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="share of the label spread over all classes")
    norm_bias_lr: float = Field(
        default=1.0, gt=0, description="factor on the rate of the biases of normalisation layers"
    )
    lookahead: bool = Field(default=False, description="pull the weights to their slow average every few steps")
    augment: Augment = Field(
        default="none", description="crop_flip: random crop of the reflected image, mirrored at every second read"
    )
    max_shift: int | None = Field(
        default=None, gt=0, description="pixels that crop_flip shifts by at most; none: an eighth of the height"
    )


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


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the recipe's optimiser over the trainable parameters of `model`.

    Each group of parameters carries its peak rate as `peak`.

    Raises:
        ModelError: the model has no trainable parameter.
    """
    biases = {
        id(m.bias)
        for m in model.modules()
        if isinstance(m, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm) and m.bias is not None
    }
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ModelError("Expected a model with trainable parameters, but all are frozen; unfreeze some of them.")
    groups = []
    for factor, chosen in (
        (1.0, [p for p in parameters if id(p) not in biases]),
        (recipe.norm_bias_lr, [p for p in parameters if id(p) in biases]),
    ):
        if chosen:
            # the decay of a group with a higher rate is lowered, so that rate times decay stays what it is
            decay = recipe.weight_decay / factor
            groups.append(
                {"params": chosen, "lr": recipe.lr * factor, "peak": recipe.lr * factor, "weight_decay": decay}
            )
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=recipe.nesterov)
    return (torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW)(groups)


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
) -> None:
    """Train `model` in place on `samples`, reshuffled every epoch; frozen parameters stay frozen.

    So do the running statistics of a BatchNorm layer whose parameters are all frozen.

    Several processes compute their shares of each batch and add up the gradients, and a batch that memory does not
    hold is computed in pieces whose gradients add up: without batch statistics the weights are those of one process
    and whole batches, up to rounding. With BatchNorm each share or piece is normalised by its own statistics, and
    the running statistics are the mean over the processes.

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

    Raises:
        ModelError: the model has no trainable parameter.
        ConfigError: a batch would hold a single sample, and the model has BatchNorm that learns; or there are more
            processes than samples in a batch.
        NonFiniteLossError: a loss became NaN or infinite.
    """
    optimizer = make_optimizer(model, recipe)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    loss = loss or supervised(label_smoothing=recipe.label_smoothing)
    processes, labels = runtime.processes, samples.labels
    if recipe.augment == "crop_flip":
        samples = Augmented(samples, generator, recipe.max_shift)
    if stored_statistics:
        model.eval()
    else:
        start_learning(model)
    steps_per_epoch = len(even_batches(torch.empty(len(samples)), recipe.batch_size))
    _check_batches(model, len(samples) // steps_per_epoch, len(samples), recipe.batch_size, runtime)
    steps = recipe.epochs * steps_per_epoch
    compiled = cast(nn.Module, torch.compile(model)) if runtime.compile else model
    pieces = Pieces(compiled, loss, runtime, log)
    lookahead = Lookahead(model, steps) if recipe.lookahead else None
    with log.stage(stage, steps) as progress, _own_randomness(runtime):
        step = 0
        for _ in range(recipe.epochs):
            order = torch.randperm(len(samples), generator=generator)
            batches = [Batch(p, processes.share(len(p))) for p in even_batches(order, recipe.batch_size)]
            for batch, images in zip(batches, samples.stream(batches), strict=True):
                factor = rate_factor(recipe.schedule, step, steps, recipe.warmup)
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * factor
                mine = batch.positions[batch.mine]
                value = pieces.backward(images, labels[mine].to(runtime.device), of=len(batch.positions))
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
    processes.average_buffers(model)


def _add_up(parameters: Sequence[Tensor], value: Tensor, runtime: Runtime) -> None:
    """Sum gradients and loss over the processes; a weight that no process has used keeps no gradient."""
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
    """Dropout of its own in every process; afterwards the global generators agree again, for module constructors."""
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
        each = "" if count == 1 else f" for each of {count} processes"
        given = (
            "a single sample" if samples == 1 else f"{samples} samples in batches of {batch_size} leave a single one"
        )
        more = "give more samples, or choose a method that keeps BatchNorm's stored statistics (docs/methods.md)"
        raise ConfigError(
            f"Expected batches of two samples or more{each} for a model with BatchNorm, but got {given}; "
            f"{more if samples < 2 * count else 'choose another batch size'}."
        )


@torch.no_grad()
def predict(model: nn.Module, samples: Samples, runtime: Runtime) -> Tensor:
    """Logits (n, K) on the CPU, in eval mode and in the samples' own order; the mode is put back."""
    if len(samples) == 0:
        return torch.empty(0, 0)
    processes = runtime.processes
    shared = len(samples) >= processes.count
    mine = torch.arange(len(samples))[processes.share(len(samples)) if shared else slice(None)]
    batches = [Batch(positions) for positions in mine.split(runtime.eval_batch_size)]
    chunks = []
    with evaluating(model):
        for images in samples.stream(batches):
            with runtime.autocast():
                chunks.append(logits_of(model(runtime.inputs(images))))
    logits = torch.cat(chunks)
    return (processes.gather(logits, len(samples)) if shared else logits).cpu()


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
    Every process makes the whole pass, so the statistics are the same with one process and with several. Layers whose
    parameters are all frozen keep theirs.

    Source: P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization" (SWA), UAI 2018,
    section 3.2.
    """
    with modes_kept(model), torch.no_grad():
        start_learning(model)
        momenta = {layer: layer.momentum for layer in batchnorm_layers(model) if layer.training}
        if not momenta:
            return
        batches = [Batch(p) for p in even_batches(torch.randperm(len(samples), generator=generator), batch_size)]
        for layer in momenta:
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all batches
        with log.stage("recalibrate", len(batches)) as stage, runtime.autocast():
            for chunk in samples.stream(batches):
                model(runtime.inputs(chunk))
                stage.advance()
        for layer, momentum in momenta.items():
            layer.momentum = momentum
