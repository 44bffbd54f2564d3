"""The ensemble of sharded training: the mean of its networks' logits, by one head, under a name of its own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from unlearnkit.errors import ModelError
from unlearnkit.models import build_model, is_trusted_name
from unlearnkit.models.ensemble import Ensemble, check_ensemble
from unlearnkit.models.head import features, find_head, without_outputs
from unlearnkit.models.names import base_name, shards_of

SHAPE = (1, 8, 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small-cnn,width=4", "timm:test_vit,img_size=32"])
def test_its_logits_are_the_mean_and_its_head_is_one_layer(name: str) -> None:
    shape = (1, 32, 32) if "vit" in name else SHAPE
    networks = [build_model(name, num_classes=5, in_channels=1).eval() for _ in range(3)]
    images = torch.randn(2, *shape)
    with torch.no_grad():
        expected = torch.stack([network(images) for network in networks]).mean(dim=0)
        check_ensemble(networks[0], num_classes=5, shape=shape)
        ensemble = Ensemble(copy.deepcopy(networks), 5).eval()
        assert torch.allclose(ensemble(images), expected, atol=1e-5)
    assert find_head(ensemble, num_classes=5, shape=shape) == "head"
    assert features(ensemble, images, "head").shape == (2, ensemble.head.in_features)
    smaller = without_outputs(ensemble, [1], num_classes=5, shape=shape)
    with torch.no_grad():
        assert torch.allclose(smaller(images), expected[:, [0, 2, 3, 4]], atol=1e-5)
    named = build_model(f"sharded:3:{name}", num_classes=5, in_channels=1)
    named.load_state_dict(ensemble.state_dict())


class Halved(nn.Module):
    """Its logits are not those of its last Linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(images.flatten(1)) / 2 + 1
        return logits


def test_networks_whose_logits_it_cannot_average_are_refused() -> None:
    with pytest.raises(ModelError, match="whose logits are the output of a Linear layer"):
        check_ensemble(Halved(), num_classes=5, shape=SHAPE)
    with pytest.raises(ModelError, match="ends in a Linear layer with 5 outputs"):
        check_ensemble(nn.Sequential(nn.Conv2d(1, 5, 8), nn.Flatten()), num_classes=5, shape=SHAPE)


def test_a_name_is_trusted_as_far_as_that_of_its_networks_is() -> None:
    assert shards_of("sharded:12:timm:resnet18,act_layer=gelu") == (12, "timm:resnet18,act_layer=gelu")
    assert base_name("small-cnn") == "small-cnn"
    assert is_trusted_name("sharded:2:small-cnn")
    assert is_trusted_name("sharded:2:timm:resnet18")
    for name in (
        "sharded:2:os:system",
        "sharded:2:timm:hf-hub:a/b",
        "sharded:2:sharded:2:small-cnn",
        "sharded:0:small-cnn",
    ):
        assert not is_trusted_name(name), name
    assert not is_trusted_name("sharded:100000:small-cnn")
