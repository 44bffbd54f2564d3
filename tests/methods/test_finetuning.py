"""FineTune, CF-k, EU-k and L1-sparse: which weights move, from where, and towards what."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unlearnkit.methods.l1_sparse as l1_module
from canonical import CLASSES, CPU, METHODS, MODELS, STEPS, TinyViT, tiny_data
from unlearnkit.data import ImageData, ImageSet
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.methods import (
    DELETE,
    SCRUB,
    BadTeacher,
    BoundaryShrink,
    FineTune,
    L1Sparse,
    Method,
    NegGrad,
    NegGradPlus,
    RandomLabel,
    SalUn,
    Unlearned,
    unlearn,
)
from unlearnkit.methods.common.fitting import fit
from unlearnkit.methods.finetune import redraw
from unlearnkit.methods.l1_sparse import with_l1
from unlearnkit.request import ForgetRequest
from unlearnkit.training.losses import cross_entropy
from unlearnkit.training.recipe import Recipe, make_optimizer

FRESH = MODELS["cnn-grey"].fresh


def forget(method: Method, model: nn.Module | None = None, data: ImageData | None = None, **options: Any) -> Unlearned:
    given = model if model is not None else MODELS["cnn-grey"].model()
    return unlearn(given, method, data or tiny_data(), ForgetRequest(classes=(2,)), seed=0, runtime=CPU, **options)


def moved(before: nn.Module, after: nn.Module) -> set[str]:
    return {name for name, p in after.named_parameters() if not torch.equal(p, before.get_parameter(name))}


# ---- which layers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (1, {"head.weight", "head.bias"}),
        (2, {"features.6.weight", "features.7.weight", "features.7.bias", "head.weight", "head.bias"}),
    ],
)
def test_only_the_last_layers_are_trained(last: int, expected: set[str]) -> None:
    original = MODELS["cnn-grey"].model()
    result = forget(FineTune(search=None, recipe=STEPS, last=last), original).model
    assert moved(original, result) == expected
    statistics = {name for name, value in result.named_buffers() if not torch.equal(value, original.get_buffer(name))}
    assert {name.rpartition(".")[0] for name in statistics} == ({"features.7"} if last == 2 else set())


def test_without_last_every_layer_is_trained() -> None:
    original = MODELS["cnn-grey"].model()
    assert (
        moved(original, forget(FineTune(search=None, recipe=STEPS), original).model)
        == dict(original.named_parameters()).keys()
    )


def test_with_reset_the_last_layers_start_from_the_factorys_weights_and_the_others_stay() -> None:
    built: list[nn.Module] = []

    def factory() -> nn.Module:
        built.append(FRESH())
        return built[-1]

    original = MODELS["cnn-grey"].model()
    original.head.bias.requires_grad_(False)  # type: ignore[union-attr]
    method = FineTune(search=None, recipe=Recipe(lr=1e-30), last=2, reset=True)
    result = forget(method, original, factory=factory).model
    (fresh,) = built
    for name, parameter in result.named_parameters():
        redrawn = name in ("features.6.weight", "features.7.weight", "features.7.bias", "head.weight")
        expected = (fresh if redrawn else original).get_parameter(name)
        torch.testing.assert_close(parameter, expected, rtol=0, atol=1e-20, msg=name)
    assert not torch.equal(fresh.get_parameter("head.weight"), original.get_parameter("head.weight"))


def test_layers_without_parameters_are_drawn_anew_in_their_statistics_and_frozen_ones_are_not() -> None:
    def network(mean: float) -> nn.Sequential:
        made = nn.Sequential(nn.BatchNorm2d(2, affine=False), nn.BatchNorm2d(2))
        for layer in made:
            assert isinstance(layer, nn.BatchNorm2d)
            nn.init.constant_(layer.get_buffer("running_mean"), mean)
        return made

    model = network(3.0)
    model[1].requires_grad_(False)
    redraw(model, ["0", "1"], network(5.0))
    assert [layer.get_buffer("running_mean").tolist() for layer in model] == [[5.0, 5.0], [3.0, 3.0]]


def test_reset_needs_a_number_of_layers_and_a_factory() -> None:
    with pytest.raises(ConfigError, match="last=K"):
        FineTune(reset=True)
    with pytest.raises(ModelError, match="factory"):
        forget(FineTune(search=None, recipe=STEPS, last=1, reset=True))


def test_more_layers_than_there_are_are_refused() -> None:
    with pytest.raises(ConfigError, match="at most 4"):
        forget(FineTune(search=None, recipe=STEPS, last=5))


class Tied(nn.Module):
    """The same layer twice, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.head = nn.Linear(64, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.second(self.first(images.flatten(1)).relu()).relu())


