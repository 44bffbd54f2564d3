"""Models by name, the check that a model fits, and the classifier head."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unlearnkit.errors import ModelError
from unlearnkit.models import AllCNN, SmallCNN, build_model, check_model, is_import_path
from unlearnkit.models.head import find_head, reset_head, without_outputs


@pytest.mark.parametrize(
    ("name", "kind", "shape"),
    [
        ("small-cnn", "SmallCNN", (1, 8, 8)),
        ("allcnn", "AllCNN", (3, 16, 16)),
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
        ("timm:resnet18", True),
        ("os:system", True),
        (":x", True),
    ],
)
def test_import_paths_are_told_from_known_models(name: str, expected: bool) -> None:
    assert is_import_path(name) is expected


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
        (Returns(None), "but got NoneType"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(model: nn.Module, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        check_model(model, classes=3, shape=(1, 8, 8))


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
