"""Grad-CAM against captum and against gradients by hand, and the layer that it is taken of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from canonical import TinyViT
from unlearnkit.audit.observe.grad_cam import attention_layer, enlarged, grad_cam
from unlearnkit.errors import ModelError
from unlearnkit.models import SmallCNN

K = 4
SHAPE = (3, 16, 16)
VIT: dict[str, Any] = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": K}


class TwoLayers(nn.Module):
    """A convolution, whose maps are averaged, and a head: the gradient is known."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 5, 3, padding=1), nn.Linear(5, K)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.conv(images).mean(dim=(2, 3)))


class InPlace(TwoLayers):
    """What follows the convolution overwrites its output."""

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.conv(images).relu_().square().mean(dim=(2, 3)))


class ChannelsLast(TwoLayers):
    """The same as `InPlace`, and the maps of `turned` have their channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.turned = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.turned(self.conv(images).movedim(1, 3)).relu_().square().mean(dim=(1, 2)))


class Tokens(TwoLayers):
    """The same as tokens, after one of the class."""

    def __init__(self) -> None:
        super().__init__()
        self.turned = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.conv(images).flatten(2).transpose(1, 2)
        tokens = self.turned(torch.cat([torch.ones_like(tokens[:, :1]), tokens], dim=1))
        return self.head(tokens[:, 1:].relu().square().mean(dim=1) + 0 * tokens[:, 0])


def build(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(3)
    return kind().eval()


def pictures(n: int, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


def test_two_layers_by_hand() -> None:
    model, images = build(TwoLayers), pictures(6)
    maps = model.conv(images).detach()
    # the logit is W mean(A) + b, so that every weight w_d is W_kd / (h w)
    raw = torch.einsum("d,ndhw->nhw", model.head.weight[2].detach(), maps).clamp_min(0)
    expected = raw / raw.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(grad_cam(model, images, "conv", 2), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [InPlace, lambda: SmallCNN(K, 3, width=4)], ids=["in-place", "small-cnn"])
def test_it_agrees_with_captum(kind: Callable[[], nn.Module]) -> None:
    captum = pytest.importorskip("captum.attr")
    model, images, targets = build(kind), pictures(5), torch.tensor([0, 3, 1, 1, 2])
    layer = attention_layer(model, num_classes=K, shape=SHAPE)
    raw = captum.LayerGradCam(model, model.get_submodule(layer)).attribute(images, targets, relu_attributions=True)
    raw = raw.detach()[:, 0]
    peak = raw.amax(dim=(1, 2), keepdim=True)
    expected = torch.where(peak > 0, raw / peak, torch.zeros_like(raw))
    torch.testing.assert_close(grad_cam(model, images, layer, targets), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [ChannelsLast, Tokens])
def test_other_layouts_give_the_maps_of_channels_first(kind: Callable[[], nn.Module]) -> None:
    model, images = build(kind), pictures(4)
    twin = build(InPlace)
    twin.load_state_dict(model.state_dict())
    assert attention_layer(model, num_classes=K, shape=SHAPE) == "turned"
    torch.testing.assert_close(grad_cam(model, images, "turned", 1), grad_cam(twin, images, "conv", 1))


def test_maps_are_in_the_unit_interval_and_of_each_image_alone() -> None:
    model, images = build(lambda: SmallCNN(K, 3, width=4)), pictures(6)
    layer = attention_layer(model, num_classes=K, shape=SHAPE)
    maps = grad_cam(model, images, layer, 0)
    assert maps.dtype == torch.float32
    assert maps.min() >= 0
    assert set(maps.amax(dim=(1, 2)).tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(torch.cat([grad_cam(model, image[None], layer, 0) for image in images]), maps)
    torch.testing.assert_close(grad_cam(model, 3.0 * images, layer, 0).shape, maps.shape)
    large = enlarged(maps, SHAPE)
    assert large.shape == (6, 16, 16)
    assert large.min() >= 0
    assert large.max() <= 1


def test_nothing_for_the_class_is_a_zero_map() -> None:
    model = build(TwoLayers)
    with torch.no_grad():
        model.head.weight[1] = 0
    assert not grad_cam(model, pictures(3), "conv", 1).any()
    assert grad_cam(model, pictures(3), "conv", 0).any()


def test_a_constant_logit_is_a_zero_map() -> None:
    class Masked(TwoLayers):
        def forward(self, images: Tensor) -> Tensor:
            return torch.full_like(super().forward(images), -1e9).detach()

    assert not grad_cam(build(Masked), pictures(2), "conv", 0).any()


def test_the_model_is_left_as_it_was() -> None:
    model = build(lambda: SmallCNN(K, 3, width=4)).train()
    next(model.parameters()).requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    images = pictures(3)
    with torch.inference_mode():
        layer = attention_layer(model, num_classes=K, shape=SHAPE)
        maps = grad_cam(model, images, layer, 0)
    assert not maps.requires_grad
    assert not images.requires_grad
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "shape", "layer"),
    [
        (lambda: SmallCNN(K, 3, width=4), SHAPE, "features"),
        (lambda: timm.create_model("resnet18", channels=(8, 12, 16, 20), num_classes=K), (3, 64, 64), "layer4"),
        (
            lambda: timm.create_model("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 8, 8), num_classes=K),
            (3, 64, 64),
            "norm_pre",
        ),
        # of the last block only the class token matters
        (lambda: timm.create_model("vit_tiny_patch16_224", **VIT), SHAPE, "blocks.1"),
        (lambda: timm.create_model("vit_tiny_patch16_224", global_pool="avg", **VIT), SHAPE, "norm"),
        # its head begins with zeros
        (
            lambda: torchvision.models.VisionTransformer(16, 4, 3, 2, 16, 32, num_classes=K),
            SHAPE,
            "encoder.layers.encoder_layer_1",
        ),
        (lambda: TinyViT(K, 3), (3, 8, 8), "block.norm1"),
        (
            lambda: timm.create_model(
                "swin_tiny_patch4_window7_224",
                img_size=32,
                window_size=4,
                embed_dim=16,
                depths=(1, 1),
                num_heads=(1, 1),
                num_classes=K,
            ),
            (3, 32, 32),
            "norm",
        ),
    ],
    ids=["small-cnn", "resnet18", "convnext", "vit", "vit-average", "torchvision-vit", "tiny-vit", "swin"],
)
def test_the_last_layer_with_positions(kind: Callable[[], nn.Module], shape: tuple[int, int, int], layer: str) -> None:
    model = build(kind)
    assert attention_layer(model, num_classes=K, shape=shape) == layer
    maps = grad_cam(model, pictures(2, shape), layer, 1)
    assert len(maps) == 2
    assert maps.dim() == 3


def test_layers_without_positions_are_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 6), nn.Linear(6, K))
    images = pictures(2, (3, 4, 4))
    with pytest.raises(ModelError, match="a layer with positions"):
        attention_layer(model, num_classes=K, shape=(3, 4, 4))
    with pytest.raises(ModelError, match="positions of the image"):
        grad_cam(model, images, "1", 0)
    with pytest.raises(ModelError, match="layer at 'conv'"):
        grad_cam(model, images, "conv", 0)
    twice = nn.Sequential(conv := nn.Conv2d(3, 3, 1), conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, K))
    with pytest.raises(ModelError, match="ran 2 times"):
        grad_cam(twice, images, "0", 0)
