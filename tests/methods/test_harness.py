"""The harness around a method, held by toy methods: what it lets them read, what it restores, what it refuses."""

from __future__ import annotations

import random
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from canonical import (
    CPU,
    METHODS,
    MODELS,
    tiny_data,
)
from contract_runs import Snapshot, assert_same, count_hooks, random_state
from unlearnkit.errors import AccessError, ModelError, NonFiniteLossError
from unlearnkit.methods import Context, Method, Unlearned, unlearn
from unlearnkit.methods.dp import DP
from unlearnkit.models import SmallCNN
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part
from unlearnkit.training.recipe import Recipe


class Toy:
    """A method made of a function."""

    def __init__(self, run: Any, *needs: Part) -> None:
        self._run, self.needs = run, frozenset(needs)

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        return self._run(model, ctx)


def unlearn_toy(run: Any, *needs: Part, model: nn.Module | None = None, **options: Any) -> Unlearned:
    return unlearn(
        model or MODELS["cnn-grey"].model(),
        Toy(run, *needs),
        tiny_data(),
        ForgetRequest(classes=("cat",)),
        seed=0,
        runtime=CPU,
        **options,
    )


@pytest.mark.parametrize("part", list(Part))
def test_a_part_that_was_not_declared_cannot_be_read(part: Part) -> None:
    def greedy(model: nn.Module, ctx: Context) -> nn.Module:
        ctx.view.part(part).images(torch.tensor([0]))
        return model

    with pytest.raises(AccessError, match=part.value):
        unlearn_toy(greedy, *(set(Part) - {part}))
    assert isinstance(unlearn_toy(greedy, part), Unlearned)


def test_forget_reads_are_counted_once_each() -> None:
    def glance(model: nn.Module, ctx: Context) -> nn.Module:
        samples = ctx.view.part(Part.FORGET_TRAIN)
        samples.images(torch.tensor([0, 1, 1]))
        samples.subset(torch.tensor([5, 1])).images(torch.tensor([0, 1]))
        return model

    result = unlearn_toy(glance, Part.FORGET_TRAIN)
    assert result.access.forget_samples_read(result.split) == 3
    counts: Any = result.access.summary(result.split)["parts"]
    assert counts["forget_train"]["cat"] == {
        "samples": 12,
        "read_by_method": 3,
        "read_by_audit": 0,
        "decoded": 3,
    }


def test_the_random_state_is_restored_when_a_method_fails() -> None:
    def fails(model: nn.Module, ctx: Context) -> nn.Module:
        torch.rand(3), np.random.rand(3), random.random()
        raise RuntimeError("on purpose")

    before, model = random_state(), MODELS["cnn-grey"].model()
    snapshot = Snapshot.of(model)
    with pytest.raises(RuntimeError, match="on purpose"):
        unlearn_toy(fails, model=model)
    assert random_state() == before
    assert_same(snapshot, Snapshot.of(model))


def test_a_method_sees_seeded_global_generators_and_its_own() -> None:
    drawn = []

    def draw(model: nn.Module, ctx: Context) -> nn.Module:
        drawn.append(
            (torch.rand(2).tolist(), np.random.rand(), random.random(), torch.rand(2, generator=ctx.generator))
        )
        return model

    unlearn_toy(draw)
    torch.rand(1), np.random.rand(), random.random()
    unlearn_toy(draw)
    assert drawn[0][:3] == drawn[1][:3]
    assert torch.equal(drawn[0][3], drawn[1][3])


def test_hooks_of_the_caller_survive_and_the_meters_hook_does_not() -> None:
    calls: list[int] = []
    model = MODELS["cnn-grey"].model()
    model.register_forward_hook(lambda *_: calls.append(1))
    result = unlearn_toy(lambda m, ctx: m, model=model).model
    assert count_hooks(model) == count_hooks(result) == 1


def test_no_hook_is_left_inside_a_wrapped_result() -> None:
    def wrap(model: nn.Module, ctx: Context) -> nn.Module:
        return nn.Sequential(model, nn.Identity())

    assert count_hooks(unlearn_toy(wrap).model) == 0


