"""Fits a layer's weights by ridge least squares, streamed: one Gram matrix, whatever the number of samples.

Shapes: n images, q positions drawn of each, R = n q rows, D columns (inputs of one output), C outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit.methods.erase.stages import Layer

WIDEST = 4608  # columns of a Gram matrix, at most (85 MB); of a wider layer as many rows are kept instead
STRIPE = 128  # columns of it that are summed at a time


def input_rows(layer: Layer, inputs: Tensor, chosen_nq: Tensor) -> Tensor:
    """Return what the layer's outputs at the chosen positions are computed from, (R, D) float.

    Args:
        layer: a convolution without groups, or a linear layer.
        inputs: (n, C, H, W), or (..., D) whose rows belong to the images in order.
        chosen_nq: positions of the output, int64.
    """
    images, places = len(chosen_nq), chosen_nq.to(inputs.device)
    rows = torch.arange(images, device=inputs.device)[:, None]
    if isinstance(layer, nn.Linear):
        return inputs.reshape(images, -1, inputs.shape[-1])[rows, places].flatten(0, 1).float()
    if any(layer._reversed_padding_repeated_twice):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        inputs = F.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode)
    (kernel_h, kernel_w), (step_h, step_w), (far_h, far_w) = layer.kernel_size, layer.stride, layer.dilation
    height = (inputs.shape[2] - far_h * (kernel_h - 1) - 1) // step_h + 1
    width = (inputs.shape[3] - far_w * (kernel_w - 1) - 1) // step_w + 1
    image, channel, down, right = inputs.stride()
    windows = inputs.as_strided(
        (images, height, width, inputs.shape[1], kernel_h, kernel_w),
        (image, step_h * down, step_w * right, channel, far_h * down, far_w * right),
    )
    return windows[rows, places // width, places % width].flatten(0, 1).flatten(1).float()


def output_rows(layer: Layer, output: Tensor, chosen_nq: Tensor) -> Tensor:
    """Return the layer's outputs at the chosen positions, (R, C) float."""
    images, places = len(chosen_nq), chosen_nq.to(output.device)
    rows = torch.arange(images, device=output.device)[:, None]
    if isinstance(layer, nn.Linear):
        return output.reshape(images, -1, output.shape[-1])[rows, places].flatten(0, 1).float()
    return output[rows, :, places // output.shape[3], places % output.shape[3]].flatten(0, 1).float()


class LeastSquares:
    """Sums up rows, then solves for weights near the given ones.

        minimise  sum over rows of |y - W x - b|^2  +  lambda |W - W_0|^2,   lambda = ridge * mean diagonal of the Gram
        matrix of the (centred) inputs

    The ridge holds the weights to what they are and not to zero, so that few rows move them little. Up to `WIDEST`
    columns the Gram matrix is summed; of a wider layer the rows themselves are kept, at most as many, and the dual
    problem is solved, which has the same solution on these rows. Either way memory does not grow with the samples.

    Args:
        weight: (C, D), W_0.
        bias: (C,) or None for zeros.
        intercept: whether b is fitted; if not, it stays as it is.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, intercept: bool) -> None:
        self._weight = weight.detach().flatten(1).float()
        self._bias = self._weight.new_zeros(len(weight)) if bias is None else bias.detach().float()
        self._intercept = intercept
        self.columns = self._weight.shape[1]
        self.rows = 0
        self._wide = self.columns > WIDEST
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._shift: Tensor | None = None

    @property
    def bytes(self) -> int:
        """Memory of what is summed or kept."""
        width = min(self.columns, WIDEST)
        return 4 * width * (self.columns + len(self._weight))

    def add(self, inputs_RD: Tensor, outputs_RC: Tensor) -> None:
        """Take more rows."""
        left_RC = outputs_RC - inputs_RD @ self._weight.T - self._bias
        if self._wide:
            room = WIDEST - self.rows
            self._kept.append((inputs_RD[:room], left_RC[:room]))
            self.rows += len(self._kept[-1][0])
            return
        if self._shift is None:  # near the mean, so that the sums of squares do not cancel
            self._shift = inputs_RD.mean(dim=0) if self._intercept else inputs_RD.new_zeros(self.columns)
            self._gram = inputs_RD.new_zeros(self.columns, self.columns)
            self._cross = inputs_RD.new_zeros(self.columns, left_RC.shape[1])
            self._inputs, self._left = inputs_RD.new_zeros(self.columns), left_RC.new_zeros(left_RC.shape[1])
        inputs_RD = inputs_RD - self._shift
        for first in range(0, self.columns, STRIPE):  # the lower triangle, as the other one is its mirror image
            stripe = slice(first, first + STRIPE)
            self._gram[first:, stripe].addmm_(inputs_RD[:, first:].T, inputs_RD[:, stripe])
        self._cross.addmm_(inputs_RD.T, left_RC)
        self._inputs += inputs_RD.sum(dim=0)
        self._left += left_RC.sum(dim=0)
        self.rows += len(inputs_RD)

    def solve(self, ridge: float) -> tuple[Tensor, Tensor]:
        """Return the weights (C, D) and the bias (C,), in float64 on the CPU."""
        change_DC, inputs_D, left_C = self._dual(ridge) if self._wide else self._primal(ridge)
        weight = self._weight.cpu().double() + change_DC.T
        bias = self._bias.cpu().double()
        return weight, bias + left_C - change_DC.T @ inputs_D if self._intercept else bias

    def _primal(self, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
        assert self._shift is not None
        gram, cross = self._gram.cpu().double(), self._cross.cpu().double()
        inputs, left = self._inputs.cpu().double() / self.rows, self._left.cpu().double() / self.rows
        if self._intercept:
            gram = gram - self.rows * torch.outer(inputs, inputs)
            cross = cross - self.rows * torch.outer(inputs, left)
        penalty = ridge * gram.diagonal().mean().clamp_min(1e-12)
        gram.diagonal().add_(penalty)  # of the rest the factorisation reads the lower triangle alone
        change = torch.cholesky_solve(cross, torch.linalg.cholesky(gram))
        return change, inputs + self._shift.cpu().double(), left

    def _dual(self, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
        inputs_RD, left_RC = (torch.cat(parts).cpu().double() for parts in zip(*self._kept, strict=True))
        mean_D, mean_C = inputs_RD.mean(dim=0), left_RC.mean(dim=0)
        if self._intercept:
            inputs_RD, left_RC = inputs_RD - mean_D, left_RC - mean_C
        penalty = ridge * inputs_RD.square().sum().div(self.columns).clamp_min(1e-12)
        kernel = inputs_RD @ inputs_RD.T
        kernel.diagonal().add_(penalty)
        change = inputs_RD.T @ torch.cholesky_solve(left_RC, torch.linalg.cholesky(kernel))
        return change, mean_D, mean_C
