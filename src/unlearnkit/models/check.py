"""Refuses a model that cannot work, before any work is done, and says why.

Shapes: n images, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from unlearnkit.errors import ModelError, reason
from unlearnkit.network import evaluating, logits_of


def check_model(model: nn.Module, *, classes: int, shape: tuple[int, int, int]) -> None:
    """Refuse an unfit model, after one forward pass on two random images in eval mode; the mode is restored.

    The images are the same every time, and the global generators stay as they are.

    Args:
        model: on any device, in float32 or float64.
        classes: length of the model's class list.
        shape: (C, H, W) of the images.

    Raises:
        ModelError: there are no parameters, or none to train; the weights are not all float32 or all float64, or not
            finite; the forward pass fails; its output is no (n, K) logits, is probabilities, or K is not `classes`.
    """
    parameter = _check_parameters(model)
    images = probe_images(shape, like=parameter)
    devices = [parameter.device] if parameter.device.type == "cuda" else []
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices), evaluating(model):
            logits = logits_of(model(images))
    except ModelError:
        raise
    except Exception as error:
        advice = "give another image size (--image-size, or image_size in a suite) or another model."
        taken = _channels_of(model)
        if taken is not None and taken != shape[0]:
            advice = (
                f"its first layer takes {taken} channels and the images have {shape[0]}, so give --channels {taken}, "
                "or for a factory of your own let it take in_channels= and build its first layer for so many."
            )
        raise ModelError(
            f"Expected a model that takes images of shape {shape}, but its forward pass fails ({reason(error)}); "
            f"{advice}"
        ) from error
    if len(logits) != len(images):
        raise ModelError(
            f"Expected one row of logits for each image, but got {len(logits)} rows for {len(images)} images; "
            "keep the first dimension of the images."
        )
    if logits.shape[1] != classes:
        raise ModelError(
            f"Expected {classes} outputs, one for each class, but the model has {logits.shape[1]}; "
            "the class list and the model's last layer must agree."
        )
    _check_logits(logits)


def _channels_of(model: nn.Module) -> int | None:
    """Channels that the first convolution takes; None where there is none, or it works on groups of them."""
    layer = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    return layer.in_channels if layer is not None and layer.groups == 1 else None


def probe_images(shape: tuple[int, int, int], *, like: Tensor) -> Tensor:
    """Return two different random images (2, C, H, W), always the same ones, with the device and type of `like`."""
    return torch.randn((2, *shape), generator=torch.Generator().manual_seed(0)).to(like)


def _check_parameters(model: nn.Module) -> nn.Parameter:
    parameters = dict(model.named_parameters())
    lazy = [name for name, value in (*parameters.items(), *model.named_buffers()) if is_lazy(value)]
    if lazy:
        raise ModelError(
            f"Expected a model whose weights exist, but {lazy[0]} is lazy; run it once on a batch of images first."
        )
    if not parameters:
        raise ModelError("Expected a model with parameters, but it has none; nothing can be unlearned.")
    kinds = sorted({str(value.dtype) for value in parameters.values()})
    if len(kinds) > 1:
        raise ModelError(
            f"Expected weights of one type, but the model's are {' and '.join(kinds)}; call model.float() first."
        )
    first = next(iter(parameters.values()))
    if first.dtype not in (torch.float32, torch.float64):
        raise ModelError(
            f"Expected weights in float32 or float64, but the model's are {first.dtype}; call model.float() first "
            "(--precision bf16 computes in half precision on float32 weights)."
        )
    if not any(value.requires_grad for value in parameters.values()):
        raise ModelError(
            "Expected a model with a trainable parameter, but all of them are frozen; "
            "call model.requires_grad_(True), or thaw the layers that may change."
        )
    broken = next((name for name, value in parameters.items() if not torch.isfinite(value).all()), None)
    if broken is not None:
        raise ModelError(
            f"Expected finite weights, but {broken} has NaN or infinite values; train the model anew or load others."
        )
    return first


def _check_logits(logits: Tensor) -> None:
    if not torch.isfinite(logits).all():
        raise ModelError(
            "Expected finite logits, but the model gives NaN or infinity for random images; "
            "check its weights and its normalisation layers."
        )
    sums = logits.sum(dim=1)
    within = bool((logits >= 0).all() and (logits <= 1).all())
    if logits.shape[1] > 1 and within and torch.allclose(sums, torch.ones_like(sums), rtol=0, atol=1e-4):
        raise ModelError(
            "Expected logits, but the model gives probabilities: each row lies in [0, 1] and sums to 1; "
            "leave the softmax out of the model, as the losses apply it themselves."
        )
