"""Boundary Shrink: the labels it finds on linear models whose boundaries are known, and what it trains on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unlearnkit.methods.boundary_shrink as boundary_module
from canonical import CPU, MODELS, STEPS, tiny_data
from unlearnkit.data import ImageData, ImageSet
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.methods import BoundaryShrink, Unlearned, unlearn
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part

# Class 0 wins at the origin. Class 1 comes second there, but no step reaches it: its logit is constant. The boundary to
# class 2 is the nearest after class 3's, which is nearer still but forgotten in most tests.
WEIGHTS = torch.tensor([[0.0, 0.0], [0.0, 0.0], [10.0, 10.0], [20.0, 20.0]])
BIASES = torch.tensor([0.0, -1.0, -3.0, -3.0])


class Linear(nn.Module):
    def __init__(self, weights: Tensor = WEIGHTS, biases: Tensor = BIASES) -> None:
        super().__init__()
        self.head = nn.Linear(2, len(biases))
        self.head.weight, self.head.bias = nn.Parameter(weights.clone()), nn.Parameter(biases.clone())

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))


def data(std: float = 1.0, first: Tensor | None = None) -> ImageData:
    """Six images of each class; those of class 0 lie at the origin, or as given."""
    points = torch.zeros(24, 1, 1, 2)
    if first is not None:
        points[:6, 0, 0] = first
    labels = torch.arange(4).repeat_interleave(6)
    train, test = (ImageSet.from_tensor(points, labels) for _ in range(2))
    fed = Preprocessing(mean=(0.0,), std=(std,))
    return ImageData(source="points", classes=tuple("abcd"), train=train, test=test, preprocessing=fed)


def labels_found(
    monkeypatch: pytest.MonkeyPatch,
    *classes: int,
    bound: float,
    given: ImageData | None = None,
    model: nn.Module | None = None,
    runtime: Runtime = CPU,
    **options: Any,
) -> tuple[Unlearned, Tensor]:
    """Labels that the forget images are trained under."""
    seen: list[Tensor] = []
    monkeypatch.setattr(boundary_module, "fit", lambda _m, samples, *_a, **_k: seen.append(samples.labels))
    request = ForgetRequest(classes=classes, **options)
    method = BoundaryShrink(bound=bound)
    result = unlearn(model or Linear(), method, given or data(), request, seed=0, runtime=runtime)
    return result, seen[0]


def test_the_label_is_the_class_behind_the_nearest_boundary_not_the_clean_runner_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, labels = labels_found(monkeypatch, 0, 3, bound=0.3)
    assert labels[:6].tolist() == [2] * 6
    assert int(Linear()(torch.zeros(1, 2))[0, 1:].argmax()) + 1 == 1  # the clean runner-up is class 1


def test_a_step_too_short_to_cross_gives_the_best_retained_class_and_never_the_true_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, labels = labels_found(monkeypatch, 0, 3, bound=0.01)
    assert labels[:6].tolist() == [1] * 6


@pytest.mark.parametrize(
    ("classes", "earlier", "wanted"),
    [((0,), (), 3), ((0, 3), (), 2), ((0,), (3,), 2), ((0, 2), (3,), 1)],
    ids=["3 stays", "3 goes too", "3 went earlier", "2 and 3 gone"],
)
def test_a_forgotten_class_is_never_the_label(
    classes: tuple[int, ...], earlier: tuple[int, ...], wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, labels = labels_found(monkeypatch, *classes, bound=0.3, already_forgotten=earlier)
    assert labels[:6].tolist() == [wanted] * 6
    assert not set(labels.tolist()) & {*classes, *earlier}
    assert sum(result.notes["nearest"].values()) == len(labels) == 6 * len(classes)


def test_the_nearest_class_is_found_for_each_image_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Class 0 fills a square around the origin; each image lies near another side of it."""
    weights = torch.tensor([[0.0, 0.0], [9.0, 0.0], [-9.0, 0.0], [0.0, 9.0]])
    biases = torch.tensor([0.0, -9.0, -9.0, -9.0])
    points = torch.tensor([[0.9, 0.0], [-0.9, 0.0], [0.0, 0.9], [0.9, 0.1], [-0.9, 0.1], [0.1, 0.95]])
    _, labels = labels_found(
        monkeypatch,
        0,
        bound=0.2,
        given=data(first=points),
        model=Linear(weights, biases),
        runtime=replace(CPU, eval_batch_size=4),
    )
    assert labels.tolist() == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize(("std", "wanted"), [(0.5, 2), (2.0, 1)])
def test_the_bound_is_in_units_of_pixels(std: float, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of 0.1 is 0.1 / std for the model: 0.2 brings class 2 to +1, 0.05 only to -2, below class 1."""
    _, labels = labels_found(monkeypatch, 0, 3, bound=0.1, given=data(std=std))
    assert labels[:6].tolist() == [wanted] * 6


def test_the_bound_is_in_units_of_each_channels_own_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of 0.1 is 0.2 in the first channel, which brings class 3 to +1, and 0.05 in the second: class 2 to -2."""
    weights = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 20.0], [20.0, 0.0]])
    points, labels = torch.zeros(24, 2, 1, 1), torch.arange(4).repeat_interleave(6)
    train, test = (ImageSet.from_tensor(points, labels) for _ in range(2))
    fed = Preprocessing(mean=(0.0, 0.0), std=(0.5, 2.0))
    given = ImageData(source="points", classes=tuple("abcd"), train=train, test=test, preprocessing=fed)
    _, found = labels_found(monkeypatch, 0, bound=0.1, given=given, model=Linear(weights, BIASES))
    assert found.tolist() == [3] * 6


def test_the_search_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["cnn-grey"].model()
    result, labels = labels_found(monkeypatch, 1, 3, bound=0.1, given=tiny_data(), model=model)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in result.model.state_dict().items())
    assert set(labels.tolist()) <= {0, 2}


def test_the_clean_forget_images_are_trained_on_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def spy(_model: nn.Module, samples: Any, *_: Any, **__: Any) -> None:
        seen.append(samples.images(torch.arange(len(samples))))

    monkeypatch.setattr(boundary_module, "fit", spy)
    given, model = tiny_data(), MODELS["cnn-grey"].model()
    result = unlearn(model, BoundaryShrink(), given, ForgetRequest(classes=(2,)), seed=0, runtime=CPU)
    clean = given.normalise(given.train.images(result.split[Part.FORGET_TRAIN], CPU.device))
    assert torch.equal(seen[0], clean)


def test_training_moves_the_forget_images_to_their_labels() -> None:
    model = Linear()
    recipe = STEPS.model_copy(update={"epochs": 40, "lr": 0.1})
    method = BoundaryShrink(bound=0.3, recipe=recipe)
    result = unlearn(model, method, data(), ForgetRequest(classes=(0, 3)), seed=0, runtime=CPU)
    assert int(model(torch.zeros(1, 2)).argmax()) == 0
    assert int(result.model(torch.zeros(1, 2)).argmax()) == 2


@pytest.mark.parametrize("follow", [False, True])
def test_statistics_follow_the_forget_batches_only_where_asked(follow: bool) -> None:
    model = MODELS["cnn-grey"].model()
    method = BoundaryShrink(recipe=STEPS, batch_statistics=follow)
    result = unlearn(model, method, tiny_data(), ForgetRequest(classes=(2,)), seed=0, runtime=CPU)
    same = [torch.equal(b, result.model.get_buffer(name)) for name, b in model.named_buffers()]
    assert not any(same) if follow else all(same)
