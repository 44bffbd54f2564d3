"""A small perceptron without convolutions or normalisation, for benchmarks: images of 8 x 8 pixels, 6,800 weights.

It is named `small_mlp:SmallMLP`, which a script in this folder can import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

PIXELS = 64
HIDDEN = 48


class SmallMLP(nn.Module):
    """Two hidden layers of 48 units with ReLU, and a linear head."""

    default_recipe: ClassVar[Mapping[str, object]] = {"epochs": 20, "batch_size": 64, "lr": 0.05}

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()
        )
        self.head = nn.Linear(HIDDEN, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, 1, 8, 8) to logits (n, K)."""
        logits: Tensor = self.head(self.body(images))
        return logits
