"""NegGrad, NegGrad+ and RandomLabel: what they do to the forget data, and what they leave alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import unlearnkit.methods.random_label as random_label_module
from canonical import CPU, MODELS, STEPS, tiny_data
from unlearnkit.data import ImageData
from unlearnkit.data.view import Samples
from unlearnkit.errors import ConfigError, NonFiniteLossError
from unlearnkit.methods import Method, NegGrad, NegGradPlus, RandomLabel, Unlearned, unlearn
from unlearnkit.methods.neggrad import ascent, ceiling_for
from unlearnkit.methods.neggrad_plus import contrast
from unlearnkit.methods.random_label import wrong_labels
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part
from unlearnkit.training.losses import per_sample
from unlearnkit.training.recipe import Recipe

LN4 = math.log(4)
GENTLE = Recipe(epochs=3, batch_size=8, lr=0.005, clip_value=0.1)


def forget(
    method: Method, *classes: int, model: nn.Module | None = None, data: ImageData | None = None, **request: Any
) -> Unlearned:
    given = model if model is not None else MODELS["vit-grey"].model()
    wanted = ForgetRequest(classes=classes or (2,), **request)
    return unlearn(given, method, data or tiny_data(), wanted, seed=0, runtime=CPU)


def loss_on(model: nn.Module, result: Unlearned, part: Part) -> float:
    data, rows = tiny_data(), result.split[part]
    data.fix_shape(0)
    with torch.no_grad():
        logits = model.eval()(data.normalise(data.train.images(rows, CPU.device)))
    return float(F.cross_entropy(logits, data.train.labels[rows]))


# ---- NegGrad -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vit-grey", "cnn-grey"])
def test_neggrad_raises_the_loss_on_the_forget_data(name: str) -> None:
    model = MODELS[name].model()
    result = forget(NegGrad(recipe=GENTLE), model=model)
    assert loss_on(result.model, result, Part.FORGET_TRAIN) > loss_on(model, result, Part.FORGET_TRAIN) + 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit-grey", "cnn-grey"])
def test_neggrad_stops_at_the_ceiling_however_high_the_rate(name: str) -> None:
    wild = Recipe(epochs=40, batch_size=8, lr=1.0, clip_value=0.1)
    result = forget(NegGrad(recipe=wild, ceiling=2.0), model=MODELS[name].model())
    last = result.history["ascend"][-10:]
    assert min(last) == pytest.approx(-2 * LN4)  # every sample of the last batches is beyond the ceiling
    assert all(math.isfinite(v) for v in result.history["ascend"])


@pytest.mark.slow
def test_neggrad_without_ceiling_runs_off_and_is_stopped() -> None:
    wild = Recipe(epochs=40, batch_size=8, lr=0.1)
    assert min(forget(NegGrad(recipe=wild)).history["ascend"]) >= -2.001 * LN4
    with pytest.raises(NonFiniteLossError, match="ascend"):
        forget(NegGrad(recipe=wild, ceiling=None))


def test_the_ascent_pushes_what_is_below_the_ceiling_and_nothing_else() -> None:
    logits = torch.tensor([[3.0, 0.0, 0.0], [-9.0, 0.0, 0.0]], requires_grad=True)
    labels = torch.tensor([0, 0])
    value = ascent(per_sample(), ceiling=2.0)(nn.Identity(), logits, labels)
    value.backward()
    assert logits.grad is not None
    known = 3.0 - math.log(math.exp(3) + 2)  # log p of the first sample's label
    assert float(value.detach()) == pytest.approx((known - 2.0) / 2, rel=1e-5)
    probabilities = torch.tensor([math.exp(3), 1.0, 1.0]) / (math.exp(3) + 2)
    expected = -(probabilities - torch.tensor([1.0, 0.0, 0.0])) / 2  # descending on it lowers the true class
    torch.testing.assert_close(logits.grad[0], expected)
    assert torch.equal(logits.grad[1], torch.zeros(3))


def test_the_ceiling_is_in_units_of_a_uniform_guess() -> None:
    assert ceiling_for(1.5, 10) == pytest.approx(1.5 * math.log(10))
    assert ceiling_for(None, 10) == math.inf


def test_a_criterion_gives_each_samples_loss() -> None:
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    torch.testing.assert_close(per_sample(F.cross_entropy)(logits, labels), per_sample()(logits, labels))
    smoothed = F.cross_entropy(logits, labels, label_smoothing=0.2)
    torch.testing.assert_close(per_sample(label_smoothing=0.2)(logits, labels).mean(), smoothed)


# ---- NegGrad+ ----------------------------------------------------------------------------------------------------

LOGITS = torch.randn((8, 4), generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 0])
MARKED = LABELS + 4 * torch.isin(LABELS, torch.tensor([1, 3]))  # 1 and 3 are forgotten: 3 of 8


def mean_loss(chosen: list[int]) -> float:
    """By hand: log of the sum of exponentials, less the label's logit."""
    losses = [math.log(sum(math.exp(v) for v in LOGITS[i].tolist())) - float(LOGITS[i, LABELS[i]]) for i in chosen]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("alpha", [0.95, 0.5, 0.1])
