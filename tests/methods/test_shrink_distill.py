"""Shrink and distil: what is shrunk, how far the network's answers bear it, and where it is not asked."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from canonical import CPU, MODELS, tiny_data
from unlearnkit.errors import ConfigError
from unlearnkit.methods import METHODS, shrink_distill, unlearn
from unlearnkit.methods.common import shrinking
from unlearnkit.methods.common.soft_targets import outputs_of
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part, split_for


def test_shrink_distill_shrinks_matrices_alone_and_less_at_every_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Usual mistake: biases and normalisations shrunk as well, or an attempt that goes on from the one before."""
    model = MODELS["cnn-grey"].build(1)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    made: list[nn.Module] = []

    def three(attempt: Any, *_: Any, **__: Any) -> nn.Module:
        made.extend(attempt(power) for power in (1.0, 0.5, 0.25))
        return made[0]

    monkeypatch.setattr(shrink_distill, "search_rates", three)
    method = METHODS["shrink-distill"]().with_settings(["factor=0.25", "repair.lr=1e-12", "repair.epochs=1"])
    unlearn(model, method, tiny_data(1), ForgetRequest(classes=(0,)), seed=0, runtime=CPU)
    for left, shrunk in zip((0.25, 0.5, 0.25**0.25), made, strict=True):
        for name, parameter in shrunk.named_parameters():
            expected = before[name] * (left if parameter.dim() >= 2 else 1.0)
            torch.testing.assert_close(parameter, expected, atol=1e-6, rtol=1e-5)


def bare(layers: int = 5, norm: Any = None, normalised: int = 0) -> nn.Module:
    """A network that has learned the tiny images, the first `normalised` of its layers normalised by `norm`.

    Its first layer does not learn any more.
    """
    torch.manual_seed(0)
    hidden: list[nn.Module] = []
    for layer in range(layers):
        hidden += [nn.Linear(64, 64), *([norm(64)] if layer < normalised else []), nn.GELU()]
    model, data = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(64, 4)), tiny_data()
    data.fix_shape(0)
    images = data.normalise(data.train.images(torch.arange(len(data.train)), CPU.device))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.002)
    for _ in range(80):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), data.train.labels).backward()
        optimiser.step()
    model[1].requires_grad_(False)
    return model.eval()


def kappa_of(first: Tensor, second: Tensor) -> float:
    """Cohen's kappa by its definition."""
    table = torch.zeros(4, 4, dtype=torch.float64)
    for mine, theirs in zip(first, second, strict=True):
        table[mine, theirs] += 1 / len(first)
    chance = float(table.sum(0) @ table.sum(1))
    return (float(table.trace()) - chance) / (1 - chance)


