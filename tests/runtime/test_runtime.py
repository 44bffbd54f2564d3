"""What `auto` decides for a model, and how images and weights are brought to it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from canonical import tiny_vit
from unlearnkit.errors import ConfigError
from unlearnkit.models import SmallCNN, build_model
from unlearnkit.runtime.runtime import Runtime

CPU = torch.device("cpu")


def capable(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True))


@pytest.mark.parametrize(
    ("names", "model", "side", "expected"),
    [
        (("avx512_bf16",), "small-cnn", 32, "bf16"),
        (("amx_bf16",), "small-cnn", 32, "bf16"),
        ((), "small-cnn", 32, "fp32"),
        (("avx512_bf16",), "small-cnn", 28, "fp32"),  # small images gain nothing
        (("avx512_bf16",), "torchvision:mobilenet_v2", 32, "fp32"),  # depthwise convolutions lose
    ],
)
def test_auto_precision_follows_fixed_rules(
    names: tuple[str, ...], model: str, side: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    capable(monkeypatch, *names)
    network = build_model(model, num_classes=4, in_channels=3)
    runtime = Runtime(device=CPU)
    assert runtime.fitted(network, (3, side, side)).precision == expected
    assert runtime.fitted(network, (3, side, side), exact=True).precision == "fp32"


def test_a_precision_that_is_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    capable(monkeypatch, "avx512_bf16")
    network = SmallCNN(4, 3)
    for precision in ("fp32", "bf16", "fp64"):
        for exact in (False, True):
            runtime = Runtime(device=CPU, precision=precision)
            assert runtime.fitted(network, (3, 32, 32), exact=exact).precision == precision


def test_a_model_in_float64_stays_in_float64() -> None:
    runtime = Runtime(device=CPU).fitted(SmallCNN(4, 1).double(), (1, 8, 8))
    assert runtime.precision == "fp64"
    assert runtime.inputs(torch.zeros(2, 1, 8, 8)).dtype == torch.float64


class Flattens(nn.Module):
    """`view` on feature maps, as many a network of one's own does it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4 * 64, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.convolution(images)
        return self.head(x.view(len(x), -1))


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (SmallCNN(4, 3), (3, 8, 8), True),
        (Flattens(), (3, 8, 8), False),
        (tiny_vit(1), (1, 8, 8), True),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), (1, 8, 8), False),
    ],
)
def test_channels_last_where_the_model_takes_it(model: nn.Module, shape: tuple[int, int, int], expected: bool) -> None:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    runtime = Runtime(device=CPU).fitted(model, shape)
    assert runtime.channels_last is expected
    assert modes == [m.training for m in model.modules()]
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    images = runtime.inputs(torch.randn(2, *shape))
    assert images.is_contiguous(memory_format=torch.channels_last) or not expected
    model(images)


def test_the_layout_does_not_change_what_a_model_says() -> None:
    model = SmallCNN(4, 3).eval()
    images = torch.randn(6, 3, 16, 16)
    runtime = Runtime(device=CPU, precision="fp32").fitted(model, (3, 16, 16))
    torch.testing.assert_close(model(runtime.inputs(images)), model(images), rtol=1e-5, atol=1e-6)


def test_what_was_decided_is_told() -> None:
    told = Runtime(device=CPU).fitted(SmallCNN(4, 1), (1, 8, 8)).described()
    assert told.pop("threads") == torch.get_num_threads()
    assert told == {"device": "cpu", "precision": "fp32", "channels_last": True, "compile": False, "processes": 1}


@pytest.mark.parametrize("bad", [{"precision": "fp8"}, {"eval_batch_size": 0}, {"micro_batch_size": 0}])
def test_bad_values_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"Expected .* but got"):
        Runtime(device=CPU, **bad)  # type: ignore[arg-type]
