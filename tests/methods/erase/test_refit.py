"""The streamed least squares of erase, against numpy's, and the rows that a layer's outputs are made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unlearnkit.methods.erase import refit
from unlearnkit.methods.erase.refit import LeastSquares, input_rows, output_rows

D, C, R = 12, 5, 90


def rows(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(R, D, generator=generator) + 3, torch.randn(R, C, generator=generator)


def by_numpy(inputs: Tensor, outputs: Tensor, start: Tensor, ridge: float, *, intercept: bool) -> np.ndarray:
    """Ridge towards the start as plain least squares with one more row for each input."""
    x, y = inputs.double().numpy(), outputs.double().numpy()
    if intercept:
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    root = np.sqrt(ridge * np.square(x).sum(axis=0).mean())
    longer, targets = np.vstack([x, root * np.eye(D)]), np.vstack([y, root * start.double().numpy().T])
    return np.linalg.lstsq(longer, targets, rcond=None)[0].T


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("widest", [4608, 60])
@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_the_fit_is_numpys(intercept: bool, widest: int, ridge: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one piece or streamed; by the Gram matrix or, of a wide layer, by its dual on the rows that are kept."""
    if widest < 4608:
        monkeypatch.setattr(refit, "WIDEST", 8)  # fewer than the columns
    inputs, outputs = rows()
    start, bias = torch.randn(C, D, generator=torch.Generator().manual_seed(1)), torch.zeros(C)
    squares = LeastSquares(start, bias, intercept=intercept)
    for part in torch.arange(R).split(17):
        squares.add(inputs[part], outputs[part])
    used = R if widest == 4608 else 8
    assert squares.rows == used
    weight, shift = squares.solve(ridge)
    wanted = by_numpy(inputs[:used], outputs[:used], start, ridge, intercept=intercept)
    assert np.allclose(weight.numpy(), wanted, atol=1e-4)
    left = (outputs[:used] - inputs[:used] @ weight.float().T).mean(dim=0)
    assert torch.allclose(shift.float(), left if intercept else bias, atol=1e-4)


def test_a_large_ridge_keeps_the_weights() -> None:
    inputs, outputs = rows()
    start = torch.randn(C, D, generator=torch.Generator().manual_seed(1))
    squares = LeastSquares(start, None, intercept=True)
    squares.add(inputs, outputs)
    assert torch.allclose(squares.solve(1e9)[0].float(), start, atol=1e-5)


def test_memory_does_not_grow_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    for widest in (4608, 8):
        monkeypatch.setattr(refit, "WIDEST", widest)
        squares = LeastSquares(torch.zeros(C, D), None, intercept=True)
        before = squares.bytes
        for _ in range(5):
            squares.add(*rows())
        held = sum(t.numel() for pair in squares._kept for t in pair)
        assert squares.bytes == before == 4 * min(D, widest) * (D + C)
        assert 4 * held <= squares.bytes


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), bias=False),
        nn.Conv2d(3, 4, 3, padding="same", padding_mode="reflect"),
        nn.Conv2d(3, 4, 1, stride=2),
    ],
    ids=["padded", "strided", "reflected", "pointwise"],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_the_rows_of_a_convolution_give_its_outputs(layer: nn.Conv2d, layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, 7, 8, generator=generator).to(memory_format=layout)
    output = layer(images)
    chosen = torch.randint(output[0, 0].numel(), (3, 5), generator=generator)
    inputs, wanted = input_rows(layer, images, chosen), output_rows(layer, output, chosen)
    bias = 0 if layer.bias is None else layer.bias
    assert inputs.shape == (15, layer.weight[0].numel())
    assert torch.allclose(inputs @ layer.weight.flatten(1).T + bias, wanted, atol=1e-5)


@torch.no_grad()
def test_the_rows_of_a_linear_layer_are_tokens() -> None:
    layer, generator = nn.Linear(6, 4), torch.Generator().manual_seed(0)
    tokens = torch.randn(3 * 2, 5, 6, generator=generator)  # two windows of an image, one after the other
    chosen = torch.randint(10, (3, 4), generator=generator)
    inputs, outputs = input_rows(layer, tokens, chosen), output_rows(layer, layer(tokens), chosen)
    assert torch.allclose(layer(inputs), outputs, atol=1e-6)
    assert torch.equal(inputs[0], tokens[int(chosen[0, 0]) // 5, int(chosen[0, 0]) % 5])
