"""Fits the head's rows of forgotten classes to the lowest of the retained classes' scores.

Shapes: n images, D features at the head's input, K classes, G classes that are gone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unlearnkit.methods.erase.refit import LeastSquares
from unlearnkit.methods.erase.stages import Layer


@torch.no_grad()
def fit_rows(head: Layer, features_nD: Tensor, scores_nK: Tensor, gone: Sequence[int], ridge: float) -> None:
    """Overwrite the rows of `gone`, so that they give what the least likely retained class gets, image by image.

    A retrained model never saw these classes: its scores for them are as low as that of any class an image is surely
    not of. The rows are a ridge regression of min over retained classes of the original's score on the edited features,
    near the mean of the retained rows; the bias is fitted with them where the head has one that is free.

    Args:
        head: its other rows stay as they are.
        features_nD: of the edited model.
        scores_nK: of the original.
        gone: class ids.
        ridge: see `LeastSquares`.
    """
    kept = [k for k in range(len(head.weight)) if k not in set(gone)]
    bias = head.bias
    start = None if bias is None else bias[kept].mean(dim=0, keepdim=True)
    fitted = bias is not None and bias.requires_grad
    squares = LeastSquares(head.weight[kept].mean(dim=0, keepdim=True), start, intercept=fitted)
    squares.add(features_nD, scores_nK[:, kept].amin(dim=1, keepdim=True))
    weight_1D, bias_1 = squares.solve(ridge)
    for k in gone:
        head.weight[k] = weight_1D[0].reshape(head.weight[k].shape).to(head.weight)
        if bias is not None and fitted:
            bias[k] = bias_1[0].to(bias)
