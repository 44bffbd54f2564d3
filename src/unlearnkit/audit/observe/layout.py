"""Finds the image positions in a layer's output: maps with channels first or last, or tokens.

Shapes: n images, C channels, H x W pixels, h x w positions of a layer, T tokens, D features.
"""

from __future__ import annotations

import math

from torch import Tensor

Shape = tuple[int, int, int]  # (C, H, W) of the images

MOST_PREFIX = 8  # class and register tokens that may come before the tokens of the image


def pooled(output: Tensor, shape: Shape) -> Tensor:
    """Average a layer's output over its positions: (n, D) from maps, tokens or features; `shape` is the images'."""
    if output.dim() == 2:
        return output
    maps = as_map(output, shape)
    if maps is not None:
        return maps.float().mean(dim=(2, 3))
    return output.float().mean(dim=1) if output.dim() == 3 else output.float().flatten(1)


def as_map(output: Tensor, shape: Shape) -> Tensor | None:
    """Return a layer's output as maps (n, D, h, w), or None where it has no positions of the image.

    Of four dimensions those two are taken for h and w whose ratio is nearer to the images': the last two, or, channels
    last as in Swin, the middle two; the last two where both fit. Tokens (n, T, D) are laid out in the largest grid of
    whole patches that T has room for; up to `MOST_PREFIX` tokens before them, of classes and registers, are dropped.
    """
    if output.dim() == 4:
        first, last = (_misfit(output.shape[i], output.shape[i + 1], shape) for i in (2, 1))
        return output.movedim(3, 1) if last < first else output
    if output.dim() == 3:
        grid = token_grid(output.shape[1], shape)
        if grid is not None:
            patches = output[:, output.shape[1] - grid[0] * grid[1] :]
            return patches.transpose(1, 2).reshape(len(output), output.shape[2], *grid)
    return None


def token_grid(tokens: int, shape: Shape) -> tuple[int, int] | None:
    """Return rows and columns of the grid that this many patch tokens form; None where no square patch fits."""
    _, height, width = shape
    sides = range(1, min(height, width) + 1)
    grids = {(height // s, width // s) for s in sides} | {(-(-height // s), -(-width // s)) for s in sides}
    fitting = [grid for grid in grids if 0 <= tokens - grid[0] * grid[1] <= MOST_PREFIX]
    return max(fitting, key=lambda grid: grid[0] * grid[1], default=None)


def _misfit(rows: int, columns: int, shape: Shape) -> float:
    return abs(math.log(rows / columns) - math.log(shape[1] / shape[2]))