@pytest.mark.parametrize("name", METHODS)
def test_tied_weights_stay_tied(name: str) -> None:
    """With every method of the table, also where only the second of the two layers is to be trained or drawn anew."""
    torch.manual_seed(7)
    original, entry = Tied(), METHODS[name]
    kind = name.partition(":")[0]
    if kind in ("erase", "ct", "msg"):  # a projection of one layer is not that of the other; there is no convolution
        with pytest.raises(ModelError, match=r"with weights of its own|Expected a convolution"):
            forget(entry.method, original, factory=Tied)
        return
    result = forget(entry.method, original, factory=Tied).model
    assert isinstance(result, Tied)
    assert result.first.weight is result.second.weight
    moves = entry.trains and kind not in ("svd-projection", "damp")  # which project the head alone here
    assert torch.equal(result.first.weight, original.first.weight) != moves
    given, state = original.state_dict(), result.state_dict()
    assert state.keys() == given.keys()
    assert torch.equal(state["first.weight"], state["second.weight"])


# ---- which samples, which loss -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FineTune, L1Sparse, NegGradPlus, RandomLabel], ids=lambda k: k.__name__)
def test_a_subset_of_the_retained_data_can_be_taken(kind: Any) -> None:
    result = forget(kind(recipe=STEPS, retain_per_class=4))
    parts: Any = result.access.summary(result.split)["parts"]
    assert [counts["read_by_method"] for counts in parts["retain_train"].values()] == [4, 4, 4]
    with pytest.raises(ConfigError, match="at most 11"):
        forget(kind(recipe=STEPS, retain_per_class=12))


