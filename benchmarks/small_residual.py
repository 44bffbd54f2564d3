"""A small network with post-activation residual blocks, for benchmarks: about 0.2 M parameters, 32-pixel images.

It is named `small_residual:SmallResidual`, which a script in this folder can import. Weights files record that name,
but code is not imported on their word: whoever opens one gives the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit.models import AirbenchNet

LOGIT_SCALE = 1 / 9


class _Stage(nn.Module):
    """Convolution, 2x2 max-pooling, norm, GELU; then one basic block, GELU(x + norm(conv(GELU(norm(conv(x))))))."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.enter_norm = nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.enter_norm(F.max_pool2d(self.enter(x), 2)))
        inner = F.gelu(self.norm1(self.conv1(x)))
        return F.gelu(x + self.norm2(self.conv2(inner)))


class SmallResidual(nn.Module):
    """A trained 2x2 stem of 24 channels, three stages of 16, 64 and 64 channels, a global maximum and a linear head.

    The head has no bias, and its logits are divided by 9.
    """

    default_recipe: ClassVar[Mapping[str, object]] = {
        **AirbenchNet.default_recipe,
        "epochs": 6,
        "batch_size": 500,
        "lr": 0.5,
        "weight_decay": 0.0005,
        "norm_bias_lr": 4.0,
        "label_smoothing": 0.1,
    }

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 2)
        self.stages = nn.Sequential(_Stage(24, 16), _Stage(16, 64), _Stage(64, 64))
        self.head = nn.Linear(64, num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, H, W) -> logits (n, K)."""
        x = self.stages(F.gelu(self.stem(images)))
        logits: Tensor = self.head(x.amax(dim=(2, 3)) * LOGIT_SCALE)
        return logits
