"""Models by name, the check that a model fits, and the classifier head."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from unlearnkit.errors import ModelError
from unlearnkit.models import AllCNN, SmallCNN, build_model, check_model, is_import_path, is_trusted_name
from unlearnkit.models.head import find_head, reset_head, without_outputs
from unlearnkit.models.names import ModelName, parse_name


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [
        ("small-cnn", "SmallCNN", (1, 8, 8)),
        ("allcnn", "AllCNN", (3, 16, 16)),
        ("allcnn,width=6", "AllCNN", (1, 16, 16)),
        ("resnet18-cifar", "ResNet", (3, 16, 16)),
        ("resnet18-cifar,width=6", "ResNet", (1, 16, 16)),
        ("torchvision:resnet18", "ResNet", (3, 32, 32)),
        ("torch.nn:LazyLinear", None, None),
    ],
)
def test_a_name_becomes_a_model_of_the_wanted_width(
    name: str, kind: str | None, shape: tuple[int, int, int] | None
) -> None:
    if shape is None:
        with pytest.raises(ModelError, match=r"torch.nn:LazyLinear to take num_classes="):
            build_model(name, num_classes=7, in_channels=1)
        return
    model = build_model(name, num_classes=7, in_channels=shape[0])
    assert type(model).__name__ == kind
    check_model(model, classes=7, shape=shape)


@pytest.mark.parametrize("width", [8, 16, 128])
def test_a_narrow_resnet18_is_the_same_network_with_fewer_channels(width: int) -> None:
    narrow = build_model(f"resnet18-cifar,width={width}", num_classes=10, in_channels=3).state_dict()
    wide = build_model("resnet18-cifar", num_classes=10, in_channels=3).state_dict()
    assert list(narrow) == list(wide)
    for name, value in wide.items():
        scaled = [side if side < 64 else side * width // 64 for side in value.shape]
        assert list(narrow[name].shape) == scaled, name
    sides: dict[str, list[int]] = {"narrow": [], "wide": []}
    for what, name in (("narrow", f"resnet18-cifar,width={width}"), ("wide", "resnet18-cifar")):
        model = build_model(name, num_classes=10, in_channels=3).eval()
        for stage in range(1, 5):
            layer = model.get_submodule(f"layer{stage}")
            layer.register_forward_hook(lambda _m, _i, out, to=sides[what]: to.append(out.shape[-1]))
        model(torch.zeros(1, 3, 16, 16))
    assert sides["narrow"] == sides["wide"] == [16, 8, 4, 2]
    convolution = narrow["layer4.1.conv2.weight"]  # He et al. 2015: a deviation of sqrt(2 / fan out)
    assert convolution.std().item() == pytest.approx((2 / (9 * convolution.shape[0])) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smal-cnn", "'smal-cnn'; did you mean 'small-cnn'"),
        ("resnet18", "torchvision:NAME"),
        ("", "built-in model"),
        ("torchvision:resnet19", "'resnet19'; did you mean .*resnet18"),
        ("torchvision:", "classifier of torchvision, but got ''"),
        ("torchvision:fasterrcnn_resnet50_fpn", "classifier of torchvision"),
        ("torchvision:raft_large", "classifier of torchvision"),
        ("no_such_package:make", "cannot be imported .*no_such_package"),
        ("json:no_such_factory", "cannot be imported .*no_such_factory"),
        (":make", "cannot be imported"),
        (".relative:make", "cannot be imported"),
        ("json:", "cannot be imported"),
        ("json:dumps", "json:dumps to take num_classes="),
        ("json:__name__", "not callable"),
        ("resnet18-cifar,width=0", "width of the model resnet18-cifar to be a whole number of channels, but got 0"),
        ("allcnn,width=-2", "but got -2; give 1 or more"),
        ("airbench,width=2.5", "but got 2.5"),
        ("small-cnn,width=True", "but got True"),
    ],
)
def test_a_name_that_builds_nothing_is_refused(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build_model(name, num_classes=3, in_channels=3)


def test_torchvision_takes_colour_images_only() -> None:
    with pytest.raises(ModelError, match="3 channels for torchvision:resnet18, but the data has 1"):
        build_model("torchvision:resnet18", num_classes=3, in_channels=1)


FACTORIES = """
import torch
def good(num_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, num_classes))
def wide(num_classes, width):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, width), torch.nn.Linear(width, num_classes))
def nothing(num_classes):
    return None
