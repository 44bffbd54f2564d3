"""benchmarks/small_maps.py: convolutions on small maps, written as matrix products, are what they replace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from small_maps import small_maps


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"bias": True}, {"groups": 2}, {"padding": 0}, {"padding_mode": "reflect"}])
def test_outputs_and_gradients_are_those_of_the_convolution(size: int, stride: int, options: dict[str, object]) -> None:
    generator = torch.Generator().manual_seed(0)
    settings = {"padding": 1, "bias": False, **options}
    conv = nn.Conv2d(4, 6, 3, stride=stride, **settings).double()  # type: ignore[arg-type]
    if (settings["padding"] == 0 and size < 3) or (options.get("padding_mode") and size < 2):
        pytest.skip("the kernel does not fit")
    given = torch.randn(5, 4, size, size, generator=generator, dtype=torch.float64)

    def through(forward: object) -> list[Tensor]:
        images = given.clone().requires_grad_()
        conv.zero_grad()
        seen = forward(conv, images, conv.weight, conv.bias)  # type: ignore[operator]
        (seen * torch.arange(seen.numel()).view_as(seen)).sum().backward()
        assert images.grad is not None
        assert conv.weight.grad is not None
        return [seen.detach(), images.grad, conv.weight.grad.clone()]

    for mine, theirs in zip(through(small_maps), through(nn.Conv2d._conv_forward), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-10)


def test_small_maps_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or there would be nothing to compare above."""
    monkeypatch.setattr("small_maps._plain", lambda *_: pytest.fail("the long way"))
    conv = nn.Conv2d(4, 6, 3, padding=1, bias=False)
    for size in (1, 2):
        small_maps(conv, torch.zeros(5, 4, size, size), conv.weight, None)
