"""Finding the classifier head, and cutting outputs out of it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torchvision.models import mobilenet_v2, resnet18

from canonical import TinyViT
from unlearnkit.errors import ModelError
from unlearnkit.models import AllCNN, SmallCNN
from unlearnkit.models.head import features, find_head, head_features, reset_head, without_outputs

K = 5
SHAPE = (3, 32, 32)


class ConvHead(nn.Module):
    """A fully convolutional classifier: a 1x1 convolution makes the logits, then the average is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3)
        self.classifier = nn.Conv2d(8, K, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.body(images).relu()).mean(dim=(2, 3))


class Decoy(nn.Module):
    """Layers as wide as the output before the head, and registered after it; one is never run."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(K, K)
        self.narrow = nn.Conv2d(3, K, 3)
        self.unused = nn.Linear(7, K)

    def forward(self, images: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.fc(self.narrow(images).relu().mean(dim=(2, 3))))


MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "small-cnn": (lambda: SmallCNN(K, 3, width=4), "head"),
    "allcnn": (lambda: AllCNN(K, 3), "head"),
    "resnet18": (lambda: resnet18(num_classes=K), "fc"),
    "mobilenet_v2": (lambda: mobilenet_v2(num_classes=K), "classifier.1"),
    "conv-head": (ConvHead, "classifier"),
    "decoy": (Decoy, "fc"),
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name][0]().eval()


def logits(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        out = model(images)
    return out if isinstance(out, Tensor) else out.logits


@pytest.mark.parametrize("name", MODELS)
def test_the_head_is_found_and_the_model_left_as_it_was(name: str) -> None:
    model = build(name).train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    assert find_head(model, num_classes=K, shape=SHAPE) == MODELS[name][1]
    assert all(m.training for m in model.modules())
    assert all(not m._forward_hooks for m in model.modules())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_the_head_of_a_vit_on_small_images() -> None:
    assert find_head(TinyViT(K, 3), num_classes=K, shape=(3, 8, 8)) == "head"


@pytest.mark.parametrize("model", [nn.Flatten(), nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, K + 1))])
def test_a_model_without_such_a_layer_is_refused(model: nn.Module) -> None:
    model.register_parameter("spare", nn.Parameter(torch.zeros(1)))
    with pytest.raises(ModelError, match="5 outputs"):
        find_head(model, num_classes=K, shape=SHAPE)


@pytest.mark.parametrize("gone", [(0,), (4,), (1, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("name", MODELS)
def test_without_outputs_the_other_logits_are_as_before(name: str, gone: tuple[int, ...]) -> None:
    model = build(name)
    images = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    before = logits(model, images)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    smaller = without_outputs(model, gone, num_classes=K, shape=SHAPE)
    keep = [k for k in range(K) if k not in gone]
    torch.testing.assert_close(logits(smaller, images), before[:, keep], rtol=1e-5, atol=1e-5)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    head = smaller.get_submodule(MODELS[name][1])
    assert (head.out_features if isinstance(head, nn.Linear) else head.out_channels) == len(keep)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())
    assert {p.data_ptr() for p in smaller.parameters()}.isdisjoint(p.data_ptr() for p in model.parameters())


def test_a_head_without_bias_is_cut_too() -> None:
    model = SmallCNN(K, 3, width=4).eval()
    model.head = nn.Linear(8, K, bias=False)
    smaller = without_outputs(model, (2,), num_classes=K, shape=SHAPE)
    assert torch.equal(smaller.head.weight, model.head.weight[[0, 1, 3, 4]])  # type: ignore[union-attr]


def test_the_callers_modes_and_flags_survive() -> None:
    model = SmallCNN(K, 3, width=4).train()
    model.head.weight.requires_grad_(False)
    smaller = without_outputs(model, (2,), num_classes=K, shape=SHAPE)
    assert not smaller.head.weight.requires_grad  # type: ignore[union-attr]
    assert smaller.head.bias.requires_grad  # type: ignore[union-attr]
    assert all(m.training for m in model.modules())


class Ensemble(nn.Module):
    """The logits are the sum of two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, K), nn.Linear(3, K)

    def forward(self, images: Tensor) -> Tensor:
        features = images.mean(dim=(2, 3))
        return self.one(features) + self.two(features)


class Mixed(nn.Module):
    """The logits are normalised over all classes after the head, so that each depends on all."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, K)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.mean(dim=(2, 3))).log_softmax(dim=1)


class Scaled(nn.Module):
    """A scale for each class follows the head."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.scale = nn.Linear(3, K), nn.Parameter(torch.ones(K))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.mean(dim=(2, 3))) * self.scale


