"""Runs the original over retained images and keeps what erasure needs of every stage, streamed.

Shapes: n images, q positions drawn of each, C channels of a stage, K classes, R = n q rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unlearnkit.data.view import Batch, Samples
from unlearnkit.methods.erase.refit import output_rows
from unlearnkit.methods.erase.stages import Layer, Stage
from unlearnkit.methods.method import Context

BATCH = 250  # images that run together


@dataclass(frozen=True)
class Observed:
    """What the original does on the retained images.

    Args:
        labels: (n,).
        entering: (n, D), what enters the head, the mean over positions where it has some; on the CPU, as the features.
        rows: (K, D), the head's weights.
        scores: (n, K), what the head gives: the logits, unless something follows it.
        features: (n, C), what the first stage gives: see `features_of`; on the CPU.
        chosen: by stage (n, q), positions of its output.
        outputs: by stage (R, C), its output there.
        batch: images that ran together, fewer in the last batch.
    """

    labels: Tensor
    entering: Tensor
    rows: Tensor
    scores: Tensor
    features: Tensor
    chosen: dict[str, Tensor]
    outputs: dict[str, Tensor]
    batch: int = BATCH

    @property
    def sizes(self) -> list[int]:
        """Images of each batch."""
        return [len(part) for part in self.labels.split(self.batch)]


@torch.no_grad()
def observe(
    model: nn.Module, head: Layer, stages: Sequence[Stage], samples: Samples, rows_per_column: float, ctx: Context
) -> Observed:
    """Run the original once on the images.

    Args:
        model: in eval mode.
        head: its last layer.
        stages: those that are to be edited.
        samples: retained images.
        rows_per_column: positions drawn for the least squares, as a multiple of a stage's columns; 0: none.
        ctx: the run.
    """
    batches = [Batch(positions) for positions in batches_of(samples)]
    fitted = stages[1:] if rows_per_column else []  # the first keeps its fit
    chosen = {s.name: _draw(s, len(samples), rows_per_column, ctx) for s in fitted}
    watch = _Watch(chosen)
    with ctx.log.stage("observe", len(batches)) as progress, ctx.runtime.autocast(), watch.on(stages, head):
        for images in samples.stream(batches):
            watch.images = len(images)
            model(ctx.runtime.inputs(images))
            watch.before += len(images)
            progress.advance()
    return Observed(
        labels=samples.labels,
        entering=torch.cat(watch.entering).cpu(),
        rows=head.weight.detach().flatten(1).float().cpu(),
        scores=torch.cat(watch.scores),
        features=torch.cat(watch.features).cpu(),
        chosen=chosen,
        outputs={name: torch.cat(parts) for name, parts in watch.outputs.items()},
    )


def batches_of(samples: Samples) -> list[Tensor]:
    """Return the positions of the samples, cut into batches."""
    return list(torch.arange(len(samples)).split(BATCH))


def over_positions(layer: Layer, values: Tensor, images: int) -> Tensor:
    """Return the mean over positions (n, C) of what a layer takes or gives."""
    if isinstance(layer, nn.Linear):
        return values.float().reshape(images, -1, values.shape[-1]).mean(dim=1)
    return values.float().flatten(2).mean(dim=2)


def features_of(stage: Stage, output: Tensor, images: int) -> Tensor:
    """Return what directions are found in, (n, C): of maps the `peaks`, of tokens their mean."""
    if isinstance(stage.layer, nn.Conv2d):
        return peaks(output, stage.norm)
    return over_positions(stage.layer, output, images)


def channels_last(layer: Layer, output: Tensor) -> Tensor:
    """Return what a layer gives with its channels as last dimension: a view."""
    return output if isinstance(layer, nn.Linear) else output.movedim(1, -1)


def channels_first(layer: Layer, values: Tensor) -> Tensor:
    """Return the inverse of `channels_last`."""
    return values if isinstance(layer, nn.Linear) else values.movedim(-1, 1)


def peaks(values: Tensor, norm: nn.Module | None) -> Tensor:
    """Return the largest value over positions of each channel, (n, C); the smallest where the norm turns its sign.

    A class shows at a few places of a map and much less in the map's mean: there, its distance from the retained images
    is a third smaller (docs/log.md, 2026-11-27).
    """
    if values.dim() == 2:
        return values.float()
    flat = values.float().flatten(2)
    scale = getattr(norm, "weight", None)
    if scale is None:
        return flat.amax(dim=2)
    signs = torch.where(scale < 0, -1.0, 1.0)
    return (flat * signs[:, None]).amax(dim=2) * signs


def _draw(stage: Stage, images: int, rows_per_column: float, ctx: Context) -> Tensor:
    """Draw positions (n, q) of a stage's output, every image's own; all of them where there are no more."""
    wanted = max(1, round(rows_per_column * stage.columns / images))
    if wanted >= stage.positions:
        return torch.arange(stage.positions).expand(images, -1)
    return torch.randint(stage.positions, (images, wanted), generator=ctx.generator)


class _Watch:
    """Keeps what the stages and the head give while the model runs on one batch after another.

    Args:
        chosen: by stage, positions of its output that are kept.
    """

    def __init__(self, chosen: dict[str, Tensor]) -> None:
        self.images, self.before = 0, 0  # in this batch, and in those before it
        self.features: list[Tensor] = []
        self.outputs: dict[str, list[Tensor]] = {}
        self.entering: list[Tensor] = []
        self.scores: list[Tensor] = []
        self._chosen = chosen

    @contextmanager
    def on(self, stages: Sequence[Stage], head: Layer) -> Iterator[None]:
        """Watch in the `with` block."""
        handles = [stages[0].layer.register_forward_hook(partial(self._first, stages[0]))]
        handles += [stage.layer.register_forward_hook(partial(self._after, stage)) for stage in stages]
        handles.append(head.register_forward_hook(self._score))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _first(self, stage: Stage, _layer: Layer, _args: tuple[Any, ...], output: Tensor) -> None:
        self.features.append(features_of(stage, output, self.images))

    def _after(self, stage: Stage, layer: Layer, _args: tuple[Any, ...], output: Tensor) -> None:
        if stage.name in self._chosen:
            picked = self._chosen[stage.name][self.before : self.before + self.images]
            self.outputs.setdefault(stage.name, []).append(output_rows(layer, output, picked))

    def _score(self, head: Layer, args: tuple[Any, ...], output: Tensor) -> None:
        self.entering.append(over_positions(head, args[0], self.images))
        self.scores.append(over_positions(head, output, self.images))