def test_neggrad_plus_is_the_weighted_difference_of_the_two_mean_losses(alpha: float) -> None:
    loss = contrast(per_sample(), 4, alpha=alpha, share=3 / 8, ceiling=math.inf)
    expected = alpha * mean_loss([0, 2, 4, 6, 7]) - (1 - alpha) * mean_loss([1, 3, 5])
    assert float(loss(nn.Identity(), LOGITS, MARKED)) == pytest.approx(expected, rel=1e-5)


def test_neggrad_plus_computed_in_pieces_adds_up() -> None:
    loss = contrast(per_sample(), 4, alpha=0.7, share=3 / 8, ceiling=math.inf)
    pieces = [slice(0, 1), slice(1, 2), slice(2, 7), slice(7, 8)]  # some with one kind alone
    total = sum(float(loss(nn.Identity(), LOGITS[p], MARKED[p])) * len(LABELS[p]) / 8 for p in pieces)
    assert total == pytest.approx(float(loss(nn.Identity(), LOGITS, MARKED)), rel=1e-5)


def test_the_ceiling_of_neggrad_plus_holds_for_forgotten_samples_alone() -> None:
    logits = torch.tensor([[-9.0, 0.0], [0.0, -9.0]], requires_grad=True)
    contrast(per_sample(), 2, alpha=0.5, share=0.5, ceiling=1.0)(nn.Identity(), logits, torch.tensor([0, 3])).backward()
    assert logits.grad is not None
    assert logits.grad[0].abs().max() > 0.1
    assert torch.equal(logits.grad[1], torch.zeros(2))


@pytest.mark.slow
def test_neggrad_plus_sees_each_forget_sample_as_often_as_asked() -> None:
    for repeats, times in ((1, 1), (4, 4), (None, 3)):  # 33 retained, 12 to forget
        result = forget(NegGradPlus(search=None, recipe=STEPS, repeats=repeats))
        assert result.cost["total"]["samples_forward"] == 2 * (33 + times * 12)