class Fed(nn.Module):
    """A layer as wide as the output refines the first one's answer: the last alone can be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, K), nn.Linear(K, K)

    def forward(self, images: Tensor) -> Tensor:
        first = self.first(images.mean(dim=(2, 3)))
        return first + self.second(first)


@pytest.mark.parametrize("model", [Ensemble(), Mixed(), Scaled(), Fed()], ids=lambda m: type(m).__name__)
def test_logits_that_depend_on_more_than_the_head_are_refused(model: nn.Module) -> None:
    with pytest.raises(ModelError, match=r"full width|several heads"):
        without_outputs(model, (1,), num_classes=K, shape=SHAPE)


def test_several_heads_are_named_and_one_can_be_chosen() -> None:
    with pytest.raises(ModelError, match=r"several heads \(one, two\)"):
        find_head(Ensemble(), num_classes=K, shape=SHAPE)
    assert find_head(Ensemble(), num_classes=K, shape=SHAPE, name="two") == "two"
    assert find_head(Fed(), num_classes=K, shape=SHAPE) == "second"


@pytest.mark.parametrize("name", ["narrow", "unused", "nothing", ""])
def test_a_chosen_head_must_make_the_logits(name: str) -> None:
    with pytest.raises(ModelError, match=f"head at '{name}', .* such layers are: fc"):
        find_head(Decoy(), num_classes=K, shape=SHAPE, name=name)


class Hostile(nn.Module):
    """What makes a head hard to see: a gate as wide as the output, in-place steps, a stem without gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(K, K, 1)
        self.stem, self.gate = nn.Conv2d(3, K, 3), nn.Linear(K, K)

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.stem(images).relu_()
        x *= self.gate(x.mean(dim=(2, 3))).sigmoid_()[:, :, None, None]
        return self.classifier(input=x).relu_().mean(dim=(2, 3))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_head_is_found_in_hard_cases(frozen: bool, dtype: torch.dtype) -> None:
    model = Hostile().to(dtype).requires_grad_(not frozen)
    for context in (torch.no_grad, torch.enable_grad, torch.inference_mode):
        with context():
            assert find_head(model, num_classes=K, shape=SHAPE) == "classifier"
    assert all(p.grad is None and p.requires_grad is not frozen for p in model.parameters())


class Cosine(nn.Module):
    """The logits are made by no layer, and one before them is as wide by chance."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.weight = nn.Linear(3, K), nn.Parameter(torch.randn(K, K))

    def forward(self, images: Tensor) -> Tensor:
        return F.linear(self.body(images.mean(dim=(2, 3))), self.weight)


def test_a_layer_that_is_as_wide_by_chance_is_no_head() -> None:
    torch.manual_seed(0)
    with pytest.raises(ModelError, match="with 5 outputs as the classifier head, but none runs last"):
        find_head(Cosine(), num_classes=K, shape=SHAPE)


def test_the_features_enter_the_head() -> None:
    model = build("decoy")
    images = torch.randn(4, *SHAPE)
    entering = features(model.train(), images, "fc")
    assert entering.shape == (4, K)
    assert all(m.training for m in model.modules())
    assert not any(m._forward_pre_hooks for m in model.modules())
    torch.testing.assert_close(model.get_submodule("fc")(entering), logits(model.eval(), images))


def test_the_features_of_a_convolution_are_averaged() -> None:
    model, images = ConvHead().eval(), torch.randn(4, *SHAPE)
    entering = features(model, images, "classifier")
    assert entering.shape == (4, 8)
    weight = model.classifier.weight[:, :, 0, 0]
    torch.testing.assert_close(F.linear(entering, weight, model.classifier.bias), logits(model, images))


def test_the_features_of_tokens_are_averaged() -> None:
    model = nn.Sequential(nn.Flatten(2), nn.Linear(1024, K))
    images = torch.randn(4, *SHAPE)
    torch.testing.assert_close(features(model, images, "1"), images.flatten(2).mean(dim=1))


def test_features_keep_their_gradient_where_wanted() -> None:
    model, images = build("small-cnn"), torch.randn(4, *SHAPE)
    with head_features(model, "head") as passes:
        model(images)
        model(images[:2])
    assert [each.shape for each in passes] == [(4, 8), (2, 8)]
    assert passes[0].requires_grad


@pytest.mark.parametrize(
    ("name", "words"), [("unused", "it runs 0 times"), ("nothing", "there is none"), ("", "it is a Decoy")]
)
def test_features_of_what_is_no_head_are_refused(name: str, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        features(build("decoy"), torch.randn(4, *SHAPE), name)


def test_a_head_whose_weight_is_not_its_own_is_not_reset() -> None:
    tied = nn.Sequential(nn.Flatten(), nn.Linear(K, K), nn.Linear(K, K))
    tied[1].weight = tied[2].weight
    with pytest.raises(ModelError, match=r"'2' shares them with 1\.weight"):
        reset_head(tied, "2")
    computed = SmallCNN(K, 3, width=4)
    parametrizations.spectral_norm(computed.head)
    with pytest.raises(ModelError, match="'head' is computed from other parameters"):
        reset_head(computed, "head")
    with pytest.raises(ModelError, match="full width"):
        without_outputs(computed, (1,), num_classes=K, shape=SHAPE)
    old = SmallCNN(K, 3, width=4)
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(old.head)
    with pytest.raises(ModelError, match="'head' is computed from other parameters"):
        reset_head(old, "head")
    with pytest.raises(ModelError, match="it is a Sequential"):
        reset_head(old, "features")


@pytest.mark.parametrize("name", ["small-cnn", "conv-head"])
def test_resetting_the_head_changes_the_head_alone_and_follows_the_global_seed(name: str) -> None:
    heads = []
    for seed in (1, 1, 2):
        model = build(name)
        state = {k: v.clone() for k, v in model.state_dict().items()}
        torch.manual_seed(seed)
        reset_head(model, MODELS[name][1])
        changed = {k for k, v in model.state_dict().items() if not torch.equal(v, state[k])}
        assert changed == {f"{MODELS[name][1]}.weight", f"{MODELS[name][1]}.bias"}
        heads.append(model.get_submodule(MODELS[name][1]).weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
