"""Defines Plan: what erasure has found out before it changes anything.

Shapes: n images, G classes to forget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from unlearnkit.data.view import PartSamples
from unlearnkit.methods.erase.observe import Observed
from unlearnkit.methods.erase.stages import Layer, Layout, Stage


@dataclass(frozen=True)
class Plan:
    """What is known before the first edit.

    Args:
        model: it is as it was.
        head: its last layer.
        layout: what of it may be edited.
        stages: the layers that are to be.
        samples: retained images.
        seen: what the original does on them.
        looks: (n, G), how much each looks like each forgotten class, see `directions.resemblance`.
        may_show: (G,), what may show of each class, see `directions.showing`.
        along: (G,), what may show along the first, second, ... main direction: no less than noise would.
    """

    model: nn.Module
    head: Layer
    layout: Layout
    stages: Sequence[Stage]
    samples: PartSamples
    seen: Observed
    looks: Tensor
    may_show: Tensor
    along: Tensor
