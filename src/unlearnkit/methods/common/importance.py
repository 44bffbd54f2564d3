"""Estimates how important each weight is: the per-sample Fisher diagonal, and the gradient behind saliency.

Shapes: n samples, M of them in a chunk, C channels, H x W pixels, K classes. A `Weights` holds one tensor for each
trainable parameter, by its name and in its shape; frozen parameters have no entry, tied ones have one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from unlearnkit.config import Config
from unlearnkit.data.view import Batch, Samples
from unlearnkit.errors import ModelError
from unlearnkit.methods.method import Context
from unlearnkit.network import evaluating, logits_of
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.training.losses import Criterion, supervised
from unlearnkit.training.micro_batches import MicroBatches, out_of_memory

Weights = dict[str, Tensor]
SquaresFn = Callable[[Tensor, Tensor, Tensor], Weights]
Measure = Callable[[Tensor], Tensor]

GRADIENT_BYTES = 2**30  # what the gradients of one chunk may take, where no chunk size is given
# from so many trainable weights on, a CPU is faster sample by sample: vmap takes 0.8 of the loop's time with 125,000,
# 2.1 times as long with 2 million and 3.3 times with 11 million (docs/log.md, 2026-11-22)
LOOP_WEIGHTS = 1_000_000


class ImportanceSettings(Config):
    """Settings for gradients that are taken sample by sample."""

    samples: int | None = Field(default=None, gt=0, description="samples drawn from each part that is read; none: all")
    per_sample: Literal["auto", "vmap", "loop"] = Field(
        default="auto",
        description="vmap: gradients of many samples at once; loop: the same numbers one sample after another, "
        "for models that torch.func refuses; auto: loop for a million weights or more on a CPU, else vmap",
    )
    chunk: int | None = Field(
        default=None, gt=0, description="samples whose gradients are held at once; none: as many as fit in 1 GiB"
    )


class FisherSettings(ImportanceSettings):
    """Settings for the estimate of the Fisher diagonal."""

    labels: Literal["true", "model"] = Field(
        default="true", description="true: the data's labels (empirical); model: all classes, weighted by its outputs"
    )


def trainable(model: nn.Module) -> Weights:
    """Return the trainable parameters by name, detached; they share memory with the model."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def fisher_diagonal(
    model: nn.Module,
    samples: Samples,
    settings: FisherSettings,
    *,
    stage: str,
    generator: torch.Generator,
    runtime: Runtime,
    log: RunLog,
    criterion: Criterion | None = None,
    measure: Measure = torch.square,
) -> Weights:
    """Estimate the diagonal of the Fisher information, sample by sample, in eval mode.

        labels=true:   F_i = 1/n sum over samples of (d l(x, y) / d w_i)^2
        labels=model:  F_i = 1/n sum over samples of sum over k of p_k(x) (d l(x, k) / d w_i)^2

    with l the loss of one sample and p the model's softmax. The square is taken before the mean: the square of a
    batch's mean gradient is another quantity, about n times smaller near a minimum. All is computed in the precision
    of the weights, also in a run in bf16, whose gradients are too coarse to be squared. Where memory does not hold a
    chunk it is halved; processes share the samples.

    Args:
        model: on the run's device; it is left as it was.
        samples: at least one.
        settings: whose labels, how many samples, how.
        stage: name under which the cost is logged.
        generator: CPU generator of the draw, where not all samples are used.
        runtime: device, precision, processes.
        log: where the cost goes.
        criterion: (logits, labels) -> mean loss in place of cross-entropy.
        measure: what of each sample's gradient is averaged in place of its square; linear in no case, or gradients of
            opposite sign would cancel.

    Raises:
        ModelError: torch.func refuses the model, where `per_sample` is vmap or auto chooses it.
    """
    weights = trainable(model)
    total = {name: torch.zeros_like(w) for name, w in weights.items()}
    chosen = torch.arange(len(samples))
    if settings.samples is not None and settings.samples < len(samples):
        chosen = torch.randperm(len(samples), generator=generator)[: settings.samples]
    own_positions = chosen[runtime.processes.share(len(chosen))]
    one_gradient = sum(w.numel() * w.element_size() for w in weights.values())
    size = settings.chunk or min(runtime.eval_batch_size, max(1, GRADIENT_BYTES // one_gradient))
    chunks = own_positions.split(size) if len(own_positions) else ()
    build = _vectorised if _at_once(settings, weights) else _one_by_one
    squares = build(model, weights, criterion or F.cross_entropy, measure)
    with log.stage(stage, len(chunks)) as progress, evaluating(model), log.meter.by_hand(model):
        for positions_M, images_MCHW in zip(chunks, samples.stream([Batch(p) for p in chunks]), strict=True):
            inputs_MCHW = runtime.inputs(images_MCHW)
            for labels_M, shares_M in _labels(model, inputs_MCHW, samples.labels[positions_M], settings, log):
                for name, value in _halving(squares, inputs_MCHW, labels_M, shares_M).items():
                    total[name] += value
                log.meter.forward += len(inputs_MCHW)
                log.meter.backward += len(inputs_MCHW)
            progress.advance()
    runtime.processes.sum(list(total.values()))
    return {name: value / len(chosen) for name, value in total.items()}


def of_both(
    model: nn.Module,
    forget: Samples,
    retain: Samples,
    settings: FisherSettings,
    ctx: Context,
    *,
    stage: str,
    criterion: Criterion | None,
    measure: Measure = torch.square,
) -> tuple[Weights, Weights]:
    """Return `fisher_diagonal` of the forget and of the retained data, as the stages STAGE_forget and STAGE_retain."""
    of_forget, of_retain = (
        fisher_diagonal(
            model,
            samples,
            settings,
            stage=f"{stage}_{name}",
            generator=ctx.generator,
            runtime=ctx.runtime,
            log=ctx.log,
            criterion=criterion,
            measure=measure,
        )
        for name, samples in (("forget", forget), ("retain", retain))
    )
    return of_forget, of_retain


def mean_gradient(
    model: nn.Module,
    samples: Samples,
    *,
    stage: str,
    runtime: Runtime,
    log: RunLog,
    criterion: Criterion | None = None,
) -> Weights:
    """Return the gradient of the mean loss over all samples, in eval mode; the model is left without gradients.

    Processes share the samples.
    """
    total = {name: torch.zeros_like(w) for name, w in trainable(model).items()}
    micro_batches = MicroBatches(model, supervised(criterion), runtime, log)
    own_positions = torch.arange(len(samples))[runtime.processes.share(len(samples))]
    batches = own_positions.split(runtime.eval_batch_size) if len(own_positions) else ()
    with log.stage(stage, len(batches)) as progress, evaluating(model):
        for positions, images in zip(batches, samples.stream([Batch(p) for p in batches]), strict=True):
            labels = samples.labels[positions].to(images.device)
            value = micro_batches.backward(images, labels, of=len(samples))
            for name, parameter in model.named_parameters():
                if parameter.grad is not None:
                    total[name] += parameter.grad
            progress.step(value * len(samples) / len(positions))
    model.zero_grad(set_to_none=True)
    runtime.processes.sum(list(total.values()))
    return total


def _at_once(settings: FisherSettings, weights: Weights) -> bool:
    if settings.per_sample != "auto":
        return settings.per_sample == "vmap"
    on_cpu = all(w.device.type == "cpu" for w in weights.values())
    return not (on_cpu and sum(w.numel() for w in weights.values()) >= LOOP_WEIGHTS)


@torch.no_grad()
def _labels(
    model: nn.Module, images_MCHW: Tensor, labels_M: Tensor, settings: FisherSettings, log: RunLog
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield labels (M,) and their weights (M,): the true ones once, or every class with its probability."""
    device = images_MCHW.device
    if settings.labels == "true":
        yield labels_M.to(device), torch.ones(len(images_MCHW), dtype=images_MCHW.dtype, device=device)
        return
    logits_MK = logits_of(model(images_MCHW))
    log.meter.forward += len(images_MCHW)
    for k, shares_M in enumerate(logits_MK.softmax(dim=1).unbind(dim=1)):
        yield torch.full_like(labels_M, k).to(device), shares_M


def _vectorised(model: nn.Module, weights: Weights, criterion: Criterion, measure: Measure) -> SquaresFn:
    """Return the sums of squared per-sample gradients, computed by torch.func."""

    def loss(weights: Weights, image: Tensor, label: Tensor) -> Tensor:
        logits = logits_of(functional_call(model, weights, (image.unsqueeze(0),)))
        return criterion(logits, label.unsqueeze(0))

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))

    def squares(images_MCHW: Tensor, labels_M: Tensor, shares_M: Tensor) -> Weights:
        try:
            with sdpa_kernel(SDPBackend.MATH):  # the fused kernels of attention have no rule for vmap
                found = gradients(weights, images_MCHW, labels_M)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise ModelError(
                "Expected a model for which torch.func computes per-sample gradients, but it fails "
                f"({str(error).strip().splitlines()[0]}); set fisher.per_sample=loop, slower with the same numbers."
            ) from error
        # not squared in place: the gradients of two parameters that are added may share their memory
        return {name: torch.tensordot(shares_M.to(g), measure(g), dims=1) for name, g in found.items()}

    return squares


def _one_by_one(model: nn.Module, weights: Weights, criterion: Criterion, measure: Measure) -> SquaresFn:
    """Return the same sums, computed by one ordinary backward pass for each sample."""
    parameters = {name: p for name, p in model.named_parameters() if name in weights}

    def squares(images_MCHW: Tensor, labels_M: Tensor, shares_M: Tensor) -> Weights:
        total = {name: torch.zeros_like(w) for name, w in weights.items()}
        for image_1CHW, label_1, share in zip(images_MCHW.split(1), labels_M.split(1), shares_M, strict=True):
            value = criterion(logits_of(model(image_1CHW)), label_1)
            found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, found, strict=True):
                if gradient is not None:
                    total[name] += share * measure(gradient)
        return total

    return squares


def _halving(squares: SquaresFn, images: Tensor, labels: Tensor, shares: Tensor) -> Weights:
    """Return the sums; where memory runs out, compute them on each half of the samples and add them."""
    try:
        return squares(images, labels, shares)
    except RuntimeError as error:
        if len(images) == 1 or not out_of_memory(error):
            raise
    half = len(images) // 2  # outside of the handler, whose traceback would keep the tensors of the failure alive
    first = _halving(squares, images[:half], labels[:half], shares[:half])
    second = _halving(squares, images[half:], labels[half:], shares[half:])
    return {name: first[name] + second[name] for name in first}
