"""The classifier head: find it, reset it, and cut outputs out of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unlearnkit.errors import ModelError
from unlearnkit.losses import logits_of
from unlearnkit.modes import evaluating


def find_head(model: nn.Module, *, num_classes: int, shape: tuple[int, int, int]) -> str:
    """Return the name of the layer that makes the logits: the last Linear or Conv2d run with `num_classes` outputs.

    Args:
        model: on any device.
        num_classes: width of the output.
        shape: (C, H, W) of the images.

    Raises:
        ModelError: no such layer runs in the forward pass.
    """
    parameter = next(model.parameters())
    called: list[str] = []
    handles = [
        module.register_forward_hook(lambda _m, _i, _o, name=name: called.append(name))
        for name, module in model.named_modules()
        if _outputs(module) == num_classes
    ]
    try:
        with torch.no_grad(), evaluating(model):
            model(torch.zeros((2, *shape), dtype=parameter.dtype, device=parameter.device))
    finally:
        for handle in handles:
            handle.remove()
    if not called:
        raise ModelError(
            f"Expected a Linear or Conv2d layer with {num_classes} outputs as the classifier head, but none runs; "
            "the model's last layer must be one."
        )
    return called[-1]


def reset_head(model: nn.Module, name: str) -> None:
    """Draw the head's weights anew from the global generator."""
    head = model.get_submodule(name)
    assert isinstance(head, nn.Linear | nn.Conv2d)
    head.reset_parameters()


def without_outputs(
    model: nn.Module, gone: Sequence[int], *, num_classes: int, shape: tuple[int, int, int]
) -> nn.Module:
    """Return a copy of `model` whose head lacks the outputs `gone`; the other logits are as before.

    Raises:
        ModelError: the head is not found, or the remaining logits would change.
    """
    name = find_head(model, num_classes=num_classes, shape=shape)
    smaller = copy.deepcopy(model).eval()
    head = smaller.get_submodule(name)
    keep = torch.tensor([k for k in range(num_classes) if k not in set(gone)], dtype=torch.int64)
    assert isinstance(head, nn.Linear | nn.Conv2d)
    head.weight = nn.Parameter(head.weight.detach()[keep].clone(), requires_grad=head.weight.requires_grad)
    if head.bias is not None:
        head.bias = nn.Parameter(head.bias.detach()[keep].clone(), requires_grad=head.bias.requires_grad)
    if isinstance(head, nn.Linear):
        head.out_features = len(keep)
    else:
        head.out_channels = len(keep)
    images = torch.randn((4, *shape), generator=torch.Generator().manual_seed(0)).to(head.weight)
    changed = ModelError(
        f"Expected the remaining logits to stay as they are without outputs {list(gone)}, but they change; "
        f"layer {name!r} is not the only one that the outputs depend on, so keep the full width."
    )
    with torch.no_grad(), evaluating(model):
        before: Tensor = logits_of(model(images))[:, keep]
        try:
            after: Tensor = logits_of(smaller(images))
        except RuntimeError as error:
            raise changed from error
    if before.shape != after.shape or not torch.allclose(before, after, rtol=1e-4, atol=1e-5):
        raise changed
    return smaller


def _outputs(module: nn.Module) -> int | None:
    if isinstance(module, nn.Linear):
        return module.out_features
    return module.out_channels if isinstance(module, nn.Conv2d) else None
