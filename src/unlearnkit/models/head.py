"""Finds the classifier head by following the data, reads its input, resets it, and removes outputs from it.

Shapes: n images, C channels, H x W positions, K classes, D features.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from unlearnkit.errors import ModelError
from unlearnkit.models.check import probe_images
from unlearnkit.models.trace import Runs, depends, makes_logits, watched
from unlearnkit.network import evaluating, logits_of


def find_head(model: nn.Module, *, num_classes: int, shape: tuple[int, int, int], name: str | None = None) -> str:
    """Return the name of the layer that computes the logits, found by following one forward pass.

    It is the Linear or Conv2d with `num_classes` outputs that the logits depend on, logit k above all on its output k,
    while the input of no other such layer depends on it.

    Args:
        model: on any device, of any floating type; frozen weights do not matter, and no gradient is left.
        num_classes: width of the output.
        shape: (C, H, W) of the images.
        name: the head, where it is known; it is checked to be such a layer that the logits depend on.

    Raises:
        ModelError: no such layer runs, several do (as in distilled models), or the one named is none.
    """
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise _no_head(num_classes)
    # Each candidate's output becomes a leaf of its own: then a gradient says "depends on it, by no other candidate".
    runs: dict[str, Runs] = {}
    with torch.inference_mode(False), torch.enable_grad():
        with evaluating(model), watched(model, num_classes, runs):
            logits = logits_of(model(probe_images(shape, like=parameter)))
        if not runs or logits.shape[1] != num_classes:
            raise _no_head(num_classes)
        ends = [layer_name for layer_name, run in runs.items() if makes_logits(run, logits)]
        heads = [layer_name for layer_name in ends if not _feeds_another(layer_name, runs)]
    if name is not None:
        if name not in ends:
            found = ", ".join(ends) or "none"
            raise ModelError(
                f"Expected the classifier head at {name!r}, but the logits do not come from a Linear or Conv2d layer "
                f"with {num_classes} outputs of that name; such layers are: {found}."
            )
        return name
    if not heads:
        raise _no_head(num_classes)
    if len(heads) > 1:
        raise ModelError(
            f"Expected one classifier head, but the logits come from several heads ({', '.join(heads)}); "
            "choose an architecture with one."
        )
    return heads[0]


def reset_head(model: nn.Module, name: str) -> None:
    """Draw new weights for the head from the global generator.

    Raises:
        ModelError: the layer is no Linear or Conv2d, its weight is computed from others, or another layer shares it.
    """
    own_head(model, name).reset_parameters()


def own_head(model: nn.Module, name: str) -> nn.Linear | nn.Conv2d:
    """Return the head, after checking that its weights may be overwritten without a change to another layer.

    Raises:
        ModelError: the layer is no Linear or Conv2d, its weight is computed from others, or another layer shares it.
    """
    head = _head(model, name)
    if parametrize.is_parametrized(head) or "weight" not in head._parameters:
        raise ModelError(
            f"Expected a head with a weight of its own, but that of {name!r} is computed from other parameters; "
            "call torch.nn.utils.parametrize.remove_parametrizations (or remove_weight_norm) on it first."
        )
    head_weights = {id(value) for value in head.parameters(recurse=False)}
    shared = [
        weight_name
        for weight_name, value in model.named_parameters(remove_duplicate=False)
        if id(value) in head_weights and weight_name.rpartition(".")[0] != name
    ]
    if shared:
        raise ModelError(
            f"Expected a head with weights of its own, but {name!r} shares them with {shared[0]}; "
            "give it a copy of its own first."
        )
    return head


@contextmanager
def head_features(model: nn.Module, head: str) -> Iterator[list[Tensor]]:
    """Collect the head's input: one tensor (n, D) for each time that it runs.

    What has positions (tokens of a Linear, pixels of a Conv2d) is averaged over them.

    Raises:
        ModelError: the layer is no Linear or Conv2d.
    """
    layer = _head(model, head)
    passes: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entering: Tensor = args[0] if args else kwargs["input"]
        # n positions x D for a Linear; D positions for a Conv2d
        flat = entering.flatten(1, -2).mean(dim=1) if isinstance(layer, nn.Linear) and entering.dim() > 2 else entering
        passes.append(flat.flatten(2).mean(dim=2) if flat.dim() > 2 else flat)

    handle = layer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield passes
    finally:
        handle.remove()


def features(model: nn.Module, images: Tensor, head: str) -> Tensor:
    """Return the head's input (n, D) for images (n, C, H, W), in eval mode and without gradients.

    Raises:
        ModelError: the head is no Linear or Conv2d, or does not run once on all images.
    """
    with torch.no_grad(), evaluating(model), head_features(model, head) as passes:
        model(images)
    if len(passes) != 1 or len(passes[0]) != len(images):
        raise ModelError(
            f"Expected the head {head!r} to run once on all {len(images)} images, but it runs {len(passes)} times, on "
            f"{[len(head_input) for head_input in passes]} rows; name the layer that makes the logits."
        )
    return passes[0]


def without_outputs(
    model: nn.Module,
    gone: Sequence[int],
    *,
    num_classes: int,
    shape: tuple[int, int, int],
    name: str | None = None,
) -> nn.Module:
    """Return a copy of `model` whose head lacks the outputs `gone`; the other logits are unchanged.

    Args:
        model: on any device.
        gone: class ids.
        num_classes: width of the output.
        shape: (C, H, W) of the images.
        name: of the head, where it is not to be found.

    Raises:
        ModelError: the head is not found, its weight is computed, or the remaining logits would change.
    """
    name = find_head(model, num_classes=num_classes, shape=shape, name=name)
    smaller = copy.deepcopy(model).eval()
    head = _head(smaller, name)
    changed = ModelError(
        f"Expected the remaining logits to stay as they are without outputs {list(gone)}, but they change; "
        f"layer {name!r} is not the only one that the outputs depend on, so keep the full width."
    )
    if parametrize.is_parametrized(head) or "weight" not in head._parameters:
        raise changed
    keep = torch.tensor([k for k in range(num_classes) if k not in set(gone)], device=head.weight.device)
    head.weight = nn.Parameter(head.weight.detach()[keep].clone(), requires_grad=head.weight.requires_grad)
    if head.bias is not None:
        head.bias = nn.Parameter(head.bias.detach()[keep].clone(), requires_grad=head.bias.requires_grad)
    if isinstance(head, nn.Linear):
        head.out_features = len(keep)
    else:
        head.out_channels = len(keep)
    images = torch.randn((4, *shape), generator=torch.Generator().manual_seed(0)).to(head.weight)
    with torch.no_grad(), evaluating(model):
        before = logits_of(model(images))[:, keep]
        try:
            after = logits_of(smaller(images))
        except RuntimeError as error:
            raise changed from error
    if before.shape != after.shape or not torch.allclose(before, after, rtol=1e-4, atol=1e-5):
        raise changed
    return smaller


def _feeds_another(name: str, runs: dict[str, Runs]) -> bool:
    other_runs = (run for other, run in runs.items() if other != name)
    return any(depends(entering, runs[name].outputs) for run in other_runs for entering in run.inputs)


def _head(model: nn.Module, name: str) -> nn.Linear | nn.Conv2d:
    module = dict(model.named_modules()).get(name)
    if not isinstance(module, nn.Linear | nn.Conv2d):
        found = "there is none" if module is None else f"it is a {type(module).__name__}"
        raise ModelError(f"Expected a Linear or Conv2d layer at {name!r}, but {found}; name the classifier head.")
    return module


def _no_head(num_classes: int) -> ModelError:
    return ModelError(
        f"Expected a Linear or Conv2d layer with {num_classes} outputs as the classifier head, but none runs last; "
        "the model's last layer must be one."
    )
