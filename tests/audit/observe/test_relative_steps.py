"""Steps that are shares of a tensor's own norm, held against the formula in plain numbers."""

from __future__ import annotations

import torch
from torch import nn

from unlearnkit.audit.observe.relative_steps import RelativeSteps


def test_three_steps_follow_the_formula_and_a_tensor_without_gradient_stays() -> None:
    layer = nn.Linear(3, 2).double()
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    steps, gathered = RelativeSteps(layer, rate=0.1, momentum=0.5), torch.zeros_like(weight)
    for i in range(3):
        gradient = torch.arange(6.0).reshape(2, 3).double() - 2 * i
        layer.weight.grad = gradient.clone()
        steps.step()
        gathered = 0.5 * gathered + gradient / gradient.square().sum().sqrt()
        weight -= 0.1 * weight.square().sum().sqrt() * gathered
        torch.testing.assert_close(layer.weight.detach(), weight)
    assert torch.equal(layer.bias.detach(), bias)
    layer.weight.grad = torch.zeros_like(weight)  # of no direction: what is gathered goes on
    steps.step()
    torch.testing.assert_close(layer.weight.detach(), weight - 0.1 * weight.square().sum().sqrt() * 0.5 * gathered)
