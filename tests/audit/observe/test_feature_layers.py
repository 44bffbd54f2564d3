"""Which layers are taken, that features are pooled over positions whatever their layout, and that one pass does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from canonical import TinyViT
from unlearnkit.audit.evidence import HEAD
from unlearnkit.audit.observe.feature_layers import WIDEST, choose_layers, collecting, pooled_features
from unlearnkit.audit.observe.layout import as_map, pooled, token_grid
from unlearnkit.errors import ModelError
from unlearnkit.models import SmallCNN
from unlearnkit.models.head import features, find_head

K = 5
SHAPE = (3, 32, 32)
VIT: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2, "num_classes": K}
SWIN: dict[str, Any] = {"img_size": 32, "window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (1, 1)}

# model, layers expected, widths of all features
MODELS: dict[str, tuple[Callable[[], nn.Module], list[str], list[int]]] = {
    "small-cnn": (
        lambda: SmallCNN(K, 3, width=4),
        ["features.2", "features.3", "features.6"],
        [4, 8, 8, 8],
    ),
    "resnet18": (
        lambda: timm.create_model("resnet18", channels=(8, 12, 16, 20), num_classes=K),
        ["layer1", "layer2", "layer3"],
        [8, 12, 16, 20],
    ),
    "mobilenet": (
        lambda: timm.create_model("mobilenetv2_050", num_classes=K),
        ["blocks.1", "blocks.3", "blocks.4"],
        [16, 32, 48, 1280],
    ),
    "vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", **VIT),
        ["blocks.0", "blocks.1", "blocks.2"],
        [16, 16, 16, 16],
    ),
    "torchvision-vit": (
        lambda: torchvision.models.VisionTransformer(32, 8, 4, 2, 16, 32, num_classes=K),
        [f"encoder.layers.encoder_layer_{i}" for i in range(3)],
        [16, 16, 16, 16],
    ),
    "convnext": (
        lambda: timm.create_model("convnext_atto", depths=(1, 1, 2, 1), dims=(8, 12, 16, 20), num_classes=K),
        ["stages.0", "stages.1", "stages.2"],
        [8, 12, 16, 20],
    ),
    "swin": (
        lambda: timm.create_model("swin_tiny_patch4_window7_224", num_classes=K, **SWIN),
        ["layers.0.blocks.0", "layers.0", "layers.1.blocks.0"],
        [16, 16, 32, 32],
    ),
    "shufflenet": (
        lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=K),
        ["stage2", "stage3.3", "stage3"],
        [48, 96, 96, 1024],
    ),
    "densenet": (
        lambda: torchvision.models.DenseNet(8, (2, 2, 2, 2), 16, num_classes=K),
        [f"features.denseblock{i}" for i in (1, 2, 3)],
        [32, 32, 32, 32],
    ),
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name][0]().eval()


def pictures(n: int, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", MODELS)
def test_layers_are_spread_over_the_depth_and_the_model_is_left_alone(name: str) -> None:
    model = build(name).train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    layers = choose_layers(model, num_classes=K, shape=SHAPE)
    assert layers == MODELS[name][1]
    head = find_head(model, num_classes=K, shape=SHAPE)
    taken = pooled_features(model, pictures(3), layers, head)
    assert list(taken) == [*layers, HEAD]
    assert [value.shape for value in taken.values()] == [(3, width) for width in MODELS[name][2]]
    assert all(value.dtype == torch.float32 and not value.requires_grad for value in taken.values())
    torch.testing.assert_close(taken[HEAD], features(model, pictures(3), head))
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(not module._forward_pre_hooks for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


class Branches(nn.Module):
    """One half of the data goes past `side`; every name is its own leaf."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.side, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.joined, self.last, self.classifier = nn.Conv2d(4, 6, 3), nn.Conv2d(6, 7, 3), nn.Linear(7, K)

    def forward(self, images: Tensor) -> Tensor:
        shared = self.stem(images)
        both = self.joined((self.side(shared) + self.other(shared)).relu_())
        return self.classifier(self.last(both.relu_()).mean(dim=(2, 3)))


def test_a_layer_that_data_goes_past_is_not_taken() -> None:
    assert choose_layers(Branches(), num_classes=K, shape=SHAPE, depths=9) == ["stem", "joined"]
    assert choose_layers(Branches(), num_classes=K, shape=SHAPE, depths=0) == []


def test_without_layers_before_the_head_there_are_its_inputs() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, K))
    assert choose_layers(model, num_classes=K, shape=(3, 4, 4)) == []
    taken = pooled_features(model, pictures(2, shape=(3, 4, 4)), [], "1")
    assert list(taken) == [HEAD]
    torch.testing.assert_close(taken[HEAD], pictures(2, shape=(3, 4, 4)).flatten(1))


