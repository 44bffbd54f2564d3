"""Chooses the layers whose features are compared, and collects these features in any forward pass.

A layer is taken only where everything that the logits are made of passes through it (the ends of stages and blocks,
not a branch of one), found by following the data through forward passes, whatever the architecture is called.

Shapes: n images, C channels, H x W pixels, D features, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from unlearnkit.audit.evidence import HEAD
from unlearnkit.audit.observe.layout import Shape, pooled
from unlearnkit.errors import ModelError
from unlearnkit.models.check import probe_images
from unlearnkit.models.head import find_head, head_features
from unlearnkit.network import evaluating, frozen, logits_of

WIDEST = 4096  # features of a layer that are kept; of a wider one, as many random sums


@dataclass(frozen=True)
class Run:
    """A layer that runs exactly once, on all images, before the head.

    Args:
        name: of the module.
        depth: layers with weights of their own that had run when it ended.
        shape: of its output.
    """

    name: str
    depth: int
    shape: tuple[int, ...]


@dataclass
class Collected:
    """Pooled features by layer, in running order up to the head; one tensor for each forward pass."""

    passes: dict[str, list[Tensor]] = field(default_factory=dict)

    def features(self) -> dict[str, Tensor]:
        """Features (n, D) float32 on the CPU by layer, all passes in order; empty where the model has not run."""
        return {name: torch.cat(parts) for name, parts in self.passes.items() if parts}


def choose_layers(model: nn.Module, *, num_classes: int, shape: Shape, depths: int = 3) -> list[str]:
    """Return the names of up to `depths` layers, evenly spread between the images and the head, in running order.

    The i-th is looked for at depth i / (depths + 1), depth being the share of the layers with weights that have run:
    the outermost stage that ends within half a step of it, else the nearest layer. Left out are a layer that a part
    of the data goes past, and one after which no weights but the head's follow: its features would be the head's
    input once more. A small model has fewer such layers, or none.

    Args:
        model: on any device; modes, flags and weights stay as they are.
        num_classes: width of the output.
        shape: (C, H, W) of the images.
        depths: how many layers; the head's input, which `collecting` adds, is not counted.

    Raises:
        ModelError: there is no classifier head, or there are several.
    """
    runs, total = runs_before(model, find_head(model, num_classes=num_classes, shape=shape), shape)
    near = total / (2 * depths + 2)

    def rank(run: Run, wanted: float) -> tuple[bool, int, float, int]:
        far = abs(run.depth - wanted)
        # at one depth the last to run: what comes after the activation
        return far > near, run.name.count(".") if far <= near else 0, far, -runs.index(run)

    chosen: list[Run] = []
    for step in range(1, depths + 1):
        taken = {0, total, *(run.depth for run in chosen)}
        free = [run for run in runs if run.depth not in taken and run.name != HEAD]
        free.sort(key=partial(rank, wanted=total * step / (depths + 1)))
        found = next((run for run in free if carries_all(model, run.name, shape)), None)
        chosen += [] if found is None else [found]
    return [run.name for run in sorted(chosen, key=runs.index)]


def pooled_features(model: nn.Module, images: Tensor, layers: Sequence[str], head: str) -> dict[str, Tensor]:
    """Return the pooled features of the layers and of the head's input: one forward pass in eval mode.

    Args:
        model: on the device of the images.
        images: (n, C, H, W).
        layers: from `choose_layers`.
        head: from `find_head`.

    Returns:
        (n, D) float32 on the CPU by layer; the last is `HEAD`.

    Raises:
        ModelError: there is no such layer, or it does not run once on all images.
    """
    shape = (images.shape[1], images.shape[2], images.shape[3])
    with torch.no_grad(), evaluating(model), collecting(model, layers, head, shape=shape) as collected:
        model(images)
    return collected.features()


@contextmanager
def collecting(model: nn.Module, layers: Sequence[str], head: str, *, shape: Shape) -> Iterator[Collected]:
    """Collect pooled features in every forward pass of `model` inside the `with` block.

    Maps and tokens are averaged over their positions (see `layout`), without class and register tokens: in the first
    layers these do not depend on the image yet, and what they gather arrives at the head, whose input is taken as
    it is. D is at most `WIDEST`: of a wider layer, as many sums of its features under random signs are kept, which
    keeps inner products in expectation (feature hashing, K. Weinberger et al., ICML 2009, arXiv 0902.2206). Signs
    and sums are the same for every model.

    Raises:
        ModelError: there is no such layer, or (in the pass) it does not run once on all images.
    """
    collected = Collected({name: [] for name in (*layers, HEAD)})
    outputs_by_layer: dict[str, list[Tensor]] = {}
    handles = [model.register_forward_pre_hook(lambda _module, _args: outputs_by_layer.clear())]

    def watch(name: str) -> None:
        def keep(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor):
                outputs_by_layer.setdefault(name, []).append(pooled(output.detach(), shape))

        handles.append(find_layer(model, name).register_forward_hook(keep))

    try:
        for name in layers:
            watch(name)
        with head_features(model, head) as entering:

            def finish(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
                rows = len(logits_of(output))
                for name, parts in collected.passes.items():
                    layer_outputs = entering if name == HEAD else outputs_by_layer.get(name, [])
                    rows_by_run = [len(layer_output) for layer_output in layer_outputs]
                    if rows_by_run != [rows]:
                        raise ModelError(
                            f"Expected layer {head if name == HEAD else name!r} to run once on all {rows} images, but "
                            f"it ran {len(layer_outputs)} times, on {rows_by_run} rows; choose another layer."
                        )
                    parts.append(_narrowed(layer_outputs[0].detach().float().cpu()))
                entering.clear()

            handles.append(model.register_forward_hook(finish))
            yield collected
    finally:
        for handle in handles:
            handle.remove()


def runs_before(model: nn.Module, head: str, shape: Shape) -> tuple[list[Run], int]:
    """Return the layers that run exactly once in a forward pass, before the head, and the depth of the network.

    A layer counts only if it processes all images of the batch (here two). The layers are in the order in which their
    runs end.

    The depth is the number of runs of layers with weights of their own before the head.
    """
    images = probe_images(shape, like=next(model.parameters()))
    ended: dict[str, list[Run | None]] = {}
    depth, total = 0, -1

    def watch(name: str, module: nn.Module) -> Any:
        weights = any(True for _ in module.parameters(recurse=False))

        def end(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
            nonlocal depth
            if total >= 0:
                return
            depth += weights
            fits = isinstance(output, Tensor) and output.is_floating_point() and 2 <= output.dim() <= 4
            taken = Run(name, depth, tuple(output.shape)) if fits and len(output) == len(images) else None
            ended.setdefault(name, []).append(taken)

        return module.register_forward_hook(end)

    def reach_head(_module: nn.Module, _args: tuple[Any, ...]) -> None:
        nonlocal total
        total = depth if total < 0 else total

    handles = [find_layer(model, head).register_forward_pre_hook(reach_head)]
    try:
        handles += [watch(name, module) for name, module in model.named_modules()]
        with torch.no_grad(), evaluating(model):
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return [runs[0] for runs in ended.values() if len(runs) == 1 and runs[0] is not None], max(total, 0)


def carries_all(model: nn.Module, name: str, shape: Shape) -> bool:
    """Return whether the images reach the logits through this layer alone.

    If so, the logits do not depend on the images once the gradient is cut at the layer's output.
    """
    with torch.inference_mode(False), torch.enable_grad(), frozen(model):
        images = probe_images(shape, like=next(model.parameters()))
        handle = find_layer(model, name).register_forward_hook(lambda _module, _args, output: output.detach())
        try:
            logits = logits_of(model(images.requires_grad_(True).clone()))
        finally:
            handle.remove()
    return not logits.requires_grad


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """Return the module of this name.

    Raises:
        ModelError: there is none.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if name not in modules:
        raise ModelError(f"Expected a layer at {name!r}, but the model has none; name one of named_modules().")
    return modules[name]


def _narrowed(features: Tensor) -> Tensor:
    """Reduce features (n, D) to (n, min(D, WIDEST)): each is added, with a random sign, to one of the sums."""
    width = features.shape[1]
    if width <= WIDEST:
        return features
    generator = torch.Generator().manual_seed(0)
    sums = torch.randint(WIDEST, (width,), generator=generator)
    signs = torch.randint(2, (width,), generator=generator) * 2.0 - 1.0
    return torch.zeros(len(features), WIDEST).index_add_(1, sums, features * signs)
