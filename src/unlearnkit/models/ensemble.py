"""Defines Ensemble, the model of sharded training: networks of one architecture whose logits one head averages.

Shapes: n images, C channels, H x W pixels, K classes, S shards, D features of one network.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unlearnkit.errors import ModelError
from unlearnkit.models.check import probe_images
from unlearnkit.network import evaluating, logits_of


class Ensemble(nn.Module):
    r"""One network for each shard, and one Linear head over the features of all of them.

    Each network's own last layer is cut off. With its weights \(W_s, b_s\) the head is
    \([W_1 \dots W_S] / S\) and \(\sum_s b_s / S\), so the logits are the mean of the networks' logits, and the
    probabilities their geometric mean, scaled to sum to one. Unlike a majority vote, which gives labels alone, this has
    losses, features and gradients, it never ties, and it is a network with one head: whatever audits, shrinks or
    trains a classifier works on it.

    Args:
        networks: S classifiers of one architecture that each end in a Linear layer; they become part of the ensemble.
        num_classes: width K of their output.

    Raises:
        ModelError: a network has no Linear layer with K outputs.
    """

    def __init__(self, networks: Sequence[nn.Module], num_classes: int) -> None:
        super().__init__()
        heads = [_cut(network, num_classes) for network in networks]
        self.bodies = nn.ModuleList(networks)
        biased = heads[0].bias is not None
        self.head = nn.Linear(sum(head.in_features for head in heads), num_classes, bias=biased)
        with torch.no_grad():
            self.head.weight.copy_(torch.cat([head.weight for head in heads], dim=1) / len(heads))
            if biased:
                self.head.bias.copy_(torch.stack([head.bias for head in heads]).mean(dim=0))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, C, H, W) to logits (n, K)."""
        features = torch.cat([logits_of(body(images)) for body in self.bodies], dim=1)
        logits: Tensor = self.head(features)
        return logits


def check_ensemble(network: nn.Module, *, num_classes: int, shape: tuple[int, int, int]) -> None:
    """Refuse an architecture whose logits an Ensemble would not average.

    Args:
        network: of the architecture; it is not changed.
        num_classes: width of its output.
        shape: (C, H, W) of the images.

    Raises:
        ModelError: its logits are not what its last Linear layer gives.
    """
    alone = Ensemble([copy.deepcopy(network)], num_classes)
    images = probe_images(shape, like=next(network.parameters()))
    with torch.no_grad(), evaluating(network), evaluating(alone):
        expected = logits_of(network(images))
        try:
            same = torch.allclose(logits_of(alone(images)), expected, rtol=1e-4, atol=1e-5)
        except RuntimeError:  # the features have another shape than the head takes
            same = False
    if not same:
        raise ModelError(
            "Expected an architecture for --shards whose logits are the output of a Linear layer on one feature vector "
            f"for each image, but those of this {type(network).__name__} are not; choose one with such a head."
        )


def _cut(network: nn.Module, num_classes: int) -> nn.Linear:
    """Take the last Linear layer with K outputs out of a network, and return it."""
    found = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == num_classes
    ]
    if not found or not found[-1][0]:
        raise ModelError(
            f"Expected an architecture for --shards that ends in a Linear layer with {num_classes} outputs, but "
            f"{type(network).__name__} has none; choose another one."
        )
    name, head = found[-1]
    parent, _, attribute = name.rpartition(".")
    setattr(network.get_submodule(parent), attribute, nn.Identity())
    return head