def positional(classes, /):
    return good(classes)
"""


def test_a_factory_of_the_caller_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "factories_of_the_caller.py").write_text(FACTORIES)
    (tmp_path / "broken_factories.py").write_text("def broken(:")
    monkeypatch.syspath_prepend(tmp_path)

    def build(name: str) -> nn.Module:
        return build_model(name, num_classes=3, in_channels=1)

    check_model(build("factories_of_the_caller:good"), classes=3, shape=(1, 2, 2))
    check_model(build("factories_of_the_caller:wide,width=5"), classes=3, shape=(1, 2, 2))
    with pytest.raises(ModelError, match="good to take num_classes=, width=, but it failed"):
        build("factories_of_the_caller:good,width=5")
    with pytest.raises(ModelError, match=r"return a torch.nn.Module, but got NoneType"):
        build("factories_of_the_caller:nothing")
    with pytest.raises(ModelError, match="positional to take num_classes="):
        build("factories_of_the_caller:positional")
    with pytest.raises(ModelError, match=r"cannot be imported .SyntaxError"):
        build("broken_factories:broken")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small-cnn", False),
        ("torchvision:resnet18", False),
        ("small-cnn,width=8", False),
        ("timm:resnet18", False),
        ("timm:hf-hub:org/name", False),
        ("os:system", True),
        ("os:system,timm:x=1", True),
        ("TIMM:resnet18", True),
        (":x", True),
    ],
)
def test_import_paths_are_told_from_known_models(name: str, expected: bool) -> None:
    assert is_import_path(name) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small-cnn", True),
        ("small-cnn,width=8", True),
        ("torchvision:resnet18", True),
        ("timm:resnet10t.c3_in1k", True),
        ("timm:vit_tiny_patch16_224,img_size=(32, 32),act_layer='a/b:c'", True),
        ("timm:hf-hub:org/name", False),
        ("timm:hf_hub:name", False),
        ("timm:HF-HUB:org/name", False),
        ("timm:local-dir:/tmp/x", False),
        ("timm:org/name", False),
        ("timm:..\\name", False),
        ("timm:", False),
        ("os:system", False),
        ("x[,os:system", False),
        ("'x,os:system", False),
        (":x", False),
    ],
)
def test_a_file_may_name_what_runs_no_strange_code_and_fetches_nothing(name: str, expected: bool) -> None:
    assert is_trusted_name(name) is expected


def test_options_follow_after_commas() -> None:
    name = "timm:a.b, img_size=32,depths=(2, [1, 2]),act_layer=gelu,label='x,\\'y',qkv_bias=False,rate=1e-3"
    assert parse_name(name) == ModelName(
        kind="timm",
        base="a.b",
        options={
            "img_size": 32,
            "depths": (2, [1, 2]),
            "act_layer": "gelu",
            "label": "x,'y",
            "qkv_bias": False,
            "rate": 1e-3,
        },
    )
    assert parse_name("package.module:make,width=4").base == "package.module:make"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("width", "NAME=VALUE"),
        ("", "NAME=VALUE"),
        ("=3", "NAME=VALUE"),
        ("width=", "NAME=VALUE"),
        ("a b=3", "NAME=VALUE"),
        ("width=8,width=9", "width comes twice"),
        ("width=true", "write True, False or None"),
        ("width=none", "write True, False or None"),
        ("width=print('x')", "literal or a plain word"),
        ("width=__import__('os').system('x')", "literal or a plain word"),
        ("width={[]: 1}", "literal or a plain word"),
        ("width=" + "-" * 100_000 + "1", "literal or a plain word"),
        ("width=(2", "literal or a plain word"),
        *(
            (f"{key}=1", f"but got {key}; the data and --pretrained decide")
            for key in (
                "pretrained",
                "pretrained_cfg",
                "pretrained_cfg_overlay",
                "checkpoint_path",
                "cache_dir",
                "num_classes",
                "in_chans",
                "in_channels",
                "weights",
                "weights_backbone",
                "progress",
            )
        ),
    ],
)
@pytest.mark.parametrize("kind", ["small-cnn", "timm:resnet10t", "torchvision:resnet18", "json:dumps"])
def test_options_that_cannot_be_are_refused(kind: str, options: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build_model(f"{kind},{options}", num_classes=3, in_channels=3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("small-cnn,depth=3", "got 'depth'; it has width, norm"),
        ("airbench,widht=3", "got 'widht'; did you mean 'width'"),
        ("resnet18-cifar,depth=3", "got 'depth'; it has width"),
        ("small-cnn,width=-1", "but got -1; give 1"),
        ("small-cnn,width=wide", "but got .wide.; give 1"),
    ],
)
def test_options_that_the_model_does_not_take_are_refused(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build_model(name, num_classes=3, in_channels=3)


def test_options_reach_the_built_in_models() -> None:
    model = build_model("small-cnn,width=8", num_classes=3, in_channels=1)
    assert isinstance(model, SmallCNN)
    assert model.head.in_features == 16


def test_only_the_zoos_have_pretrained_weights() -> None:
    for name in ("small-cnn", "json:dumps"):
        with pytest.raises(ModelError, match=f"for pretrained weights, but got '{name}'"):
            build_model(name, num_classes=3, in_channels=1, pretrained=True)


class Raises(nn.Module):
    """A model whose forward pass fails."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.head, self.error = nn.Linear(4, 3), error

    def forward(self, images: Tensor) -> Tensor:
        raise self.error