@pytest.mark.parametrize(
    "method",
    [
        FineTune(search=None, recipe=STEPS),
        L1Sparse(search=None, recipe=STEPS, gamma=0),
        NegGrad(recipe=STEPS),
        NegGradPlus(search=None, recipe=STEPS),
        RandomLabel(recipe=STEPS),
    ],
    ids=lambda m: type(m).__name__,
)
def test_the_callers_criterion_is_the_loss(method: Method) -> None:
    original = MODELS["cnn-grey"].model()
    flat = forget(method, original, criterion=lambda logits, labels: 0 * logits.sum())
    assert not moved(original, flat.model)
    steep = forget(method, original, criterion=lambda logits, labels: logits[:, 0].mean())
    assert moved(original, steep.model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        FineTune(search=None, recipe=STEPS),
        L1Sparse(search=None, recipe=STEPS, gamma=0.01),
        NegGrad(recipe=STEPS),
        NegGradPlus(search=None, recipe=STEPS, alpha=0.7),
        RandomLabel(recipe=STEPS),
        SalUn(recipe=STEPS),
        SCRUB(ascent=STEPS, descent=STEPS),
        BadTeacher(recipe=STEPS),
        BoundaryShrink(recipe=STEPS),
        DELETE(recipe=STEPS),
    ],
    ids=lambda m: type(m).__name__,
)
def test_batches_computed_in_pieces_give_the_same_weights(method: Method) -> None:
    torch.manual_seed(7)
    model = TinyViT(len(CLASSES), dropout=0.0).double()
    with torch.no_grad():  # rounding would decide the sign of a weight at zero, and so the L1 step
        for parameter in model.parameters():
            parameter.add_(torch.where(parameter >= 0, 0.1, -0.1))
    options: Any = {"seed": 0, "factory": lambda: TinyViT(len(CLASSES), dropout=0.0).double()}
    whole, cut = (
        unlearn(
            model, method, tiny_data(), ForgetRequest(classes=(1, 3)), runtime=replace(CPU, **size), **options
        ).model
        for size in ({}, {"micro_batch_size": 3})
    )
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(cut.get_parameter(name), parameter, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize(("augment", "kind"), [(True, "crop_flip"), (False, "none")])
def test_images_are_augmented_where_the_source_is_and_the_setting_says(
    monkeypatch: pytest.MonkeyPatch, augment: bool, kind: str
) -> None:
    recipes: list[Recipe] = []
    monkeypatch.setattr(
        "unlearnkit.methods.common.fitting.train", lambda model, samples, recipe, **_: recipes.append(recipe)
    )
    forget(FineTune(search=None, recipe=STEPS, augment=augment), data=tiny_data(augment="crop_flip"))
    forget(FineTune(search=None, recipe=STEPS, augment=augment))
    assert [recipe.augment for recipe in recipes] == [kind, "none"]


# ---- momentum ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nesterov", [True, False])
def test_momentum_is_nesterovs_or_plain(nesterov: bool) -> None:
    """By hand: v <- m v + g; theta <- theta - lr (g + m v) with Nesterov's, theta - lr v with plain momentum."""
    weight, velocity = torch.tensor([[1.0, -2.0]]), torch.zeros(1, 2)
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(weight)
    optimizer = make_optimizer(model, Recipe(lr=0.1, momentum=0.5, nesterov=nesterov))
    for slope in (torch.tensor([[1.0, 3.0]]), torch.tensor([[-2.0, 1.0]]), torch.tensor([[0.0, 0.0]])):
        model.weight.grad = slope.clone()
        optimizer.step()
        velocity = 0.5 * velocity + slope
        weight = weight - 0.1 * (slope + 0.5 * velocity if nesterov else velocity)
        torch.testing.assert_close(model.weight.detach(), weight)


@pytest.mark.slow
def test_published_momentum_reaches_the_training() -> None:
    """The preset's plain momentum gives other weights; Adam has none and gives the same."""
    for optimizer, same in (("sgd", False), ("adam", True), ("adamw", True)):
        plain, nesterov = (
            forget(FineTune.paper().with_settings([f"recipe.optimizer={optimizer}", f"recipe.nesterov={on}"])).model
            for on in ("false", "true")
        )
        assert (moved(plain, nesterov) == set()) == same, optimizer


def test_recipes_are_read_back_also_those_from_before_there_was_a_choice() -> None:
    recipe = Recipe(lr=0.3, nesterov=False)
    recorded = json.loads(json.dumps(recipe.model_dump()))
    assert recorded["nesterov"] is False
    assert Recipe(**recorded) == recipe
    assert Recipe(lr=0.3).with_settings([f"nesterov={recorded['nesterov']}"]) == recipe
    del recorded["nesterov"]
    assert Recipe(**recorded) == Recipe(lr=0.3)
    assert Recipe(lr=0.3).nesterov  # what all recipes had then


# ---- L1-sparse ---------------------------------------------------------------------------------------------------


def test_the_penalty_is_the_norm_of_the_trainable_weights() -> None:
    model = MODELS["cnn-grey"].model()
    model.head.weight.requires_grad_(False)  # type: ignore[union-attr]
    images, labels = torch.randn(3, 1, 8, 8), torch.tensor([0, 1, 3])
    norm = sum(float(p.detach().abs().sum()) for name, p in model.named_parameters() if name != "head.weight")
    expected = float(cross_entropy(model, images, labels).detach()) + 0.25 * norm
    assert float(with_l1(cross_entropy, 0.25)(model, images, labels).detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("gamma", "left"), [(0.05, 0.0), (0.0, 0.05)])
def test_a_weight_that_the_retained_data_does_not_need_goes_to_zero(gamma: float, left: float) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat(12)
    pixels = torch.rand((48, 1, 8, 8), generator=generator)
    pixels[:, 0, 0, 0] = 0.5  # the mean: nothing reaches the weights of this pixel
    pixels[torch.arange(48), 0, 1, labels] += 2.0  # what the classes are told apart by
    sets = [ImageSet.from_tensor(pixels, labels) for _ in range(2)]
    data = ImageData(source="pixels", classes=CLASSES, train=sets[0], test=sets[1])
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with torch.no_grad():
        model[1].weight[:, 0] = torch.tensor([0.05, -0.05, 0.05, -0.05])  # type: ignore[union-attr,index]
    recipe = Recipe(epochs=12, batch_size=8, lr=0.02, momentum=0.5)
    weight = forget(L1Sparse(search=None, gamma=gamma, recipe=recipe), model, data).model.get_parameter("1.weight")
    largest_step = 0.02 * gamma / (1 - 0.5)
    assert weight[:, 0].abs().sub(left).abs().max() <= largest_step
    assert weight[0, 8] > 0.1  # what is needed stays


def test_the_penalty_falls_and_the_rate_follows_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    gammas: list[float] = []
    recipes: list[Recipe] = []

    def noted(base: Any, gamma: float) -> Any:
        gammas.append(gamma)
        return with_l1(base, gamma)

    def watched(model: nn.Module, samples: Any, recipe: Recipe, *args: Any, **options: Any) -> None:
        recipes.append(recipe)
        fit(model, samples, recipe, *args, **options)

    monkeypatch.setattr(l1_module, "with_l1", noted)
    monkeypatch.setattr(l1_module, "fit", watched)
    recipe = Recipe(epochs=4, batch_size=16, lr=0.01, schedule="cosine")
    result = forget(L1Sparse(search=None, gamma=0.4, recipe=recipe))
    assert gammas == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert [r.lr for r in recipes] == pytest.approx([0.01, 0.0085355, 0.005, 0.0014645], rel=1e-3)
    assert all((r.epochs, r.schedule) == (1, "constant") for r in recipes)
    assert len(result.history["sparsify"]) == 4 * 3  # 33 samples in batches of at most 16
