"""Implements Lookahead: every few steps, the trained weights are pulled to a slow average of themselves."""

from __future__ import annotations

import torch
from torch import nn

EVERY = 5  # steps between two pulls
DECAY = 0.95**EVERY  # of the slow average, at the end of training


class Lookahead:
    r"""Slow weights \(s\) that follow the weights \(w\) in training, which then go on from them.

    Every 5 steps \(s \leftarrow d s + (1 - d) w\), \(w \leftarrow s\), where \(d = 0.95^5 (t / T)^3\) at step t of T:
    nothing is held back at first, three quarters of the way at last. Training ends with \(w = s\), without the steps
    after the last pull. Buffers of floating-point type (BatchNorm's statistics) are averaged with the weights.

    Source: M. Zhang, J. Lucas, G. Hinton, J. Ba, "Lookahead Optimizer: k steps forward, 1 step back", NeurIPS 2019
    (arXiv 1907.08610); the rising decay from K. Jordan, 2024 (arXiv 2404.00498), section 3.4.

    Args:
        model: whose trainable weights and buffers are averaged, in place.
        steps: number T of training steps.
    """

    def __init__(self, model: nn.Module, steps: int) -> None:
        tensors = [*(p for p in model.parameters() if p.requires_grad), *model.buffers()]
        self._fast = [t.detach() for t in tensors if t.is_floating_point()]
        self.slow = [t.clone() for t in self._fast]
        self._steps = steps

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Pull the weights to the slow ones, if this is due after `step` steps (1 to T)."""
        if step % EVERY == 0:
            decay = DECAY * (step / self._steps) ** 3
            for fast, slow in zip(self._fast, self.slow, strict=True):
                fast.copy_(slow.lerp_(fast, 1 - decay))
        elif step == self._steps > EVERY:  # what was learned since the last pull has not been averaged
            for fast, slow in zip(self._fast, self.slow, strict=True):
                fast.copy_(slow)