class Returns(nn.Module):
    """A model whose output is whatever `shape` says."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.head, self.output = nn.Linear(4, 3), output

    def forward(self, images: Tensor) -> object:
        return self.output


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (SmallCNN(4), "Expected 3 outputs, one for each class, but the model has 4"),
        (SmallCNN(3, in_channels=3), r"images of shape \(1, 8, 8\), but its forward pass fails"),
        (nn.Flatten(), "has none; nothing can be unlearned"),
        (Raises(AssertionError("Wrong image height!")), "fails .Wrong image height!"),
        (Raises(ValueError()), "fails .ValueError"),
        (Returns(torch.zeros(2, 3, 1)), r"logits of shape \(n, classes\), but got \(2, 3, 1\)"),
        (Returns((torch.zeros(2, 3),)), "but got tuple"),
        (Returns([torch.zeros(2, 3)]), "but got list"),
        (Returns(None), "but got NoneType"),
        (Returns(torch.zeros(1, 3)), "one row of logits for each image, but got 1 rows for 2 images"),
        (Returns(torch.full((2, 3), float("nan"))), "Expected finite logits"),
        (nn.Sequential(SmallCNN(3), nn.Softmax(dim=1)), "Expected logits, but the model gives probabilities"),
        (SmallCNN(3).requires_grad_(False), "all of them are frozen; call model.requires_grad_.True."),
        (SmallCNN(3).half(), "float32 or float64, but the model's are torch.float16; call model.float"),
        (SmallCNN(3).bfloat16(), "float32 or float64, but the model's are torch.bfloat16"),
        (nn.Sequential(SmallCNN(3), nn.Linear(3, 3).double()), "one type, but .* torch.float32 and torch.float64"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "1.weight is lazy; run it once"),
        (nn.Sequential(SmallCNN(3), nn.LazyBatchNorm1d(affine=False)), "1.running_mean is lazy"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(model: nn.Module, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        check_model(model, classes=3, shape=(1, 8, 8))


@pytest.mark.parametrize(
    "model",
    [
        SmallCNN(3).double(),
        nn.Sequential(SmallCNN(3), nn.LogSoftmax(dim=1)),
        nn.Sequential(SmallCNN(3), nn.Sigmoid()),
        Returns(SimpleNamespace(logits=torch.zeros(2, 3))),
    ],
)
def test_what_works_is_not_refused(model: nn.Module) -> None:
    check_model(model, classes=3, shape=(1, 8, 8))


def test_a_partly_frozen_model_is_fine_and_one_output_is_no_probability() -> None:
    model = SmallCNN(1)
    model.features.requires_grad_(False)
    check_model(model, classes=1, shape=(1, 8, 8))
    check_model(nn.Sequential(model, nn.Softmax(dim=1)), classes=1, shape=(1, 8, 8))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    model = SmallCNN(3)
    with torch.no_grad():
        model.features[3].weight[0, 0] = value
    with pytest.raises(ModelError, match=r"finite weights, but features\.3\.weight has NaN or infinite"):
        check_model(model, classes=3, shape=(1, 8, 8))


class Draws(nn.Module):
    """A model that draws from the global generator even in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1)) + torch.rand(3)


