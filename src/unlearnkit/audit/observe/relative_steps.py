"""Moves the weights of every layer by a share of their own size, so that no scale plays a part.

An attacker can hide what a network knows from training at a fixed rate: filters that are 100 times as large before a
normalisation layer, or features 1000 times as large with a head 1000 times as small, compute the same function and
hardly move. Steps relative to the layer's own norm are the same before and after such a change.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RelativeSteps:
    """Gradient descent with momentum whose step in a layer is a share of the norm of the layer's weights.

        b_l <- momentum b_l + g_l / ||g_l||,    w_l <- w_l - rate ||w_l|| b_l,

    with w_l all parameters of one module together (weight and bias) and g_l their gradient. Multiplying w_l by s > 0
    where the function stays the same divides g_l by s, and the step is s times as large: the same change.

    Source: relative steps are those of LARS, Y. You, I. Gitman, B. Ginsburg, "Large Batch Training of Convolutional
    Networks", arXiv 1708.03888, section 4, there by tensor and added to a global rate.

    Args:
        model: whose trainable parameters are moved; others stay.
        rate: share of a layer's norm, without momentum.
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
        own = [[p for p in module.parameters(recurse=False) if p.requires_grad] for module in model.modules()]
        seen: set[int] = set()  # weights that two modules share move once
        self._layers: list[list[nn.Parameter]] = []
        for parameters in own:
            new = [p for p in parameters if id(p) not in seen]
            seen |= {id(p) for p in new}
            self._layers += [new] if new else []
        self._buffers: dict[int, Tensor] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameters in self._layers:
            for parameter in parameters:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every layer that has a gradient."""
        for i, parameters in enumerate(self._layers):
            moved = [p for p in parameters if p.grad is not None]
            if not moved:
                continue
            gradient = torch.cat([p.grad.flatten() for p in moved if p.grad is not None])
            norm = gradient.norm()
            unit = gradient / norm if norm > 0 else torch.zeros_like(gradient)
            buffer = self._buffers.get(i)
            buffer = unit if buffer is None else self.momentum * buffer + unit
            self._buffers[i] = buffer
            size = torch.stack([p.norm() for p in moved]).norm()
            for parameter, part in zip(moved, buffer.split([p.numel() for p in moved]), strict=True):
                parameter.sub_(self.rate * size * part.view_as(parameter))
