"""Runs a method on a copy of the model, refuses undeclared reads, and measures the cost.

A method's author writes `run` and nothing else. The harness owns the copy of the model, the device, randomness,
timing and access counting; the caller's model is never changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unlearnkit.data.access import AccessLog
from unlearnkit.data.images import ImageData
from unlearnkit.data.view import DataView
from unlearnkit.errors import ConfigError, NonFiniteLossError
from unlearnkit.methods.masked_original import MaskedOriginal
from unlearnkit.methods.method import Context, Method
from unlearnkit.methods.parts import check_parts, retained_without_samples
from unlearnkit.methods.safeguard import TOLERANCE, check_tolerance, safeguard
from unlearnkit.models import check_model
from unlearnkit.models.metadata import Account
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import RunLog, Track
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Split, split_for
from unlearnkit.training.losses import Criterion


@dataclass(frozen=True, kw_only=True)
class Unlearned:
    """The unlearned model, with its cost, its reads and its notes.

    Args:
        model: the unlearned model, on the CPU, in eval mode, with the original's `requires_grad` flags.
        split: the parts that were used.
        access: who read what; the audit goes on counting in it.
        cost: `cost.json`.
        history: losses per stage.
        notes: what the method has to say about its run, for the report.
        images: a few images that the method made, by name and class id: (n, C, H, W) float32, as the model takes them.
        files: further files of the run folder that the method made, by name.
    """

    model: nn.Module
    split: Split
    access: AccessLog
    cost: dict[str, Any]
    history: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    images: dict[str, dict[int, Tensor]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def unlearn(
    model: nn.Module,
    method: Method,
    data: ImageData,
    request: ForgetRequest,
    *,
    seed: int,
    runtime: Runtime | None = None,
    factory: Callable[[], nn.Module] | None = None,
    progress: Progress | None = None,
    criterion: Criterion | None = None,
    track: Track | None = None,
    access: AccessLog | None = None,
    tolerance: float | None = TOLERANCE,
    account: Account | None = None,
) -> Unlearned:
    """Make a copy of `model` forget, and return it with its cost and its access counts.

    The same seed on the same device gives the same weights. The global random state is as before afterwards.

    Args:
        model: the trained classifier, output (n, K) logits or an object with `.logits`; it is not changed.
        method: for example `UNSIR()`.
        data: images and labels under the model's class list.
        request: the classes to forget, and those forgotten earlier.
        seed: seed of every random draw, from 0 to 2**31 - 1.
        runtime: device, precision, processes; default: the best device, and the precision that suits it.
        factory: builds a fresh model of the same architecture, for methods that need one.
        progress: where progress is shown; default: nowhere.
        criterion: the loss that the model was trained with, (logits (n, K), labels (n,)) -> mean over the samples;
            default: cross-entropy.
        track: called with {"stage/loss": value} and the step, for an experiment tracker.
        access: where reads are counted, also those of a run that fails; default: a log of its own.
        tolerance: retained validation accuracy that may be lost, as a fraction: what was lost is in the notes as
            `safeguard`, and is no part of the cost (see `unlearnkit.methods.safeguard`); None: nobody looks.
        account: what an earlier request has left with these weights, for methods that delete on a budget.

    Raises:
        RequestError, ConfigError, ModelError: the input cannot be used; also where operations are to be counted that
            torch does not compute.
        DataError: nor can the data; also where a part that the method needs has no samples.
        AccessError: the method read a part outside its `needs`.
        NonFiniteLossError: a loss or a weight became NaN or infinite.
    """
    check_tolerance(tolerance)
    split = split_for(request, data)
    check_parts(method, split)
    data.fix_shape_for(split)
    check_model(model, classes=len(data.classes), shape=data.shape)
    runtime = (runtime or Runtime()).fitted(model, data.shape)
    _check_countable(method, runtime)
    access = access or AccessLog(data)
    view = DataView(data, split, method.needs, reader="method", log=access, device=runtime.device)
    original = MaskedOriginal(model, data, split, runtime=runtime, access=access)
    log = RunLog(runtime, progress or Silent(), decode_seconds=lambda: data.decode_seconds, track=track)
    meter = log.meter

    def metered_factory() -> nn.Module:
        assert factory is not None
        return meter.attach(runtime.weights(factory()))

    with isolated_randomness(seed) as generator, view.seeded_reads(seed):
        working = meter.attach(runtime.weights(copy.deepcopy(model)))
        ctx = Context(
            view=view,
            request=split.request,
            shape=data.shape,
            factory=metered_factory if factory is not None else None,
            generator=generator,
            runtime=runtime,
            log=log,
            criterion=criterion,
            account=account,
        )
        with log.counting():
            began = log.mark()
            result = method.run(working, ctx)
            total = log.since(began)
    for module in result.modules():
        meter.detach(module)
    for name, value in result.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise NonFiniteLossError(
                f"The weights of {name!r} became NaN or infinite; the run was stopped. Lower the learning rates."
            )
    trainable = {name: p.requires_grad for name, p in model.named_parameters()}
    for name, parameter in result.named_parameters():
        if name in trainable:
            parameter.requires_grad_(trainable[name])
        parameter.grad = None
    total = log.join(total)
    if tolerance is not None:
        with isolated_randomness(seed), view.seeded_reads(seed):
            kept = safeguard(original, result, tolerance=tolerance, runtime=runtime)
        if kept is not None:
            log.notes["safeguard"] = kept
    access.join(runtime.processes)
    log.notes["runtime"] = runtime.described()
    if absent := retained_without_samples(method, split, data.labels("train")):
        log.notes["no_samples_of"] = absent
    return Unlearned(
        model=result.to("cpu", next(model.parameters()).dtype).to(memory_format=torch.contiguous_format).eval(),
        split=split,
        access=access,
        cost=log.cost(total),
        history=log.history,
        notes=log.notes,
        images=log.images,
        files=log.files,
    )


def _check_countable(method: Method, runtime: Runtime) -> None:
    if runtime.count_operations and not getattr(method, "in_torch", True):
        raise ConfigError(
            f"Expected a method that torch computes for --count-operations, but a part of {type(method).__name__} is "
            "computed by numpy, whose operations nobody sees; leave the option out."
        )
