"""Finds the layers that erasure may edit, and the normalisation behind each, by following the data through the model.

Shapes: n images, S positions of a layer's output (pixels or tokens), C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from unlearnkit.models.check import probe_images
from unlearnkit.network import frozen

Layer = nn.Conv2d | nn.Linear
NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Stage:
    """A convolution or linear layer whose output may be edited.

    Args:
        name: of the layer.
        layer: it runs once in a pass, on all images.
        norm: the BatchNorm that reads this layer's output and nothing else, with a constant passed on unchanged (so
            that pooling may lie between, an activation may not); None: there is no such layer.
        depth: its place among the layers with weights before the head, in (0, 1).
        positions: S.
        inputs: values that enter it for one image.
    """

    name: str
    layer: Layer
    norm: _BatchNorm | None
    depth: float
    positions: int
    inputs: int

    @property
    def columns(self) -> int:
        """Inputs of one output: those of a kernel, or the features of a linear layer."""
        return self.layer.weight[0].numel()

    @property
    def bytes(self) -> int:
        """Memory of what enters and leaves it for one image, in single precision."""
        return 4 * (self.inputs + self.positions * len(self.layer.weight))


@dataclass
class _Record:
    """The runs of one layer: what entered, and a leaf of the gradient in place of what it gave."""

    inputs: list[Tensor] = field(default_factory=list)
    leaves: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """What of a model may be edited.

    Args:
        stages: the layers, in running order.
        norms: BatchNorm layers that run once before the head and whose statistics may change, with their depths.
        left_alone: names and depths of other convolutions and linear layers; 1 where no run of it was seen, as of the
            last layer within `nn.MultiheadAttention`, which is computed past its own `forward`.
    """

    stages: list[Stage]
    norms: list[tuple[float, _BatchNorm]]
    left_alone: dict[str, float]


def find_stages(model: nn.Module, *, head: str, shape: tuple[int, int, int]) -> Layout:
    """Return the layers before the head that may be edited.

    Left out are grouped convolutions (a projection mixes all channels), layers that run several times or on other than
    all images, frozen weights, and weights that are shared or computed from others. Of BatchNorm, layers whose
    parameters are all frozen.

    Args:
        model: on any device; modes, flags and weights stay as they are.
        head: name of the classifier head.
        shape: (C, H, W) of the images.
    """
    records: dict[str, _Record] = {}
    modules = dict(model.named_modules())
    editable = _own_weights(model)
    trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    with torch.inference_mode(False), torch.enable_grad(), frozen(model), _recorded(modules, records):
        images = probe_images(shape, like=next(model.parameters()))
        model(images)
        before = list(records)[: list(records).index(head)]
        order = [name for name in before if isinstance(modules[name], Layer)]
        leaves = {name: record.leaves[0] for name, record in records.items() if len(record.leaves) == 1}
        found = []
        for place, name in enumerate(order):
            layer = modules[name]
            assert isinstance(layer, Layer)
            if name not in editable or id(layer.weight) not in trainable or name not in leaves:
                continue
            if isinstance(layer, nn.Conv2d) and layer.groups > 1:
                continue
            positions = _positions(layer, leaves[name], len(images))
            if positions:
                norm = _own_norm(name, modules, records, leaves)
                entering = records[name].inputs[0].numel() // len(images)
                found.append(Stage(name, layer, norm, (place + 0.5) / len(order), positions, entering))
    norms = [
        (sum(name in order for name in before[: before.index(other)]) / len(order), modules[other])
        for other in before
        if other in leaves and _has_free_statistics(modules[other], trainable)
    ]
    stages = {stage.name for stage in found}
    left_alone = {name: (place + 0.5) / len(order) for place, name in enumerate(order) if name not in stages}
    unseen = (n for n, m in modules.items() if isinstance(m, nn.Conv2d | nn.Linear) and n not in records)
    return Layout(found, norms, left_alone | dict.fromkeys(unseen, 1.0))


def nothing_to_edit(layout: Layout, start: float) -> str:
    """Say why there is no stage behind `start`, a share of the layers, and what to do."""
    if layout.stages:
        return (
            f"Expected a layer to edit behind {start:.0%} of the layers, but the last one that erase can edit is "
            f"{layout.stages[-1].name!r} at {layout.stages[-1].depth:.0%}; give a lower start, or choose unsir."
        )
    return (
        "Expected a convolution or linear layer before the head that erase can edit (not grouped, not frozen, with "
        "weights of its own, run once on all images), but the model has none; unfreeze one, or choose unsir, which "
        "trains whatever may change, or for a single linear layer retrain."
    )


@contextmanager
def _recorded(modules: dict[str, nn.Module], records: dict[str, _Record]) -> Iterator[None]:
    """Record the runs of layers and normalisations, in running order, and cut the gradient at their outputs."""
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def record(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Tensor | None:
            entering = args[0] if args else kwargs.get("input")
            if not isinstance(output, Tensor) or not isinstance(entering, Tensor):
                return None
            runs = records.setdefault(name, _Record())
            runs.inputs.append(entering.clone())  # a copy, as both may be changed in place later on
            runs.leaves.append(output.detach().requires_grad_(True))
            return runs.leaves[-1].clone()

        handles.append(module.register_forward_hook(record, with_kwargs=True))

    try:
        for name, module in modules.items():
            if isinstance(module, (*NORMS, nn.Conv2d, nn.Linear)):
                watch(name, module)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _own_weights(model: nn.Module) -> set[str]:
    """Return the names of layers whose weights are plain parameters that no other layer shares."""
    owners: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    return {
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
        and not parametrize.is_parametrized(module)
        and "weight" in module._parameters
        and all(owners[id(parameter)] == 1 for parameter in module.parameters(recurse=False))
    }


def _has_free_statistics(module: nn.Module, trainable: set[int]) -> bool:
    """Return whether it is a BatchNorm whose running statistics may change: not so where all parameters are frozen."""
    if not isinstance(module, _BatchNorm) or module.running_mean is None:
        return False
    parameters = list(module.parameters())
    return not parameters or any(id(parameter) in trainable for parameter in parameters)


def _positions(layer: Layer, output: Tensor, images: int) -> int:
    """Return S, or 0 where the output does not belong to the images row by row."""
    if isinstance(layer, nn.Conv2d):
        return output[0, 0].numel() if output.dim() == 4 and len(output) == images else 0
    rows = output.numel() // output.shape[-1]
    return rows // images if len(output) % images == 0 else 0


def _own_norm(
    name: str, modules: dict[str, nn.Module], records: dict[str, _Record], leaves: dict[str, Tensor]
) -> _BatchNorm | None:
    names = list(leaves)
    for other, record in records.items():
        norm = modules[other]
        entering = record.inputs[0]
        if not isinstance(norm, _BatchNorm) or norm.running_mean is None or len(record.inputs) > 1:
            continue
        if not entering.requires_grad or entering.shape[1] != leaves[name].shape[1]:
            continue
        slopes = torch.autograd.grad(entering.sum(), [leaves[n] for n in names], retain_graph=True, allow_unused=True)
        sources = {n: slope for n, slope in zip(names, slopes, strict=True) if slope is not None}
        if set(sources) == {name} and _constant_passes(sources[name], entering):
            return norm
    return None


def _constant_passes(slopes: Tensor, entering: Tensor) -> bool:
    """Return whether a constant that is added to a channel arrives unchanged: not so behind an activation."""
    by_channel = slopes.transpose(0, 1).flatten(1).sum(dim=1)
    return bool((by_channel - entering[:, 0].numel()).abs().max() < 1e-3 * entering[:, 0].numel())
