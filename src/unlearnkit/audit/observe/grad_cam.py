"""Computes Grad-CAM maps, which show where in an image a model finds evidence for a class.

The maps are for the eye, original beside unlearned beside retrained, on the same images and for the same class; no
verdict is made of them.

Shapes: n images, C channels, H x W pixels, h x w positions of a layer, D channels of its output, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit.audit.observe.feature_layers import find_layer, runs_before
from unlearnkit.audit.observe.layout import Shape, as_map
from unlearnkit.errors import ModelError
from unlearnkit.models.check import probe_images
from unlearnkit.models.head import find_head, head_features
from unlearnkit.network import frozen, logits_of


class NoAttentionLayerError(ModelError):
    """No layer that all data passes through has positions of the image, so Grad-CAM has nothing to map."""


def grad_cam(model: nn.Module, images: Tensor, layer: str, target: int | Tensor) -> Tensor:
    """Return Grad-CAM maps (n, h, w) float32 in [0, 1] on the CPU, at the resolution of the layer.

    With the layer's output A and the logit y of the target class, for each image

        w_d = mean over positions of dy / dA_d,   map = ReLU(sum over d of w_d A_d) / its maximum.

    The maximum of each map is 1; one without a positive value stays zero: nothing there speaks for the class. Tokens
    are laid out in their grid, without class and register tokens, and channels may come last (see `layout.as_map`).
    On maps with channels first it agrees with captum's LayerGradCam, which takes the second dimension for the
    channels whatever the layer, and so cannot read tokens or Swin's maps.

    Args:
        model: on any device, of any floating type; seen in eval mode, and modes, flags and gradients are left alone.
        images: (n, C, H, W) on the model's device, preprocessed.
        layer: such as `attention_layer` gives.
        target: class id for all images, or ids (n,) int64.

    Raises:
        ModelError: there is no such layer, its output has no positions, or it does not run once on all images.

    Source: R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
    ICCV 2017, arXiv 1610.02391, equations 1 and 2.
    """
    shape = (images.shape[1], images.shape[2], images.shape[3])
    outputs: list[Tensor] = []
    with torch.inference_mode(False), torch.enable_grad(), frozen(model), _leaves(model, layer, outputs):
        logits = logits_of(model(images.detach().clone()))
        if [len(layer_maps) for layer_maps in outputs] != [len(images)]:
            raise ModelError(
                f"Expected layer {layer!r} to run once on all {len(images)} images, but it ran {len(outputs)} times, "
                f"on {[len(layer_maps) for layer_maps in outputs]} rows; choose a layer that attention_layer gives."
            )
        target_classes = torch.as_tensor(target, device=logits.device).expand(len(images))
        # in eval mode no image depends on another, so the gradient of the sum holds every image's own
        slopes = _slopes(logits.gather(1, target_classes[:, None]).sum(), outputs[0])
    maps, slope_maps = (as_map(layer_maps.detach().float(), shape) for layer_maps in (outputs[0], slopes))
    if maps is None or slope_maps is None:
        raise ModelError(
            f"Expected a layer whose output has positions of the image, but that of {layer!r} is of shape "
            f"{tuple(outputs[0].shape)}; choose a layer that attention_layer gives."
        )
    attention = (slope_maps.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).relu()
    peak = attention.amax(dim=(1, 2), keepdim=True)
    return torch.where(peak > 0, attention / peak, torch.zeros_like(attention)).cpu()


def enlarged(maps: Tensor, shape: Shape) -> Tensor:
    """Resize maps (n, h, w) to the images' resolution (n, H, W), bilinearly; values stay in [0, 1]."""
    return F.interpolate(maps[:, None], size=shape[1:], mode="bilinear", align_corners=False)[:, 0]


def attention_layer(model: nn.Module, *, num_classes: int, shape: Shape) -> str:
    """Return the last layer before the head that has positions, carries all of the data, and affects the head.

    In a network that averages its last maps that is the last stage. In one that reads the class token only, the other
    tokens of the last block matter no more, and it is the block before.

    Args:
        model: on any device; nothing of it is changed.
        num_classes: width of the output.
        shape: (C, H, W) of the images.

    Raises:
        NoAttentionLayerError: there is no such layer.
        ModelError: there is no classifier head.
    """
    head = find_head(model, num_classes=num_classes, shape=shape)
    runs, _ = runs_before(model, head, shape)
    for run in reversed(runs):
        maps = as_map(torch.empty(run.shape, device="meta"), shape)
        if maps is not None and maps.shape[2] * maps.shape[3] > 1 and _decides(model, run.name, head, shape):
            return run.name
    raise NoAttentionLayerError(
        "Expected a layer with positions of the image before the head, but the model has none that all of its data "
        "passes through; name a layer."
    )


def _decides(model: nn.Module, name: str, head: str, shape: Shape) -> bool:
    """Return whether the head's input depends on this layer's positions, and on the images through it alone."""
    outputs: list[Tensor] = []
    with torch.inference_mode(False), torch.enable_grad(), frozen(model), _leaves(model, name, outputs):
        images = probe_images(shape, like=next(model.parameters())).requires_grad_(True)
        # not the logits: a head of zeros, as some models begin with, or one that is masked would hide the way
        with head_features(model, head) as entering:
            model(images.clone())
        # different factors, as the features of a LayerNorm add up to zero
        score = (entering[0] * torch.linspace(1, 2, entering[0].shape[1]).to(entering[0])).sum()
        past = _slopes(score, images)
        slopes = as_map(_slopes(score, outputs[0]), shape)
    return not past.any() and slopes is not None and bool(slopes.any())


@contextmanager
def _leaves(model: nn.Module, name: str, outputs: list[Tensor]) -> Iterator[None]:
    """Record the layer's output as a leaf of the graph: gradients go back to it and no further."""

    def cut(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise ModelError(
                f"Expected layer {name!r} to return a tensor, but it returns {type(output).__name__}; choose another."
            )
        outputs.append(output.detach().requires_grad_(True))
        return outputs[-1].clone()  # a layer after it may work in place

    handle = find_layer(model, name).register_forward_hook(cut)
    try:
        yield
    finally:
        handle.remove()


def _slopes(score: Tensor, leaf: Tensor) -> Tensor:
    if not score.requires_grad:
        return torch.zeros_like(leaf)
    (slope,) = torch.autograd.grad(score, [leaf], retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if slope is None else slope
