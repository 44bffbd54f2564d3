"""Finds the layers whose weights may be projected, and sums up what enters each of them.

Shapes: n images, S positions of a layer's output, D inputs of one output (a kernel's, or the features of a layer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unlearnkit.data.view import Batch, Samples
from unlearnkit.errors import ModelError
from unlearnkit.methods.common.head_inputs import head_of
from unlearnkit.methods.erase.refit import input_rows
from unlearnkit.methods.erase.stages import Stage, find_stages
from unlearnkit.methods.method import Context
from unlearnkit.models.head import own_head
from unlearnkit.network import evaluating

Take = Callable[[Stage, Tensor], None]  # a layer and its inputs (n, S, D)
BATCH = 100  # images that run together: their inputs are spread out, S x D for each


def projectable(model: nn.Module, ctx: Context, name: str) -> list[Stage]:
    """Return the layers with free weights of their own that see every image once, the head last.

    Args:
        model: on the run's device.
        ctx: the run.
        name: of the method, for messages.

    Raises:
        ModelError: there is none.
    """
    head_name = head_of(model, ctx)
    with ctx.log.meter.by_hand(model):
        stages = find_stages(model, head=head_name, shape=ctx.shape).stages
    head = own_head(model, head_name)
    if head.weight.requires_grad and (isinstance(head, nn.Linear) or head.groups == 1):
        # how many positions and inputs it has is seen where it runs
        stages = [*stages, Stage(head_name, head, norm=None, depth=1.0, positions=0, inputs=0)]
    if not stages:
        raise ModelError(
            f"Expected a convolution or linear layer that {name} can project (not grouped, not frozen, with weights of "
            "its own, run once on all images), but the model has none; unfreeze one, or choose unsir, which trains "
            "whatever may change."
        )
    return stages


@torch.no_grad()
def pass_inputs(
    model: nn.Module, stages: Sequence[Stage], samples: Samples, take: Take, ctx: Context, *, stage: str
) -> None:
    """Run the model over the samples in eval mode and order, and hand each layer's inputs to `take`, batch by batch.

    Every process passes all samples.

    Args:
        model: on the run's device.
        stages: the layers.
        samples: at least one.
        take: called with a layer and its inputs (n, S, D), float32 at least.
        ctx: the run.
        stage: name under which the cost is logged.
    """
    batches = [Batch(positions) for positions in torch.arange(len(samples)).split(BATCH)]
    with ctx.log.stage(stage, len(batches)) as progress, evaluating(model), _watching(stages, take):
        for images in samples.stream(batches):
            model(ctx.runtime.inputs(images))
            progress.advance()


@contextmanager
def _watching(stages: Sequence[Stage], take: Take) -> Iterator[None]:
    def entered(stage: Stage, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        rows = output.numel() // output.shape[-1 if isinstance(layer, nn.Linear) else 1]
        positions = stage.positions or rows // len(output)
        chosen_nS = torch.arange(positions).expand(rows // positions, -1)
        inputs_RD = input_rows(stage.layer, args[0], chosen_nS)
        take(stage, inputs_RD.reshape(len(chosen_nS), positions, -1))

    handles = [stage.layer.register_forward_hook(partial(entered, stage)) for stage in stages]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
