"""Which layers erase may edit, found by following the data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unlearnkit.methods.erase.stages import Layout, find_stages
from unlearnkit.models import AirbenchNet, SmallCNN, build_model


class Tangled(nn.Module):
    """Pooling and an activation before BatchNorm, a sum before another, a shared and a grouped layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.behind, self.late = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.summed, self.sum_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, 3, groups=2, padding=1)
        self.twice = nn.Conv2d(4, 4, 1)
        self.grouped_norm, self.frozen = nn.GroupNorm(2, 4), nn.Linear(4, 6)
        self.head = nn.Linear(6, 3)
        self.frozen.weight.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        x = self.norm(torch.max_pool2d(self.first(images), 2))
        x = self.late(torch.relu_(self.behind(x)))
        x = self.sum_norm(x + self.summed(x))
        x = self.twice(self.twice(self.grouped_norm(self.grouped(x))))
        return self.head(self.frozen(x.mean(dim=(2, 3))))


def layout(model: nn.Module, channels: int = 1, size: int = 8) -> Layout:
    return find_stages(model, head="head", shape=(channels, size, size))


def test_stages_and_the_norms_behind_them_are_found_by_dataflow() -> None:
    model = Tangled().train()
    model.norm.eval()
    found = layout(model)
    assert [stage.name for stage in found.stages] == ["first", "behind", "summed"]
    assert [stage.norm for stage in found.stages] == [model.norm, None, None], (
        "a maximum passes a constant on, an activation does not, and a sum has two sources"
    )
    assert [stage.positions for stage in found.stages] == [64, 16, 16]
    assert [norm for _, norm in found.norms] == [model.norm, model.late, model.sum_norm]
    depths = [stage.depth for stage in found.stages]
    assert depths == sorted(depths)
    assert all(0 < depth < 1 for depth in depths)
    assert model.training
    assert not model.norm.training
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


def test_a_plain_network_gives_every_convolution_with_its_norm() -> None:
    model = AirbenchNet(10, width=8)
    found = layout(model, channels=3, size=32)
    assert [s.name for s in found.stages] == [f"groups.{g}.conv{i}" for g in range(3) for i in (1, 2)]
    assert all(stage.norm is not None for stage in found.stages)
    assert found.stages[-1].columns == 9 * 32


@pytest.mark.parametrize("share", [True, False])
def test_a_layer_that_another_shares_its_weights_with_is_no_stage(share: bool) -> None:
    model = SmallCNN(4, 1, width=4)
    if share:
        model.features[6].weight = model.features[3].weight = nn.Parameter(torch.randn(8, 8, 3, 3))
        model.features[3] = nn.Conv2d(4, 8, 3, padding=1, bias=False)
        model.other = nn.Conv2d(8, 8, 3)  # type: ignore[assignment]
        model.other.weight = model.features[6].weight
    assert ("features.6" in [stage.name for stage in layout(model).stages]) is not share


def test_a_norm_that_is_frozen_keeps_its_statistics() -> None:
    model = SmallCNN(4, 1, width=4)
    model.features[7].requires_grad_(False)
    assert model.features[7] not in [norm for _, norm in layout(model).norms]
    assert len(layout(model).norms) == 2


@pytest.mark.slow
def test_blocks_and_streams_of_residual_networks_are_stages_depthwise_convolutions_are_not() -> None:
    pytest.importorskip("timm")
    found = find_stages(build_model("resnet18-cifar", num_classes=4, in_channels=3), head="fc", shape=(3, 32, 32))
    assert len(found.stages) == 20
    assert all(stage.norm is not None for stage in found.stages)
    found = find_stages(
        build_model("timm:mobilenetv2_050", num_classes=4, in_channels=3), head="classifier", shape=(3, 64, 64)
    )
    assert not any("conv_dw" in stage.name for stage in found.stages)
    assert found.stages[-1].name == "conv_head"
    assert all(stage.norm is not None for stage in found.stages)