def test_a_fresh_model_from_the_factory_is_metered_and_returned() -> None:
    def start_again(model: nn.Module, ctx: Context) -> nn.Module:
        assert ctx.factory is not None
        fresh = ctx.factory()
        with ctx.log.stage("fresh", 1) as stage:
            loss = fresh(torch.zeros(5, 1, 8, 8)).sum()
            loss.backward()
            stage.step(loss)
        return fresh

    result = unlearn_toy(start_again, factory=lambda: SmallCNN(4, 1, width=4))
    assert result.cost["total"]["samples_forward"] == result.cost["total"]["samples_backward"] == 5
    assert count_hooks(result.model) == 0
    assert not result.model.training
    assert all(p.grad is None for p in result.model.parameters())


def test_there_is_no_factory_unless_one_is_given() -> None:
    def look(model: nn.Module, ctx: Context) -> nn.Module:
        assert ctx.factory is None
        return model

    unlearn_toy(look)


def test_the_context_says_what_to_forget_and_what_was_forgotten() -> None:
    def look(model: nn.Module, ctx: Context) -> nn.Module:
        assert (ctx.request.forget, ctx.request.already_forgotten) == ((2,), (0,))
        assert ctx.shape == (1, 8, 8)
        assert set(ctx.view.part(Part.RETAIN_TRAIN).labels.tolist()) == {1, 3}
        return model

    request = ForgetRequest(classes=("cat",), already_forgotten=("ant",))
    unlearn(MODELS["cnn-grey"].model(), Toy(look, Part.RETAIN_TRAIN), tiny_data(), request, seed=0, runtime=CPU)


def test_infinite_weights_are_refused() -> None:
    def spoil(model: nn.Module, ctx: Context) -> nn.Module:
        with torch.no_grad():
            model.head.bias[1] = float("inf")  # type: ignore[union-attr,index]
        return model

    with pytest.raises(NonFiniteLossError, match=r"head\.bias"):
        unlearn_toy(spoil)


@pytest.mark.parametrize(
    "method",
    [METHODS[name].method for name in ("finetune", "unsir", "unsir:notebook", "gkt")]
    + [DP(recipe=Recipe(epochs=1, batch_size=8))],
    ids=["finetune", "unsir", "notebook", "gkt", "dp"],
)
def test_what_a_process_loads_with_its_first_optimiser_is_no_part_of_the_cost(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the same method would cost seconds more in the process that it comes first in, and a training would not."""
    loading, start, built = 1000.0, torch.optim.Optimizer.__init__, []

    def slowly(self: torch.optim.Optimizer, *given: Any, **named: Any) -> None:
        built.append(self)
        start(self, *given, **named)

    def perf_counter() -> float:
        return time.perf_counter() + loading * len(built)

    monkeypatch.setattr(torch.optim.Optimizer, "__init__", slowly)
    monkeypatch.setattr("unlearnkit.runtime.runlog.time", SimpleNamespace(perf_counter=perf_counter))
    data, cat = MODELS["cnn-grey"].data(), ForgetRequest(classes=("cat",))

    def fresh() -> nn.Module:
        return SmallCNN(4, 1, width=4, norm="group")

    cost = unlearn(fresh(), method, data, cat, seed=0, runtime=CPU, factory=fresh).cost
    assert built
    assert all(0 < each["seconds"] < loading for each in [cost["total"], *cost["stages"].values()])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (SmallCNN(5, 1, width=4), "4 outputs"),
        (SmallCNN(4, 3, width=4), "image"),
        (nn.Flatten(), "parameters"),
        (nn.Conv2d(1, 4, 3), "logits"),
    ],
    ids=["classes", "channels", "no-parameters", "no-logits"],
)
def test_an_unsuitable_model_is_refused_before_any_work(model: nn.Module, words: str) -> None:
    def work(model: nn.Module, ctx: Context) -> nn.Module:
        raise AssertionError("the method must not start")

    snapshot = Snapshot.of(model)
    with pytest.raises(ModelError, match=words):
        unlearn_toy(work, model=model)
    assert_same(snapshot, Snapshot.of(model))