@pytest.mark.parametrize("repeats", [1, 3])
def test_the_weights_of_neggrad_plus_hold_however_often_forget_samples_are_repeated(
    repeats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all samples of an epoch the loss is alpha L_R - (1 - alpha) L_F."""
    seen: list[Tensor] = []

    def spy(model: nn.Module, samples: Any, recipe: Recipe, **options: Any) -> None:
        x, y = samples.images(torch.arange(len(samples))), samples.labels
        value = options["loss"](model, x, y)
        of = [F.cross_entropy(model(x[chosen]), y[chosen] % 4) for chosen in (y == 4, y < 4)]  # class 0 is marked
        seen.append(torch.stack([value, 0.7 * of[1] - 0.3 * of[0]]))

    monkeypatch.setattr("unlearnkit.methods.common.fitting.train", spy)
    forget(NegGradPlus(search=None, recipe=STEPS, repeats=repeats, alpha=0.7, ceiling=None), 0)
    assert seen[0][0].item() == pytest.approx(seen[0][1].item(), rel=1e-5)


def test_neggrad_plus_forgets_more_the_more_it_is_told_to() -> None:
    losses = {}
    for alpha in (0.99, 0.5):
        result = forget(
            NegGradPlus(search=None, recipe=Recipe(epochs=2, batch_size=16, lr=0.02), alpha=alpha, ceiling=None)
        )
        losses[alpha] = loss_on(result.model, result, Part.FORGET_TRAIN)
    assert losses[0.5] > losses[0.99]


# ---- RandomLabel -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retain", [True, False])
@pytest.mark.parametrize(("classes", "earlier"), [((2,), ()), ((1, 3), ()), ((2,), (0,))])
def test_a_random_label_is_neither_the_true_one_nor_a_forgotten_class(
    monkeypatch: pytest.MonkeyPatch, classes: tuple[int, ...], earlier: tuple[int, ...], retain: bool
) -> None:
    seen: list[Samples] = []
    monkeypatch.setattr(random_label_module, "fit", lambda model, samples, *_, **__: seen.append(samples))
    data = tiny_data()
    result = forget(RandomLabel(recipe=STEPS, retain=retain), *classes, data=data, already_forgotten=earlier)
    (samples,) = seen
    true = {
        tuple(data.normalise(data.train.images(torch.tensor([row]), CPU.device)).flatten().tolist()): int(label)
        for row, label in enumerate(data.train.labels)
    }
    images = samples.images(torch.arange(len(samples)))
    forgotten = 0
    for image, label in zip(images, samples.labels.tolist(), strict=True):
        actual = true[tuple(image.flatten().tolist())]
        assert label not in (*classes, *earlier)
        assert (label == actual) == (actual not in classes)
        forgotten += actual in classes
    assert forgotten == len(result.split[Part.FORGET_TRAIN]) == 12 * len(classes)
    assert len(samples) - forgotten == (len(result.split[Part.RETAIN_TRAIN]) if retain else 0)


def test_random_labels_are_uniform_over_the_retained_classes() -> None:
    labels = wrong_labels(torch.ones(6000, dtype=torch.int64), (0, 3, 5), torch.Generator().manual_seed(0))
    counts = labels.bincount(minlength=6).tolist()
    assert sum(counts) == 6000
    assert counts[1] == counts[2] == counts[4] == 0
    assert all(abs(counts[k] - 2000) < 150 for k in (0, 3, 5))  # four standard deviations


def test_random_labels_of_rows_are_never_their_own() -> None:
    own = torch.tensor([0, 3, 5, 1]).repeat(1500)  # 1 is of a class that is forgotten whole
    labels = wrong_labels(own, (0, 3, 5), torch.Generator().manual_seed(0))
    assert not bool((labels == own).any())
    counts = torch.bincount(labels[own == 3], minlength=6).tolist()
    assert counts[1] == counts[2] == counts[3] == counts[4] == 0
    assert abs(counts[0] - 750) < 90
    with pytest.raises(ConfigError, match="only one stays"):
        wrong_labels(torch.tensor([2]), (2,), torch.Generator())


def test_random_label_without_retained_data_declares_none() -> None:
    assert RandomLabel(retain=False).needs == {Part.FORGET_TRAIN}
    assert RandomLabel().needs == {Part.FORGET_TRAIN, Part.RETAIN_TRAIN}


def test_random_label_lowers_what_the_model_knew() -> None:
    model = MODELS["vit-grey"].model()
    result = forget(RandomLabel(recipe=Recipe(epochs=8, batch_size=8, lr=0.05)), model=model)
    assert loss_on(result.model, result, Part.FORGET_TRAIN) > loss_on(model, result, Part.FORGET_TRAIN)
