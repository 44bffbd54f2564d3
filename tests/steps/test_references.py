"""The reference points: Retrain starts from nothing, Original changes nothing, HeadMask changes the head alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import unlearnkit.methods.retrain as retrain
from canonical import CLASSES, CPU, MODELS, STEP, tiny_data
from unlearnkit.data import ImageData
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.data.sources.registry import load_data
from unlearnkit.errors import ModelError
from unlearnkit.methods import (
    BadTeacher,
    FineTune,
    HeadMask,
    Method,
    Original,
    Retrain,
    Unlearned,
    masked,
    unlearn,
)
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import checkpoint_bytes, read_checkpoint
from unlearnkit.models.metadata import ModelCard
from unlearnkit.request import ForgetRequest
from unlearnkit.run_dir import WEIGHTS
from unlearnkit.split import Part
from unlearnkit.steps.output import Output
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run

FRESH = MODELS["cnn-grey"].fresh
IMAGES = torch.randn((5, 1, 8, 8), generator=torch.Generator().manual_seed(3))


def forget(
    method: Method, *classes: int, model: nn.Module | None = None, data: ImageData | None = None, **options: Any
) -> Unlearned:
    request = ForgetRequest(classes=classes or (2,))
    given = model if model is not None else MODELS["cnn-grey"].model()
    return unlearn(given, method, data or tiny_data(), request, **{"seed": 0, "runtime": CPU} | options)


# ---- Retrain -----------------------------------------------------------------------------------------------------


def trained(model: nn.Module | None = None) -> nn.Module:
    """A model of which no tensor is as any constructor leaves it."""
    model = model or FRESH()
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(torch.rand(value.shape, generator=generator))
    return model


def test_retrain_shares_no_tensor_with_the_original_before_its_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain, "fit", lambda *_args, **_options: None)  # training would move what was kept, too
    original = trained()
    before, after = original.state_dict(), forget(Retrain(), model=original, factory=FRESH).model.state_dict()
    compared = [name for name, value in before.items() if value.is_floating_point()]  # not the counters of batches
    assert {"features.0.weight", "features.1.running_var", "head.bias"} <= set(compared)
    for name in compared:
        assert not torch.equal(after[name], before[name]), name
    theirs = {value.data_ptr() for value in before.values()}
    assert all(value.data_ptr() not in theirs for value in after.values())


@pytest.mark.slow
def test_retrain_gives_bit_for_bit_what_train_without_the_class_gives(tmp_path: Path) -> None:
    spec = TrainSpec(model="small-cnn", data="digits", exclude=("3",), settings=["epochs=1"])
    train_run(spec, Output(tmp_path / "out"), seed=4, runtime=CPU)
    expected = read_checkpoint(tmp_path / "out" / WEIGHTS).state
    digits, method = load_data("digits"), Retrain(epochs=1)
    result = forget(method, 3, model=SmallCNN(10), data=digits, factory=lambda: SmallCNN(10), seed=4)
    state = result.model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())


class Whitening(SmallCNN):
    """A network that is initialised from images, and says how it is to be trained."""

    default_recipe: ClassVar[dict[str, Any]] = {"epochs": 3, "batch_size": 11, "lr": 0.07}

    def __init__(self) -> None:
        super().__init__(len(CLASSES), 1, width=4)
        self.events: list[Tensor] = []

    def initialise(self, images: Tensor) -> None:
        self.events.append(images)

    def forward(self, images: Tensor) -> Tensor:
        self.events.append(torch.empty(0))
        return super().forward(images)


def test_retrain_initialises_the_architecture_from_retained_images_before_the_first_step() -> None:
    built: list[Whitening] = []

    def factory() -> nn.Module:
        built.append(Whitening())
        return built[-1]

    data = tiny_data(forbidden=(2,))  # decoding a forgotten row fails
    result = forget(Retrain(), 2, model=Whitening(), data=data, factory=factory)
    (network,) = built
    first, *others = network.events
    assert others
    assert all(len(event) == 0 for event in others)
    rows = result.split[Part.RETAIN_TRAIN]
    retained = {tuple(image.flatten().tolist()) for image in data.normalise(data.train.images(rows, CPU.device))}
    assert {tuple(image.flatten().tolist()) for image in first} == retained
    assert len(first) == len(rows) == 33


def test_retrain_trains_by_the_recipe_of_the_architecture_and_by_what_is_given() -> None:
    recipe = forget(Retrain(lr=0.03), model=Whitening(), factory=Whitening).notes["recipe"]
    assert (recipe["epochs"], recipe["batch_size"], recipe["lr"]) == (3, 11, 0.03)
    assert (recipe["schedule"], recipe["weight_decay"]) == ("one_cycle", 5e-4)


def test_the_factory_draws_from_the_seeded_randomness() -> None:
    drawn: list[Tensor] = []

    def factory() -> nn.Module:
        model = FRESH()
        drawn.append(next(model.parameters()).detach().clone())
        return model

    for seed in (0, 0, 1):
        torch.rand(3)  # the global generator is elsewhere each time
        forget(Retrain(epochs=1, batch_size=16), factory=factory, seed=seed)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_retrain_refuses_a_factory_that_is_none() -> None:
    original = MODELS["cnn-grey"].model()
    cases: list[tuple[Callable[[], nn.Module] | None, str]] = [
        (None, "factory"),
        (lambda: SmallCNN(4, 1, width=5), "same architecture"),
        (lambda: copy.deepcopy(original), "fresh weights"),
        (lambda: original, "fresh weights"),
    ]
    for factory, words in cases:
        with pytest.raises(ModelError, match=words):
            forget(Retrain(epochs=1), model=original, factory=factory)


STARTERS: list[Method] = [
    Retrain(epochs=1),
    FineTune(search=None, recipe=STEP, last=1, reset=True),
    BadTeacher(recipe=STEP),
]
starters = pytest.mark.parametrize("method", STARTERS, ids=["retrain", "eu-k", "bad-teacher"])


def keeping(original: nn.Module, *kept: str) -> nn.Module:
    """A fresh model but for the tensors of the original whose names begin so."""
    fresh = FRESH()
    fresh.load_state_dict(fresh.state_dict() | {k: v for k, v in original.state_dict().items() if k.startswith(kept)})
    return fresh


@starters
def test_a_factory_that_draws_the_head_alone_anew_is_refused(method: Method) -> None:
    original = trained()

    def factory() -> nn.Module:
        model = copy.deepcopy(original)
        model.head.reset_parameters()  # type: ignore[union-attr,operator]
        return model

    with pytest.raises(ModelError, match=r"features\.0\.weight \(and 14 more\) equals the original's"):
        forget(method, model=original, factory=factory)


@starters
@pytest.mark.parametrize("kept", ["features.3.weight", "head.bias", "features.4.running_mean"])
def test_a_factory_that_keeps_a_single_trained_tensor_is_refused(method: Method, kept: str) -> None:
    original = trained()
    with pytest.raises(ModelError, match=f"but {kept} equals the original's"):
        forget(method, model=original, factory=lambda: keeping(original, kept))


@starters
def test_layers_that_are_frozen_in_both_models_may_be_the_same(method: Method) -> None:
    """Pretrained layers that the factory loads on purpose, and never trained here."""
    pretrained = trained()

    def factory() -> nn.Module:
        model = keeping(pretrained, "features")
        model.features.requires_grad_(False)  # type: ignore[union-attr,operator]
        return model

    result = forget(method, model=factory(), factory=factory).model
    for name, parameter in result.named_parameters():
        assert name.startswith("head") or torch.equal(parameter, pretrained.get_parameter(name)), name


@pytest.mark.parametrize("frozen", ["original", "fresh"])
def test_layers_that_are_frozen_in_one_of_them_alone_are_refused(frozen: str) -> None:
    """It may be a copy of trained layers that was frozen, or a frozen copy of them that would be trained."""
    original = trained()

    def factory() -> nn.Module:
        return keeping(original, "features.0").requires_grad_(frozen == "original")

    original.features[0].requires_grad_(frozen == "fresh")  # type: ignore[index]
    with pytest.raises(ModelError, match=r"features\.0\.weight equals .* frozen .* in the original and in what"):
        forget(Retrain(epochs=1), model=original, factory=factory)


class Spare(SmallCNN):
    """A network with a layer that its output does not depend on, so that training leaves it as it was drawn.

    Its dropout draws from the global generator in every step.
    """

    def __init__(self) -> None:
        super().__init__(len(CLASSES), 1, width=4)
        self.spare = nn.Linear(3, 3)
        self.dropout = nn.Dropout(0.2)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.dropout(images))


@pytest.mark.parametrize("untrained", [False, True], ids=["an-unused-layer", "all-of-it"])
def test_what_the_same_seed_drew_and_nobody_trained_is_no_copy(untrained: bool) -> None:
    torch.manual_seed(4)
    original = Spare()
    drawn = copy.deepcopy(original.spare.state_dict())
    if not untrained:
        original = trained(original)  # type: ignore[assignment]
        original.spare.load_state_dict(drawn)
    result = forget(Retrain(epochs=1), model=original, factory=Spare, seed=4).model
    assert torch.equal(result.get_parameter("spare.weight"), drawn["weight"])
    other = forget(Retrain(epochs=1), model=trained(Spare()), factory=Spare, seed=4).model.state_dict()
    assert all(torch.equal(other[name], value) for name, value in result.state_dict().items())  # the look cost no draw


def test_a_factory_with_a_seed_of_its_own_is_refused() -> None:
    def factory() -> nn.Module:
        torch.manual_seed(4)
        return Spare()

    original = trained(factory())
    original.spare.load_state_dict(factory().spare.state_dict())  # type: ignore[union-attr,operator,arg-type]
    with pytest.raises(ModelError, match=r"spare\.weight \(and 1 more\) .*without a seed of its own"):
        forget(Retrain(epochs=1), model=original, factory=factory, seed=4)


# ---- Original ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_original_changes_no_bit_and_costs_nothing(name: str) -> None:
    original = MODELS[name].model()
    result = forget(Original(), model=original, data=MODELS[name].data())
    state = result.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in original.state_dict().items())
    assert result.cost["stages"] == {}
    assert (result.cost["total"]["samples_forward"], result.cost["total"]["samples_backward"]) == (0, 0)


# ---- HeadMask ----------------------------------------------------------------------------------------------------


class Wrapped(nn.Module):
    """Gives an object with `.logits`."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = MODELS["cnn-grey"].model()

    def forward(self, images: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.inner(images))


