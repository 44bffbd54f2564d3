"""Tests for the weights' scale: the root mean square that rates are given in proportion to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from canonical import MODELS
from unlearnkit.errors import ConfigError
from unlearnkit.methods.common.weight_scale import weight_scale


@pytest.mark.parametrize("kind", MODELS)
def test_the_weight_scale_is_the_root_mean_square_of_matrices_and_kernels(kind: str) -> None:
    model = MODELS[kind].model()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2:
                parameter.fill_(1e6)  # biases and normalisation are left out
    weights = np.concatenate([p.detach().numpy().ravel() for p in model.parameters() if p.dim() >= 2])
    assert weight_scale(model, instead="") == pytest.approx(float(np.sqrt((weights.astype(np.float64) ** 2).mean())))


def test_without_a_scale_the_error_says_what_the_method_offers_instead() -> None:
    model = MODELS["cnn-grey"].model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with pytest.raises(ConfigError, match=r"but the model has none; give repair\.lr\.$"):
        weight_scale(model, instead="give repair.lr")