def test_without_a_head_it_says_so() -> None:
    with pytest.raises(ModelError, match="classifier head"):
        choose_layers(
            nn.Sequential(nn.Conv2d(3, 7, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), num_classes=K, shape=SHAPE
        )


def test_pooled_features_are_those_of_the_layers_by_hand() -> None:
    model = build("small-cnn")
    images, kept = pictures(4), []
    handle = model.get_submodule("features.3").register_forward_hook(lambda _m, _a, out: kept.append(out.clone()))
    taken = pooled_features(model, images, ["features.3"], "head")
    handle.remove()
    torch.testing.assert_close(taken["features.3"], kept[0].mean(dim=(2, 3)))


@pytest.mark.parametrize("name", ["small-cnn", "vit", "swin"])
def test_features_do_not_depend_on_the_batches_or_the_order(name: str) -> None:
    model, images = build(name), pictures(7)
    layers, head = MODELS[name][1], find_head(build(name), num_classes=K, shape=SHAPE)
    whole = pooled_features(model, images, layers, head)
    order = torch.tensor([3, 1, 0, 6, 5, 2, 4])
    with torch.no_grad(), collecting(model, layers, head, shape=SHAPE) as collected:
        logits = torch.cat([model(part) for part in images[order].split(3)])
    assert logits.shape == (7, K)  # the same passes give both
    for layer, values in collected.features().items():
        torch.testing.assert_close(values, whole[layer][order], rtol=1e-4, atol=1e-5)


def test_layers_that_run_twice_or_on_other_rows_are_refused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 3, 1), nn.Linear(3, K)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.conv(self.conv(images)).mean(dim=(2, 3)))

    model = Twice()
    assert choose_layers(model, num_classes=K, shape=SHAPE) == []
    with pytest.raises(ModelError, match=r"'conv' to run once on all 2 images, but it ran 2 times, on \[2, 2\] rows"):
        pooled_features(model, pictures(2), ["conv"], "head")
    with pytest.raises(ModelError, match="layer at 'body'"):
        pooled_features(model, pictures(2), ["body"], "head")
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_a_failed_pass_leaves_nothing_behind() -> None:
    model = build("small-cnn")
    with torch.no_grad(), collecting(model, ["features.3"], "head", shape=SHAPE) as collected:
        with pytest.raises(RuntimeError):
            model(pictures(2, shape=(1, 32, 32)))
        model(pictures(2))
    assert {name: len(value) for name, value in collected.features().items()} == {"features.3": 2, HEAD: 2}


# ---- layouts -----------------------------------------------------------------------------------------------------


def test_channels_first_and_last_give_the_same_maps() -> None:
    maps = torch.randn(2, 6, 4, 8)
    shape = (3, 16, 32)
    for output in (maps, maps.movedim(1, 3)):
        torch.testing.assert_close(as_map(output, shape), maps)
        torch.testing.assert_close(pooled(output, shape), maps.mean(dim=(2, 3)))
    square = torch.randn(2, 8, 8, 8)  # both fit
    assert torch.equal(as_map(square, SHAPE), square)


@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_tokens_are_laid_out_and_the_class_token_is_dropped(prefix: int) -> None:
    maps = torch.randn(2, 6, 4, 8)
    tokens = torch.cat([torch.full((2, prefix, 6), 1e3), maps.flatten(2).transpose(1, 2)], dim=1)
    torch.testing.assert_close(as_map(tokens, (3, 16, 32)), maps)
    torch.testing.assert_close(pooled(tokens, (3, 16, 32)), maps.mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("tokens", "shape", "grid"),
    [
        (197, (3, 224, 224), (14, 14)),
        (198, (3, 224, 224), (14, 14)),
        (261, (3, 224, 224), (16, 16)),
        (5, (3, 8, 8), (2, 2)),
        (16, (1, 30, 30), (4, 4)),
        (129, (3, 128, 64), (16, 8)),
        (25, (3, 224, 224), (5, 5)),
        (40, (3, 224, 224), (6, 6)),
        (60, (3, 32, 32), None),
    ],
)
def test_the_grid_of_tokens(tokens: int, shape: tuple[int, int, int], grid: tuple[int, int] | None) -> None:
    assert token_grid(tokens, shape) == grid


def test_tokens_without_a_grid_are_averaged_all() -> None:
    tokens = torch.randn(2, 60, 6)
    assert as_map(tokens, SHAPE) is None
    torch.testing.assert_close(pooled(tokens, SHAPE), tokens.mean(dim=1))


def test_a_wide_layer_is_hashed_alike_for_all_and_keeps_inner_products() -> None:
    width = 5 * WIDEST
    model = nn.Sequential(nn.Flatten(), nn.Linear(width, K))
    images = pictures(12, shape=(1, 5, WIDEST)) + 0.5
    kept = pooled_features(model, images, [], "1")[HEAD]
    again = pooled_features(nn.Sequential(nn.Flatten(), nn.Linear(width, K)), images.flip(0), [], "1")[HEAD]
    assert kept.shape == (12, WIDEST)
    torch.testing.assert_close(again.flip(0), kept)
    flat = images.flatten(1)
    torch.testing.assert_close(kept @ kept.T / width, flat @ flat.T / width, rtol=0, atol=0.08)


def test_a_model_in_double_and_a_small_image() -> None:
    model = TinyViT(K).double().eval()
    layers = choose_layers(model, num_classes=K, shape=(1, 8, 8))
    taken = pooled_features(model, pictures(2, shape=(1, 8, 8)).double(), layers, "head")
    assert taken[HEAD].dtype == torch.float32
    assert layers
