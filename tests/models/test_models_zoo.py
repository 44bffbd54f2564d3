"""Architectures of timm and torchvision: each is built, checked, its head found, saved, loaded, and cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.errors import ModelError
from unlearnkit.models import build_model, check_model
from unlearnkit.models.checkpoint import checkpoint_bytes, read_checkpoint
from unlearnkit.models.head import features, find_head, reset_head, without_outputs
from unlearnkit.models.metadata import ModelCard
from unlearnkit.models.preprocessing import OwnPreprocessing, own_preprocessing
from unlearnkit.network import logits_of

K = 6
FAMILIES: dict[str, tuple[str, tuple[int, int, int], str, int]] = {  # name, images, head, width of what enters it
    "mobilenetv2": ("timm:mobilenetv2_050", (3, 32, 32), "classifier", 1280),
    "efficientnet-grey": ("timm:test_efficientnet", (1, 32, 32), "classifier", 256),
    "efficientnet-layernorm": ("timm:test_efficientnet_ln", (3, 32, 32), "classifier", 256),
    "convnext": ("timm:convnext_atto,depths=(1,1,1,1),dims=(8,8,16,16)", (3, 32, 32), "head.fc", 16),
    "resnet-four-channels": ("timm:test_resnet", (4, 32, 32), "fc", 96),
    "resnet-se": ("timm:test_resnet,block_args={'attn_layer': 'se'}", (3, 32, 32), "fc", 96),
    "regnet": ("timm:regnetx_002", (3, 32, 32), "head.fc", 368),
    "nfnet": ("timm:test_nfnet", (3, 32, 32), "head.fc", 192),
    "vit": ("timm:vit_tiny_patch16_224,img_size=32,patch_size=4,depth=2", (3, 32, 32), "head", 192),
    "swin": (
        "timm:swin_tiny_patch4_window7_224,img_size=32,window_size=4,embed_dim=24,depths=(1, 1),num_heads=(2, 2)",
        (3, 32, 32),
        "head.fc",
        48,
    ),
    "coatnet": ("timm:test_coatnet,img_size=64", (3, 64, 64), "head.fc", 128),
    "deit": ("timm:deit_tiny_patch16_224,img_size=32,depth=1", (3, 32, 32), "head", 192),
    "mambaout": ("timm:test_mambaout", (3, 32, 32), "head.fc", 256),
    "tv-squeezenet": ("torchvision:squeezenet1_1", (3, 32, 32), "classifier.1", 512),
    "tv-mobilenetv2": ("torchvision:mobilenet_v2", (3, 32, 32), "classifier.1", 1280),
    "tv-shufflenet": ("torchvision:shufflenet_v2_x0_5", (3, 32, 32), "fc", 1024),
    "tv-mnasnet": ("torchvision:mnasnet0_5", (3, 32, 32), "classifier.1", 1280),
    "small-cnn": ("small-cnn,width=8", (3, 32, 32), "head", 16),
}


def build(name: str, channels: int, **options: bool) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, num_classes=K, in_channels=channels, **options).eval()


def logits(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return logits_of(model.eval()(images))


def skip_where_timm_is_older(name: str) -> None:
    """timm adds small models for tests from release to release; the lowest version that we allow lacks some."""
    import timm

    architecture = name.partition(",")[0].removeprefix("timm:")
    if architecture.startswith("test_") and not timm.is_model(architecture):
        pytest.skip(f"timm {timm.__version__} has no {architecture}")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_works_from_its_name_to_its_file_and_back(family: str, tmp_path: Path) -> None:
    name, shape, head, width = FAMILIES[family]
    skip_where_timm_is_older(name)
    model = build(name, shape[0])
    check_model(model, classes=K, shape=shape)
    with pytest.raises(ModelError, match=f"has {K}"):
        check_model(model, classes=K + 1, shape=shape)
    assert find_head(model, num_classes=K, shape=shape) == head
    assert find_head(model, num_classes=K, shape=shape, name=head) == head
    images = torch.randn(3, *shape)
    assert features(model, images, head).shape == (3, width)

    card = ModelCard(
        model=name,
        classes=tuple("abcdef"),
        forgotten=("b",),
        shape=shape,
        preprocessing=Preprocessing(mean=(0.5,) * shape[0], std=(0.5,) * shape[0], channels=shape[0]),
    )
    path = tmp_path / "model.safetensors"
    path.write_bytes(checkpoint_bytes(model, card))
    checkpoint = read_checkpoint(path)
    assert checkpoint.card == card
    other = build_model(checkpoint.card.model, num_classes=K, in_channels=shape[0])
    assert checkpoint.load_into(other) == ()
    assert torch.equal(logits(other, images), logits(model, images))

    smaller = without_outputs(model, (1,), num_classes=K, shape=shape)
    path.write_bytes(checkpoint_bytes(smaller, card))
    plain = build_model(name, num_classes=K - 1, in_channels=shape[0])
    read_checkpoint(path).load_into(plain)
    keep = [0, 2, 3, 4, 5]
    torch.testing.assert_close(logits(plain, images), logits(model, images)[:, keep], rtol=1e-4, atol=1e-5)

    before = {key: value.clone() for key, value in model.state_dict().items()}
    reset_head(model, head)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {f"{head}.weight", f"{head}.bias"}


@pytest.mark.parametrize("width", [16, 32, 64, 128, 256])
def test_the_head_is_found_where_other_layers_are_as_wide(width: int) -> None:
    for name, head in (("timm:test_resnet,block_args={'attn_layer': 'se'}", "fc"), ("timm:test_vit", "head")):
        model = build_model(name, num_classes=width, in_channels=3)
        assert find_head(model, num_classes=width, shape=(3, 32, 32)) == head


def test_averaged_heads_are_refused_by_name() -> None:
    model = build("timm:deit_tiny_distilled_patch16_224,img_size=32,depth=1", 3)
    check_model(model, classes=K, shape=(3, 32, 32))
    with pytest.raises(ModelError, match=r"several heads \(head, head_dist\); choose an architecture with one"):
        find_head(model, num_classes=K, shape=(3, 32, 32))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:resnet19", "model of timm, but got 'resnet19'; did you mean .*resnet18"),
        ("timm:", "model of timm, but got ''; resnet18 is one"),
        ("timm:org/name", "model of timm, but got 'org/name'"),
        ("timm:resnet10t.no_such_tag", r"Invalid pretrained tag .no_such_tag. for resnet10t"),
        ("timm:resnet10t,img_size=32", "fails .*img_size"),
        ("timm:resnet10t,model_name=resnet18", "fails .*model_name"),
        ("timm:vit_tiny_patch16_224,depth=many", r"to be built with .*, but it fails"),
        ("timm:local-dir:/nowhere", "Config file not found"),
        ("torchvision:squeezenet1_1,depth=3", "fails .*depth"),
    ],
)
def test_what_a_zoo_does_not_have_is_refused(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build_model(name, num_classes=3, in_channels=3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:resnet18x", "model of timm, but got 'resnet18x'; did you mean resnet18 or "),
        ("timm:resnet18.a1_in1kk", r"got 'resnet18.a1_in1kk' \(Invalid .*\); did you mean resnet18.a1_in1k or "),
        ("timm:resnet18.zzzzzzzzzzzzzzzzzzzzzz", r"\(Invalid .*\); leave the tag out, as resnet18\."),
        ("torchvision:resnet19", "classifier of torchvision, but got 'resnet19'; did you mean .*resnet18"),
        ("torchvision:zzz", "classifier of torchvision, but got 'zzz'; resnet18 is one"),
    ],
)
def test_the_nearest_name_is_said_whether_a_model_is_built_or_its_preprocessing_read(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        own_preprocessing(name)
    with pytest.raises(ModelError, match=words):
        build_model(name, num_classes=3, in_channels=3)


@pytest.mark.parametrize(
    ("name", "size", "crop", "interpolation", "mean", "fixed"),
    [
        ("timm:resnet10t", 176, 0.875, "bicubic", 0.485, False),
        ("timm:vit_tiny_patch16_224", 224, 0.9, "bicubic", 0.5, True),
        ("timm:vit_tiny_patch16_224,img_size=32,depth=2", 32, 0.9, "bicubic", 0.5, True),
        ("timm:vit_tiny_patch16_224,img_size=(48, 48),dynamic_img_size=True", 48, 0.9, "bicubic", 0.5, False),
        ("torchvision:squeezenet1_1", 224, 0.875, "bilinear", 0.485, False),
        ("torchvision:vit_b_16,image_size=64", 64, 0.875, "bilinear", 0.485, True),
        ("torchvision:inception_v3", 299, 299 / 342, "bilinear", 0.485, False),
    ],
)
def test_the_zoos_say_how_their_models_are_fed(
    name: str, size: int, crop: float, interpolation: str, mean: float, fixed: bool
) -> None:
    own = own_preprocessing(name)
    assert own is not None
    fed = own.preprocessing
    assert (fed.size, fed.interpolation, fed.mean[0], own.fixed_size) == (size, interpolation, mean, fixed)
    assert fed.crop == pytest.approx(crop)
    assert len(fed.mean) == len(fed.std) == 3


def test_every_model_of_both_zoos_says_it() -> None:
    import timm
    from torchvision import models

    names = [f"timm:{name}" for name in timm.list_models()]
    names += [f"torchvision:{name}" for name in models.list_models(module=models)]
    oblong = []
    for name in names:
        try:
            own = own_preprocessing(name)
        except ModelError as error:
            oblong.append(str(error))
            continue
        assert isinstance(own, OwnPreprocessing), name
        assert own.preprocessing.size is not None, name
        assert own.preprocessing.size >= 32, name
        assert 0 < own.preprocessing.crop <= 1, name
    assert len(oblong) < 10
    assert all("square images for timm:vit" in error and "img_size=NUMBER" in error for error in oblong)


def test_models_of_no_zoo_say_nothing_and_unknown_ones_are_refused() -> None:
    assert own_preprocessing("small-cnn") is None
    assert own_preprocessing("package.module:make") is None
    for name in ("timm:resnet19", "timm:resnet10t.no_such_tag", "torchvision:resnet19"):
        with pytest.raises(ModelError, match="but got 'resnet"):
            own_preprocessing(name)
