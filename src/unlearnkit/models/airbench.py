"""Defines a small fast network for 32-pixel images: whitened 2x2 stem, three groups, about 94 % on CIFAR-10.

Shapes: n images, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM = 2  # side of the stem's patches
WHITENING_EPSILON = 5e-4  # added to the eigenvalues of the patches' covariance
LOGIT_SCALE = 1 / 9


class _Norm(nn.BatchNorm2d):
    """BatchNorm with fast statistics and a fixed scale of 1: only its bias is trained."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-12, momentum=0.4)
        assert self.weight is not None
        self.weight.requires_grad_(False)


class _Group(nn.Module):
    """Convolution, 2x2 max-pooling, norm, GELU; convolution, norm, GELU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _identity_convolution(inputs, outputs)
        self.norm1 = _Norm(outputs)
        self.conv2 = _identity_convolution(outputs, outputs)
        self.norm2 = _Norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(x)))


class AirbenchNet(nn.Module):
    """The network of "94% on CIFAR-10 in 3.29 Seconds", about 2 M parameters and 0.24 GFLOP an image of 32 pixels.

    A 2x2 convolution that whitens the patches of the images, three groups of two 3x3 convolutions (`width`, 4 `width`
    and 4 `width` channels; the paper's have 64, 256, 256), a global maximum and a linear head whose logits are divided
    by 9. A narrow one (`airbench,width=16`: 0.02 GFLOP an image) suits a machine without a GPU. The stem's filters are
    the eigenvectors of the patches' covariance, each divided by the root of its eigenvalue, and their negatives: set
    by `initialise` from images, then fixed. Without `initialise` the stem is drawn at random and stays so.

    Images must be of 24 pixels or more. The paper ends in a 3x3 max-pooling, which is the global maximum at 32 pixels.

    Source: K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024 (arXiv 2404.00498), section 3.
    """

    # Settings of `training.Recipe` that suit it: the paper's with more epochs (10 there), because `train` keeps 5 % of
    # the samples for validation and the schedule is another. Its rate is 11.5 per 1,024 samples for a summed loss and
    # "decoupled" from momentum:
    # 11.5 * 1024 / (1024 * (1 + 1 / (1 - 0.85))) = 1.5 for a mean loss, and the weight decay accordingly.
    default_recipe: ClassVar[dict[str, object]] = {
        "epochs": 16,
        "batch_size": 1000,
        "optimizer": "sgd",
        "lr": 1.5,
        "momentum": 0.85,
        "weight_decay": 0.00133,
        "norm_bias_lr": 64.0,
        "label_smoothing": 0.2,
        "schedule": "one_cycle",
        "max_shift": 2,
        "lookahead": True,
    }

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 64) -> None:
        super().__init__()
        filters = 2 * in_channels * STEM**2
        self.stem = nn.Conv2d(in_channels, filters, STEM)
        self.stem.weight.requires_grad_(False)
        self.groups = nn.Sequential(_Group(filters, width), _Group(width, 4 * width), _Group(4 * width, 4 * width))
        self.head = nn.Linear(4 * width, num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, C, H, W) to logits (n, K)."""
        x = self.groups(F.gelu(self.stem(images)))
        logits: Tensor = self.head(x.amax(dim=(2, 3)) * LOGIT_SCALE)
        return logits

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Set the stem so that it whitens patches of `images` (n, C, H, W), which are normalised as in training.

        The caller decides which images: a model that must not know a class is initialised without it.
        """
        patches = F.unfold(images.double(), STEM).transpose(1, 2).reshape(-1, images.shape[1] * STEM**2)
        covariance = patches.T @ patches / len(patches)
        values, vectors = torch.linalg.eigh(covariance)
        filters = (vectors / (values + WHITENING_EPSILON).sqrt()).T.flip(0).reshape(-1, images.shape[1], STEM, STEM)
        # eigenvectors have no sign of their own: fix it, so that every machine gets the same filters
        largest = filters.flatten(1).gather(1, filters.flatten(1).abs().argmax(dim=1, keepdim=True))
        filters = filters * largest.sign()[:, :, None, None]
        self.stem.weight.copy_(torch.cat([filters, -filters]))
        if self.stem.bias is not None:
            self.stem.bias.zero_()


def _identity_convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """Return a 3x3 convolution whose first `inputs` filters copy their channel."""
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight.data[: min(inputs, outputs)])
    return convolution
