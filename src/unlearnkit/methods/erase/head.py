"""Finds the head, and fits it to edited features: retained classes keep their scores, others get the lowest of them.

Shapes: n images, D features at the head's input, K classes, G classes that are gone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unlearnkit.errors import ModelError
from unlearnkit.methods.erase.refit import LeastSquares
from unlearnkit.methods.erase.stages import Layer
from unlearnkit.models.head import own_head

KEPT_RIDGE = 0.1  # of the retained rows, see `LeastSquares`


def readable_head(model: nn.Module, name: str) -> Layer:
    """Return the head of that name.

    Raises:
        ModelError: it has several weights for a feature, as a convolution wider than one pixel.
    """
    head = own_head(model, name)
    if isinstance(head, nn.Conv2d) and head.kernel_size != (1, 1):
        raise ModelError(
            f"Expected a head of one weight for each feature, which erase reads, but {name!r} is a convolution "
            f"of {head.kernel_size}; choose unsir, which trains whatever may change."
        )
    return head


@torch.no_grad()
def fit_head(head: Layer, features_nD: Tensor, scores_nK: Tensor, gone: Sequence[int], ridge: float) -> None:
    """Overwrite the head's rows by ridge regressions on the edited features.

    The rows of retained classes give the original's scores again, as far as the features let them, and stay near what
    they were. Those of `gone` give what the least likely retained class gets, image by image (the lowest score of all
    where a single class is retained), near the mean of the retained rows: a retrained model never saw these classes,
    and its scores for them are as low as that of any class an image is surely not of. The bias is fitted with them
    where the head has one that is free.

    Args:
        head: its last layer.
        features_nD: of the edited model.
        scores_nK: of the original.
        gone: class ids.
        ridge: of the rows of `gone`, see `LeastSquares`.
    """
    rows, bias = head.weight.flatten(1).clone(), head.bias
    kept = [k for k in range(len(rows)) if k not in set(gone)]
    free = bias is not None and bias.requires_grad
    lowest_n1 = (scores_nK[:, kept] if len(kept) > 1 else scores_nK).amin(dim=1, keepdim=True)
    start = None if bias is None else torch.cat([bias[kept], bias[kept].mean(dim=0, keepdim=True)])
    squares = LeastSquares(torch.cat([rows[kept], rows[kept].mean(dim=0, keepdim=True)]), start, intercept=free)
    squares.add(features_nD, torch.cat([scores_nK[:, kept], lowest_n1], dim=1))
    (kept_weight, kept_bias), (low_weight, low_bias) = squares.solve(KEPT_RIDGE), squares.solve(ridge)
    rows[kept], rows[list(gone)] = kept_weight[:-1].to(rows), low_weight[-1].to(rows)
    head.weight.copy_(rows.reshape(head.weight.shape))
    if bias is not None and free:
        bias[kept], bias[list(gone)] = kept_bias[:-1].to(bias), low_bias[-1].to(bias)
