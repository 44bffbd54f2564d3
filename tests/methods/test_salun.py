"""SalUn: which weights it chooses, that all others keep every bit, and what it trains on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import unlearnkit.methods.salun as salun_module
from canonical import CPU, MODELS, tiny_data
from unlearnkit.data.samples import TensorSamples
from unlearnkit.methods import SalUn, Unlearned, unlearn
from unlearnkit.methods.salun import put_back, salient
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.split import Part
from unlearnkit.training.loop import train
from unlearnkit.training.recipe import Recipe

Masks = dict[str, Tensor]


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch) -> list[Masks]:
    """Records the masks of every run."""
    seen: list[Masks] = []

    def spy(gradient: Masks, share: float) -> Masks:
        seen.append(salient(gradient, share))
        return seen[-1]

    monkeypatch.setattr(salun_module, "salient", spy)
    return seen


def forget(model: nn.Module, recipe: Recipe, *classes: int, **settings: Any) -> Unlearned:
    request = ForgetRequest(classes=classes, already_forgotten=settings.pop("already_forgotten", ()))
    return unlearn(model, SalUn(recipe=recipe, **settings), tiny_data(), request, seed=0, runtime=CPU)


RECIPES = {
    "momentum and weight decay": Recipe(epochs=2, batch_size=8, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adam and weight decay": Recipe(epochs=2, batch_size=8, lr=0.01, optimizer="adam", weight_decay=0.1),
    "adamw": Recipe(epochs=2, batch_size=8, lr=0.01, optimizer="adamw", weight_decay=0.5),
    "slow average": Recipe(epochs=3, batch_size=8, lr=0.1, weight_decay=0.1, lookahead=True),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
@pytest.mark.parametrize("kind", ["cnn-grey", "vit-grey"])
def test_weights_outside_of_the_mask_keep_every_bit(kind: str, recipe: Recipe, masks: list[Masks]) -> None:
    model = MODELS[kind].model()
    first = next(iter(dict(model.named_parameters())))
    model.get_parameter(first).requires_grad_(False)
    result = forget(model, recipe, 2)
    (mask,) = masks
    assert first not in mask
    assert torch.equal(result.model.get_parameter(first), model.get_parameter(first))
    chosen = moved = 0
    for name, inside in mask.items():
        before, after = model.get_parameter(name).detach(), result.model.get_parameter(name).detach()
        assert torch.equal(after[~inside], before[~inside]), name
        chosen += int(inside.sum())
        moved += int((after[inside] != before[inside]).sum())
    total = sum(inside.numel() for inside in mask.values())
    assert chosen == result.notes["salient"] == pytest.approx(total / 2, abs=1)
    assert moved > 0.9 * chosen


def test_without_putting_back_weight_decay_would_move_them() -> None:
    """The check above can fail: masked gradients alone do not hold a weight."""
    model = MODELS["cnn-grey"].model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    data = TensorSamples(torch.randn(16, 1, 8, 8), torch.arange(16) % 4)
    options: Any = {"stage": "s", "generator": torch.Generator(), "runtime": CPU, "log": RunLog(CPU)}
    nothing = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    train(model, data, RECIPES["adamw"], after_step=put_back(model, nothing), **options)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    train(model, data, RECIPES["adamw"], **options)
    assert not any(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_batch_statistics_follow_the_training() -> None:
    model = MODELS["cnn-grey"].model()
    result = forget(model, RECIPES["adamw"], 2)
    changed = [name for name, b in model.named_buffers() if not torch.equal(b, result.model.get_buffer(name))]
    assert changed == [name for name, _ in model.named_buffers()]


def test_the_mask_is_that_of_the_largest_gradients_on_the_forget_data(masks: list[Masks]) -> None:
    model, data = MODELS["cnn-grey"].model(), tiny_data()
    result = forget(model, RECIPES["adamw"], 1, 3, share=0.25)
    rows = result.split[Part.FORGET_TRAIN]
    data.fix_shape(0)
    images = data.normalise(data.train.images(rows, CPU.device))
    loss = F.cross_entropy(model(images), data.train.labels[rows])
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    sizes = torch.cat([g.abs().flatten() for g in slopes])
    chosen = torch.cat([m.flatten() for m in masks[0].values()])
    count = round(0.25 * len(sizes))
    top = set(sizes.topk(count).indices.tolist())
    found = set(torch.nonzero(chosen).flatten().tolist())
    assert len(found ^ top) <= 2  # rounding at the threshold


def test_the_threshold_is_one_for_all_layers_and_zero_gradients_are_never_chosen() -> None:
    gradient = {"a": torch.tensor([0.0, 3.0, -4.0]), "b": torch.tensor([[-1.0, 0.0], [0.5, 0.0]])}
    for share, kept in ((1 / 7, [4.0]), (2 / 7, [3.0, 4.0]), (3 / 7, [1.0, 3.0, 4.0]), (1.0, [0.5, 1.0, 3.0, 4.0])):
        mask = salient(gradient, share)
        chosen = sorted(float(v) for name in gradient for v in gradient[name][mask[name]].abs())
        assert chosen == kept
    assert int(salient({"a": torch.zeros(5)}, 0.5)["a"].sum()) == 0


def test_forget_images_get_retained_labels_and_retained_images_keep_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Tensor] = {}

    def spy(model: nn.Module, samples: Any, *_: Any, **__: Any) -> None:
        seen["labels"], seen["images"] = samples.labels, samples.images(torch.arange(len(samples)))

    monkeypatch.setattr(salun_module, "fit", spy)
    result = forget(MODELS["cnn-grey"].model(), RECIPES["adamw"], 2, already_forgotten=(0,))
    data = tiny_data()
    data.fix_shape(0)
    for part, count in ((Part.FORGET_TRAIN, 12), (Part.RETAIN_TRAIN, 22)):
        rows = result.split[part]
        images = data.normalise(data.train.images(rows, CPU.device))
        place = [int(torch.nonzero((seen["images"] == image).flatten(1).all(dim=1))) for image in images]
        labels = seen["labels"][place]
        assert len(labels) == count
        if part is Part.FORGET_TRAIN:
            assert set(labels.tolist()) == {1, 3}
        else:
            assert torch.equal(labels, data.train.labels[rows])
    assert len(seen["labels"]) == 34
