"""Options that weights of another tool leave open are asked for, and those that show in the weights are proposed."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torchvision import models as zoo

from unlearnkit.errors import ModelError, WeightsError
from unlearnkit.models import build_model
from unlearnkit.models.channels import channels_of
from unlearnkit.models.checkpoint import Checkpoint, read_checkpoint
from unlearnkit.models.open_options import check_open_options

pytestmark = pytest.mark.filterwarnings("ignore:The default weight initialization")


def saved(model: nn.Module, folder: Path) -> Checkpoint:
    torch.save({"model." + key: value for key, value in model.state_dict().items()}, folder / "w.ckpt")
    return read_checkpoint(folder / "w.ckpt")


def check(name: str, checkpoint: Checkpoint, classes: int = 3) -> None:
    check_open_options(name, checkpoint, build_model(name, num_classes=classes, in_channels=3))


@pytest.mark.slow
@pytest.mark.parametrize("auxiliary", [True, False])
def test_transform_input_is_asked_for_and_auxiliary_heads_are_read_off(tmp_path: Path, auxiliary: bool) -> None:
    model = zoo.googlenet(num_classes=3, aux_logits=auxiliary, init_weights=False)
    checkpoint = saved(model, tmp_path)
    name = f"torchvision:googlenet,aux_logits={auxiliary}"
    with pytest.raises(ModelError, match=f"fit it either way; write --model {name},transform_input=True where"):
        check(name, checkpoint)
    other = f"torchvision:googlenet,aux_logits={not auxiliary},transform_input=False"
    with pytest.raises(ModelError, match=f"write --model torchvision:googlenet,aux_logits={auxiliary}"):
        check(other, checkpoint)
    for value in (True, False):
        named = build_model(f"{name},transform_input={value}", num_classes=3, in_channels=3)
        check_open_options(f"{name},transform_input={value}", checkpoint, named)
        checkpoint.load_into(named)
        assert named.transform_input is value


@pytest.mark.slow
def test_inception_is_asked_for_too(tmp_path: Path) -> None:
    model = zoo.inception_v3(num_classes=3, aux_logits=False, init_weights=False)
    with pytest.raises(ModelError, match="has no AuxLogits; write --model torchvision:inception_v3,aux_logits=False"):
        check("torchvision:inception_v3", saved(model, tmp_path))


def test_the_image_size_of_a_vision_transformer_is_read_off(tmp_path: Path) -> None:
    small = timm.create_model("test_vit", num_classes=3, img_size=64)
    with pytest.raises(ModelError, match=r"write --model timm:test_vit,img_size=64\.$"):
        check("timm:test_vit", saved(small, tmp_path))
    check("timm:test_vit,img_size=64", saved(small, tmp_path))
    check("timm:test_vit,img_size=64", saved(small, tmp_path), classes=7)
    plain, model = (zoo.VisionTransformer(size, 32, 1, 1, 8, 16, num_classes=3) for size in (64, 224))
    with pytest.raises(ModelError, match=r"write --model torchvision:vit_b_32,image_size=64\.$"):
        check_open_options("torchvision:vit_b_32", saved(plain, tmp_path), model)


def test_pooling_shows_in_the_name_of_the_norm(tmp_path: Path) -> None:
    averaged = timm.create_model("test_vit", num_classes=3, global_pool="avg")
    with pytest.raises(ModelError, match=r"has fc_norm.*write --model timm:test_vit,global_pool=avg"):
        check("timm:test_vit", saved(averaged, tmp_path))
    plain = timm.create_model("test_vit", num_classes=3)
    with pytest.raises(ModelError, match=r"has norm.*write --model timm:test_vit,global_pool=token"):
        check("timm:test_vit,global_pool=avg", saved(plain, tmp_path))
    check("timm:test_vit", saved(plain, tmp_path))


def test_windows_of_another_image_size_are_named(tmp_path: Path) -> None:
    options = {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 1)}
    small = timm.create_model("swin_tiny_patch4_window7_224", num_classes=3, img_size=16, **options)
    name = "timm:swin_tiny_patch4_window7_224,embed_dim=8,depths=(1,1),num_heads=(1,1)"
    with pytest.raises(ModelError, match="img_size=NUMBER"):
        check(name, saved(small, tmp_path))
    check(f"{name},img_size=16", saved(small, tmp_path))


def test_other_architectures_are_left_alone(tmp_path: Path) -> None:
    check("timm:test_resnet", saved(timm.create_model("test_resnet", num_classes=3), tmp_path))
    check("small-cnn", saved(build_model("small-cnn", num_classes=3, in_channels=3), tmp_path))


@pytest.mark.parametrize(
    ("name", "channels", "expected"),
    [
        ("timm:test_resnet", 1, 1),
        ("timm:test_resnet", 3, None),
        ("timm:test_vit", 1, 1),
        ("timm:test_efficientnet", 1, 1),  # depthwise convolutions take one channel each
        ("small-cnn", 1, 1),
        ("resnet18-cifar", 1, 1),
    ],
)
def test_channels_are_those_of_the_first_layer(tmp_path: Path, name: str, channels: int, expected: int | None) -> None:
    torch.manual_seed(0)
    checkpoint = saved(build_model(name, num_classes=3, in_channels=channels), tmp_path)
    before = torch.random.get_rng_state()
    assert channels_of(checkpoint, name) == expected
    assert torch.equal(torch.random.get_rng_state(), before)


def test_depthwise_layers_that_come_first_in_the_file_do_not_mislead(tmp_path: Path) -> None:
    model = build_model("timm:test_efficientnet", num_classes=3, in_channels=3)
    state = model.state_dict()
    depthwise = next(key for key, value in state.items() if value.dim() == 4 and value.shape[1] == 1)
    torch.save({depthwise: state.pop(depthwise), **state}, tmp_path / "w.pt")
    assert channels_of(read_checkpoint(tmp_path / "w.pt"), "timm:test_efficientnet") is None


def test_four_channels_are_refused(tmp_path: Path) -> None:
    checkpoint = saved(timm.create_model("test_resnet", num_classes=3, in_chans=4), tmp_path)
    with pytest.raises(WeightsError, match="takes 4; give a model of grey or RGB images"):
        channels_of(checkpoint, "timm:test_resnet")
