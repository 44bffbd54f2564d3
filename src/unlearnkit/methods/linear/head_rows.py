"""Reads what enters a linear head for every training row, and writes a fitted head back into the model.

Shapes: n rows that stay, m rows to remove, D features (the last one constant where the head has a bias), K classes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unlearnkit.data.view import PartSamples
from unlearnkit.errors import ModelError
from unlearnkit.methods.common.head_inputs import features_of, head_of
from unlearnkit.methods.linear.numerics import Array, one_hot, unit_rows
from unlearnkit.methods.method import Context
from unlearnkit.models.check import probe_images
from unlearnkit.models.head import head_features, own_head
from unlearnkit.network import evaluating, logits_of
from unlearnkit.split import Part


@dataclass(frozen=True)
class HeadRows:
    """Rows of one part as a linear model takes them: their numbers in the training set, features and targets.

    Args:
        numbers: (n,) int64.
        rows: (n, D) float64, each of length 1.
        targets: (n, K), 1 for the own class, else 0.
    """

    numbers: Tensor
    rows: Array
    targets: Array

    def __add__(self, other: HeadRows) -> HeadRows:
        return HeadRows(
            torch.cat([self.numbers, other.numbers]),
            np.vstack([self.rows, other.rows]),
            np.vstack([self.targets, other.targets]),
        )


def linear_head(model: nn.Module, ctx: Context, method: str) -> str:
    """Return the name of the head, after checking that a linear model can be written into it.

    Args:
        model: on the run's device.
        ctx: the run.
        method: its name, for messages.

    Raises:
        ModelError: there is no head of its own, it is a convolution or frozen, or the logits are not its outputs.
    """
    name = head_of(model, ctx)
    head = own_head(model, name)
    if not isinstance(head, nn.Linear):
        raise ModelError(
            f"Expected a Linear layer as the head, which {method} fits anew, but {name!r} is a {type(head).__name__}; "
            "choose an architecture whose last layer is Linear, or head-distillation, which takes both."
        )
    if not all(weight.requires_grad for weight in head.parameters()):
        raise ModelError(
            f"Expected a head that may change, but {name!r} is frozen; {method} changes nothing else, so unfreeze it."
        )
    images = probe_images(ctx.shape, like=head.weight)
    with torch.no_grad(), ctx.log.meter.by_hand(model), evaluating(model), head_features(model, name) as passes:
        logits = logits_of(model(images))
    if len(passes) != 1 or not torch.allclose(head(passes[0]), logits, rtol=1e-3, atol=1e-4):
        raise ModelError(
            f"Expected logits that are the outputs of {name!r}, but the model changes them afterwards; {method} fits "
            "the head alone, so choose a model that ends with it, or finetune with last=1."
        )
    return name


def head_rows(model: nn.Module, head: str, part: Part, ctx: Context) -> HeadRows:
    """Read a training part; of what is to be forgotten, rows that every training holds out are read and left out.

    Raises:
        ModelError: a feature is not finite.
    """
    samples: PartSamples = ctx.view.part(part)
    numbers = ctx.view.split[part]
    features_nD = features_of(model, samples, head, ctx, stage=f"features_{part.value.partition('_')[0]}")
    if not features_nD.isfinite().all():
        raise ModelError(
            f"Expected finite features at the input of {head!r}, but some are not; look for images that overflow, or "
            "run with --precision fp32."
        )
    learned = ~torch.isin(numbers, ctx.view.split.held_out)
    rows_nD = unit_rows(features_nD[learned].double().numpy(), constant=_head(model, head).bias is not None)
    classes = len(ctx.request.classes)
    return HeadRows(numbers[learned], rows_nD, one_hot(samples.labels[learned].numpy(), classes))


def written(model: nn.Module, head: str) -> Array:
    """Return the weights (D, K) that the head holds."""
    layer = _head(model, head)
    columns = [layer.weight] if layer.bias is None else [layer.weight, layer.bias[:, None]]
    found: Array = torch.cat([column.detach().double().cpu() for column in columns], dim=1).numpy().T
    return found


def write_head(model: nn.Module, head: str, weights_DK: Array) -> float:
    """Write the weights into the head, rounded to its type and to float32, and return the length of the rounding."""
    layer = _head(model, head)
    rounded_KD = torch.from_numpy(weights_DK.T.copy()).float()
    with torch.no_grad():
        layer.weight.copy_(rounded_KD[:, : layer.in_features])
        if layer.bias is not None:
            layer.bias.copy_(rounded_KD[:, layer.in_features])
    return float(np.linalg.norm(written(model, head) - weights_DK))


def fingerprint(model: nn.Module, numbers: Tensor, *settings: float | str) -> str:
    """Return a sha256 of all weights in float32, of the rows that the head was fitted to, and of the settings."""
    digest = hashlib.sha256(repr(settings).encode())
    digest.update(numbers.sort().values.numpy().tobytes())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _head(model: nn.Module, name: str) -> nn.Linear:
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear), "linear_head has checked it"
    return layer
