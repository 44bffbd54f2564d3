"""Defines the built-in networks: a small CNN for tiny images, the All-CNN, and ResNet18 for small images."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from unlearnkit.errors import ModelError

GROUPS = 8  # of GroupNorm's channels, where they divide the width
TORCHVISION_WIDTH = 64  # channels of the first stage of torchvision's ResNet18


def _block(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, norm: Literal["batch", "group"] = "batch"
) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs) if norm == "batch" else nn.GroupNorm(math.gcd(outputs, GROUPS), outputs),
        nn.ReLU(inplace=True),
    ]


class SmallCNN(nn.Module):
    """Three 3x3 convolutions with BatchNorm, global average pooling, a linear head; for images of 8 pixels and up.

    With `norm=group` it has GroupNorm, which treats each image alone, as private training needs.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 1, width: int = 32, norm: Literal["batch", "group"] = "batch"
    ) -> None:
        super().__init__()
        if norm not in ("batch", "group"):
            raise ModelError(f"Expected norm=batch or norm=group for small-cnn, but got {norm!r}; choose one of them.")
        self.features = nn.Sequential(
            *_block(in_channels, width, norm=norm),
            *_block(width, 2 * width, stride=2, norm=norm),
            *_block(2 * width, 2 * width, norm=norm),
        )
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, C, H, W) to logits (n, K)."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


class AllCNN(nn.Module):
    """The network All-CNN-C: nine convolutions, no pooling but a last average, about 1.4 M parameters.

    Source: Springenberg, Dosovitskiy, Brox, Riedmiller, "Striving for Simplicity", ICLR 2015 workshop
    (arXiv 1412.6806), Table 1. BatchNorm after every convolution instead of the paper's dropout. The paper's `width`
    is 96 channels, then twice as many.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 96) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(in_channels, width),
            *_block(width, width),
            *_block(width, width, stride=2),
            *_block(width, 2 * width),
            *_block(2 * width, 2 * width),
            *_block(2 * width, 2 * width, stride=2),
            *_block(2 * width, 2 * width),
            *_block(2 * width, 2 * width, kernel=1),
        )
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, C, H, W) to logits (n, K); the 1x1 classifier after the average is a Linear layer."""
        logits: Tensor = self.head(self.features(images).mean(dim=(2, 3)))
        return logits


def resnet18_cifar(num_classes: int, in_channels: int = 3, width: int = 64) -> nn.Module:
    """Return torchvision's ResNet18 with the stem for small images: a 3x3 convolution of stride 1, no pooling.

    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2 (the CIFAR
    stem; the depth and the widths are those of the ImageNet network, as usual in this field). `width` is the number of
    channels of the first of its four stages, each of which has twice those of the one before.
    """
    from torchvision.models.resnet import BasicBlock, resnet18

    model: nn.Module = resnet18(num_classes=num_classes)
    model.conv1, model.maxpool = nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.Identity()
    new = [model.conv1]
    if width != TORCHVISION_WIDTH:
        model.bn1, inputs = nn.BatchNorm2d(width), width
        for stage in range(4):
            outputs, stride = width * 2**stage, 2 if stage else 1
            shortcut = None
            if stage:
                shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            blocks = nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs))
            setattr(model, f"layer{stage + 1}", blocks)
            new += [module for module in blocks.modules() if isinstance(module, nn.Conv2d)]
            inputs = outputs
        model.fc = nn.Linear(inputs, num_classes)
    for convolution in new:
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return model
