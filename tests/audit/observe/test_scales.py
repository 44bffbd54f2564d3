"""Canonical scales and relative steps: what computes the same function is trained the same way."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit.audit.observe.relative_steps import RelativeSteps
from unlearnkit.audit.observe.scales import unit_filters
from unlearnkit.network import evaluating


class Net(nn.Module):
    """Convolution, pooling, norm and activation twice; then a convolution that no norm follows, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8)
        self.conv3 = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        first = F.gelu(self.norm1(F.max_pool2d(self.conv1(images), 2)))
        second = F.relu(self.norm2(self.conv2(first)))
        return self.head(F.relu(self.conv3(second)).mean(dim=(2, 3)))  # type: ignore[no-any-return]


def network() -> Net:
    torch.manual_seed(0)
    model = Net()
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(images())
    return model.eval()


def images(seed: int = 1) -> Tensor:
    return torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def test_filters_before_a_norm_are_found_by_trying_and_get_norm_1() -> None:
    model = network()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    with torch.no_grad():
        expected = model(images())
    model.load_state_dict(before)
    assert unit_filters(model.eval(), images()) == ["conv1", "conv2"]
    for layer in (model.conv1, model.conv2):
        torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), torch.ones(len(layer.weight)))
    assert torch.equal(model.conv3.weight, before["conv3.weight"])
    assert torch.equal(model.norm1.running_var, before["norm1.running_var"])
    assert not model.training
    model.train()
    torch.testing.assert_close(model(images()), expected, rtol=0.01, atol=0.01)


def test_an_unused_filter_stays_0() -> None:
    model = network()
    with torch.no_grad():
        model.conv1.weight[2] = 0
    unit_filters(model, images())
    assert not model.conv1.weight[2].any()


def steps(model: nn.Module, count: int, rate: float = 0.01) -> Tensor:
    """The model's outputs after a few steps."""
    learner = copy.deepcopy(model)
    relative = RelativeSteps(learner, rate=rate)
    learner.train()
    for i in range(count):
        loss = F.cross_entropy(learner(images(i)), torch.arange(32) % 4)
        relative.zero_grad()
        loss.backward()
        relative.step()
    with torch.no_grad():
        return learner(images(99))  # type: ignore[no-any-return]


def larger_filters(model: Net) -> None:
    model.conv1.weight.mul_(100)
    model.conv1.bias.mul_(100)


def larger_features(model: Net) -> None:
    model.conv3.weight.mul_(1000)
    model.conv3.bias.mul_(1000)
    model.head.weight.mul_(1 / 1000)


@pytest.mark.parametrize("change", [larger_filters, larger_features])
def test_the_same_function_in_another_scale_is_trained_the_same_way(change: Callable[[Net], None]) -> None:
    model = network()
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        change(scaled)
    torch.testing.assert_close(steps(scaled, 5), steps(model, 5), rtol=1e-2, atol=1e-3)
    assert (steps(model, 5) - steps(model, 0)).abs().max() > 0.05  # and it is trained


def test_filters_of_one_layer_in_different_scales_are_equal_once_canonical() -> None:
    model, scaled = network(), network()
    with torch.no_grad():
        scaled.conv2.weight.mul_(torch.logspace(-1, 3, 8)[:, None, None, None])
        scaled.conv2.bias.mul_(torch.logspace(-1, 3, 8))
    for net in (model, scaled):
        with evaluating(net):
            unit_filters(net, images())
    torch.testing.assert_close(steps(scaled, 5), steps(model, 5), rtol=0.02, atol=0.02)


def test_a_layer_without_a_gradient_stays() -> None:
    model = network()
    frozen = model.conv1.requires_grad_(False).weight.clone()
    relative = RelativeSteps(model, rate=0.1)
    F.cross_entropy(model(images()), torch.arange(32) % 4).backward()
    relative.step()
    assert torch.equal(model.conv1.weight, frozen)
    relative.zero_grad()
    assert all(p.grad is None for p in model.parameters())