def test_checking_draws_nothing_from_the_global_generator() -> None:
    model = Draws()
    state = torch.get_rng_state()
    check_model(model, classes=3, shape=(1, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)


def test_checking_leaves_modes_and_statistics_alone() -> None:
    model = SmallCNN(3).train()
    model.features[1].eval()
    modes = {name: module.training for name, module in model.named_modules()}
    before = copy.deepcopy(model.state_dict())
    check_model(model, classes=3, shape=(1, 8, 8))
    with pytest.raises(ModelError):
        check_model(model, classes=9, shape=(1, 8, 8))
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class ConvHead(nn.Module):
    """A head that is a convolution, named before the body that it follows; another layer has as many outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(5, 5, 1)
        self.unused = nn.Linear(2, 5)
        self.body = nn.Conv2d(1, 5, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.body(images).relu()).mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("model", "classes", "name"),
    [(SmallCNN(10), 10, "head"), (AllCNN(192, 1), 192, "head"), (ConvHead(), 5, "classifier")],
)
def test_the_head_is_the_last_layer_that_runs_with_that_width(model: nn.Module, classes: int, name: str) -> None:
    model.train()
    assert find_head(model, num_classes=classes, shape=(1, 8, 8)) == name
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_without_such_a_layer_is_refused() -> None:
    with pytest.raises(ModelError, match="layer with 11 outputs"):
        find_head(SmallCNN(10), num_classes=11, shape=(1, 8, 8))


def test_a_reset_head_is_new_and_the_rest_is_not() -> None:
    model = SmallCNN(10)
    before = copy.deepcopy(model.state_dict())
    reset_head(model, "head")
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}


@pytest.mark.parametrize(
    ("model", "classes", "gone"), [(SmallCNN(10), 10, (3,)), (SmallCNN(10), 10, (9, 0, 4)), (ConvHead(), 5, (1,))]
)
def test_the_remaining_logits_stay_as_they_were(model: nn.Module, classes: int, gone: tuple[int, ...]) -> None:
    model.eval()
    images = torch.randn((6, 1, 8, 8), generator=torch.Generator().manual_seed(5))
    keep = [k for k in range(classes) if k not in gone]
    before = copy.deepcopy(model.state_dict())
    smaller = without_outputs(model, gone, num_classes=classes, shape=(1, 8, 8))
    with torch.no_grad():
        torch.testing.assert_close(smaller(images), model(images)[:, keep])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Normalised(nn.Module):
    """Logits that depend on all outputs of the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1)).log_softmax(dim=1)


def test_outputs_that_depend_on_each_other_are_not_cut() -> None:
    with pytest.raises(ModelError, match="layer 'head' is not the only one"):
        without_outputs(Normalised(), (1,), num_classes=4, shape=(1, 8, 8))


def grey_or_rgb(num_classes: int, in_chans: int = 3) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_chans, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))


def test_a_factory_that_takes_the_channels_is_told_them() -> None:
    for name in ("test_models:grey_or_rgb", "unlearnkit.models:SmallCNN"):
        model = build_model(name, num_classes=3, in_channels=1)
        check_model(model, classes=3, shape=(1, 8, 8))
    assert build_model("torchvision.models:resnet18", num_classes=3, in_channels=1).conv1.in_channels == 3


def test_a_model_for_other_channels_is_told_so() -> None:
    model = SmallCNN(num_classes=3, in_channels=3)
    words = r"its first layer takes 3 channels and the images have 1, so give --channels 3, or .* take in_channels="
    with pytest.raises(ModelError, match=words):
        check_model(model, classes=3, shape=(1, 8, 8))
    with pytest.raises(ModelError, match=r"give another image size .*image_size in a suite\) or another model"):
        check_model(nn.Sequential(nn.Conv2d(3, 4, 9), nn.Flatten(), nn.Linear(4, 3)), classes=3, shape=(3, 8, 8))
