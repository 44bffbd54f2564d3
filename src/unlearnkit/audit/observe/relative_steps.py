"""Moves every tensor of weights by a share of its own size, so that no scale plays a part.

An attacker can hide what a network knows from training at a fixed rate: filters that are 100 times as large before a
normalisation layer, or features 1000 times as large with a head 1000 times as small, compute the same function and
hardly move. Steps relative to the tensor's own norm are the same before and after such a change.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RelativeSteps:
    """Gradient descent with momentum whose step in a tensor is a share of the tensor's norm.

        b <- momentum b + g / ||g||,    w <- w - rate ||w|| b,

    for every parameter w with gradient g. Multiplying w by s > 0 where the function stays the same divides g by s, and
    the step is s times as large: the same change. A tensor of zeros has no scale, and stays.

    Source: relative steps are those of LARS, Y. You, I. Gitman, B. Ginsburg, "Large Batch Training of Convolutional
    Networks", arXiv 1708.03888, section 4, there with a global rate and weight decay.

    Args:
        model: whose trainable parameters are moved; others stay.
        rate: share of a tensor's norm, without momentum.
        momentum: of the unit gradients.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = layer.weight.copy_(torch.tensor([[3.0, 4.0]]))
    >>> steps = RelativeSteps(layer, rate=0.1)
    >>> layer(torch.tensor([[1.0, 0.0]])).sum().backward()
    >>> steps.step()
    >>> layer.weight.tolist()  # a tenth of the norm, against the gradient
    [[2.5, 4.0]]
    """

    def __init__(self, model: nn.Module, *, rate: float, momentum: float = 0.9) -> None:
        self.rate, self.momentum = rate, momentum
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._buffers: dict[int, Tensor] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every tensor that has a gradient."""
        for i, parameter in enumerate(self._parameters):
            if parameter.grad is None:
                continue
            norm = torch.linalg.vector_norm(parameter.grad)
            unit = torch.where(norm > 0, parameter.grad / norm, 0.0)
            buffer = self._buffers.get(i)
            buffer = unit if buffer is None else buffer.mul_(self.momentum).add_(unit)
            self._buffers[i] = buffer
            parameter.sub_(self.rate * torch.linalg.vector_norm(parameter) * buffer)