class ConvHead(nn.Module):
    """A fully convolutional classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 6, 3)
        self.head = nn.Conv2d(6, len(CLASSES), 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images).relu()).mean(dim=(2, 3))


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        output = model.eval()(IMAGES)
    return output if isinstance(output, Tensor) else output.logits


@pytest.mark.parametrize("classes", [(2,), (1, 3)], ids=["one", "several"])
@pytest.mark.parametrize("build", [MODELS["cnn-grey"].model, MODELS["vit-grey"].model, Wrapped, ConvHead])
def test_head_mask_sets_the_forgotten_logits_and_leaves_the_others(
    build: Callable[[], nn.Module], classes: tuple[int, ...]
) -> None:
    original = build()
    result = forget(HeadMask(), *classes, model=original)
    kept = [k for k in range(len(CLASSES)) if k not in classes]
    before, after = logits(original), logits(result.model)
    torch.testing.assert_close(after[:, list(classes)], torch.full((5, len(classes)), -1e4))
    torch.testing.assert_close(after[:, kept], before[:, kept])
    for name, parameter in result.model.named_parameters():
        changed = not torch.equal(parameter, original.get_parameter(name))
        assert changed == ("head" in name), name


def test_a_masked_model_is_written_and_loaded_into_the_plain_architecture(tmp_path: Path) -> None:
    result = forget(HeadMask(), 1)
    card = ModelCard(
        model="small-cnn",
        classes=CLASSES,
        forgotten=("bee",),
        shape=(1, 8, 8),
        preprocessing=Preprocessing(mean=(0.5,), std=(0.25,), channels=1),
    )
    (tmp_path / WEIGHTS).write_bytes(checkpoint_bytes(result.model, card))
    plain = FRESH()
    read_checkpoint(tmp_path / WEIGHTS).load_into(plain)
    assert torch.equal(logits(plain)[:, 1], torch.full((5,), -1e4))


class Odd(SmallCNN):
    """A head that cannot carry the mask, one way or another."""

    def __init__(self, kind: str) -> None:
        super().__init__(len(CLASSES), 1, width=4)
        self.scale = 0.1 if kind == "scaled" else 1.0
        if kind == "no bias":
            self.head = nn.Linear(8, len(CLASSES), bias=False)
        if kind == "frozen":
            self.head.bias.requires_grad_(False)
        if kind == "shared":
            self.twin = nn.Linear(8, len(CLASSES))
            self.twin.weight = self.head.weight

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * self.scale


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("no bias", "with a bias"),
        ("frozen", "frozen"),
        ("shared", "shares them with twin"),
        ("scaled", "to be the logits"),
    ],
)
def test_head_mask_refuses_a_head_that_cannot_carry_it_and_the_wrapper_takes_it(kind: str, words: str) -> None:
    model = Odd(kind).eval()
    with pytest.raises(ModelError, match=words):
        forget(HeadMask(), 1, 3, model=model)
    before, after = logits(model), logits(masked(model, (1, 3)))
    assert torch.equal(after[:, [1, 3]], torch.full((5, 2), -1e4))
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])
    assert torch.equal(logits(masked(Wrapped(), [0]))[:, 0], torch.full((5,), -1e4))