@pytest.mark.parametrize("agreement", [0.1, 0.25, 0.6, 0.9])
def test_shrink_distill_shrinks_no_further_than_the_answers_bear_where_nothing_is_normalised(agreement: float) -> None:
    """Usual mistakes: agreement that chance would give, frozen layers shrunk, one rung too few or too many."""
    model, request = bare(), ForgetRequest(classes=(0,))
    settings = ["search=none", "factor=0.1", "repair.lr=1e-12", f"agreement={agreement}"]
    method = METHODS["shrink-distill"]().with_settings(settings)
    found = unlearn(model, method, tiny_data(), request, seed=0, runtime=CPU)
    factor, data = found.notes["plan"]["factor"], tiny_data()
    rows = split_for(request, data)[Part.RETAIN_TRAIN]
    assert len(rows) <= shrinking.ASKED, "all images are asked, so their order does not matter"
    data.fix_shape(0)
    images = data.normalise(data.train.images(rows, CPU.device))

    @torch.no_grad()
    def kappa(left: float) -> float:
        shrunk = copy.deepcopy(model)
        for layer in (module for module in list(shrunk)[2:] if isinstance(module, nn.Linear)):
            layer.weight.mul_(left)
        return kappa_of(shrunk(images).argmax(1), model(images).argmax(1))

    assert kappa(factor) >= agreement > kappa(factor - 0.1)
    assert 0.3 <= factor <= 0.9
    assert found.notes["plan"]["repair"]["epochs"] == 6
    assert found.notes["plan"]["agreement"] == pytest.approx(kappa(factor), abs=1e-6)
    assert found.cost["stages"]["factor"]["samples_forward"] == len(rows) * (1 + round((factor - 0.1) / 0.1) + 1)
    expected = {"1.weight": 1.0, **{f"{i}.weight": factor for i in (3, 5, 7, 9, 11)}}
    for name, parameter in found.model.named_parameters():
        left = expected.get(name, 1.0)
        torch.testing.assert_close(parameter, model.get_parameter(name) * left, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("setting", ["agreement=0", "factor=0.9", "repair.epochs=1", None])
def test_shrink_distill_takes_the_factor_as_given_where_it_may(setting: str | None) -> None:
    """Batch normalisation makes up for it; the agreement is off; there is no rung left; one epoch stays one."""
    model = MODELS["cnn-grey"].build(1) if setting is None else bare()
    settings = ["search=none", "repair.lr=1e-12", *([setting] if setting else [])]
    found = unlearn(
        model,
        METHODS["shrink-distill"]().with_settings(settings),
        tiny_data(),
        ForgetRequest(classes=(0,)),
        seed=0,
        runtime=CPU,
    )
    plan = found.notes["plan"]
    if setting == "repair.epochs=1":
        assert plan["factor"] > 0.4
        assert plan["repair"]["epochs"] == 1
    else:
        assert plan["factor"] == (0.9 if setting == "factor=0.9" else 0.4)
        assert plan["repair"]["epochs"] == 3
    assert ("factor" in found.cost["stages"]) == (setting == "repair.epochs=1")
    assert (plan["agreement"] is None) == (setting != "repair.epochs=1")


def test_a_network_that_answers_all_images_alike_bears_any_factor() -> None:
    model = bare()
    with torch.no_grad():
        model[-1].bias[1] = 1e4
    method = METHODS["shrink-distill"]().with_settings(["search=none", "repair.lr=1e-12"])
    found = unlearn(model, method, tiny_data(), ForgetRequest(classes=(0,)), seed=0, runtime=CPU)
    assert found.notes["plan"]["factor"] == 0.4


def plan_of(model: nn.Module, *settings: str, **data: int) -> dict[str, Any]:
    """What `shrink-distill` planned for a model that has learned the tiny images; nothing is learned."""
    settings = settings or ("search=none",)
    method = METHODS["shrink-distill"]().with_settings(["repair.lr=1e-12", "factor=0.1", *settings])
    found = unlearn(model, method, tiny_data(**data), ForgetRequest(classes=(0,)), seed=0, runtime=CPU)
    return {**found.notes["plan"], "asked": found.cost["stages"].get("factor", {}).get("samples_forward", 0)}


@pytest.mark.parametrize(
    ("norm", "normalised", "frozen", "asks"),
    [
        (nn.BatchNorm1d, 2, False, True),  # of six weights that learn
        (nn.BatchNorm1d, 3, False, False),
        (nn.BatchNorm1d, 5, True, True),  # it keeps its statistics
        (partial(nn.GroupNorm, 4), 3, True, False),  # it has none
        (partial(nn.BatchNorm1d, track_running_stats=False), 3, True, False),
        (nn.LayerNorm, 5, False, True),
    ],
)
def test_half_of_the_weights_must_be_normalised_by_what_makes_up_for_shorter_ones(
    norm: Any, normalised: int, frozen: bool, asks: bool
) -> None:
    model = bare(6, norm=norm, normalised=normalised)
    if frozen:
        for module in model.modules():
            if isinstance(module, shrinking.NORMALISING):
                module.requires_grad_(False)
    plan = plan_of(model)
    assert (plan["asked"] > 0, plan["agreement"] is not None) == (asks, asks)
    assert asks or plan["factor"] == 0.1


def test_batchnorm_is_estimated_anew_before_a_shrunken_network_is_asked() -> None:
    """With the statistics of longer weights it would answer nearly at random, and the factor be raised in vain."""
    model = bare(norm=nn.BatchNorm1d, normalised=2)
    data = tiny_data()
    rows = split_for(ForgetRequest(classes=(0,)), data)[Part.RETAIN_TRAIN]
    data.fix_shape(0)
    images = data.normalise(data.train.images(rows, CPU.device))
    plan = plan_of(model)

    def answers(anew: bool) -> Tensor:
        shrunk = copy.deepcopy(model)
        for layer in (module for module in list(shrunk)[2:] if isinstance(module, nn.Linear)):
            layer.weight.data *= plan["factor"]
        for layer in shrunk.modules():
            if isinstance(layer, nn.BatchNorm1d) and anew:
                layer.momentum = None
                layer.reset_running_stats()
                layer.train()
        with torch.no_grad():
            shrunk(images)
            return shrunk.eval()(images).argmax(1)

    before = model(images).argmax(1)
    assert plan["agreement"] == pytest.approx(kappa_of(answers(anew=True), before), abs=1e-6)
    assert plan["agreement"] > kappa_of(answers(anew=False), before) + 0.1


def test_a_search_shrinks_less_than_what_the_answers_bear(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = bare(), []

    def two(attempt: Any, *_: Any, **__: Any) -> nn.Module:
        made.extend(attempt(power) for power in (1.0, 0.5))
        return made[0]

    monkeypatch.setattr(shrink_distill, "search_rates", two)
    plan = plan_of(model, "search.attempts=2")
    assert plan["factor"] > 0.1
    for left, shrunk in zip((plan["factor"], plan["factor"] ** 0.5), made, strict=True):
        torch.testing.assert_close(shrunk[-1].weight, model[-1].weight * left, atol=1e-6, rtol=1e-5)


def test_images_of_all_retained_classes_are_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """The subset is in order of the classes: the first of it would be of one class, and kappa mean nothing."""
    seen: list[Tensor] = []

    def watched(model: nn.Module, samples: Any, ctx: Any, *, stage: str) -> Tensor:
        seen.append(samples.labels)
        return outputs_of(model, samples, ctx, stage=stage)

    monkeypatch.setattr(shrinking, "ASKED", 12)
    monkeypatch.setattr(shrinking, "outputs_of", watched)
    plan_of(bare(), per_class=60)
    assert len(seen) > 1
    assert all(torch.equal(labels, seen[0]) for labels in seen)
    assert (len(seen[0]), set(seen[0].tolist())) == (12, {1, 2, 3})


def test_shrink_distill_refuses_what_it_would_not_use() -> None:
    for setting in ("repair.distill=false", "repair.optimizer=sgd"):
        with pytest.raises(ConfigError, match=setting.partition("=")[0]):
            METHODS["shrink-distill"]().with_settings([setting])
