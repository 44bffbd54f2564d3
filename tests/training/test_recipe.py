"""Recipes: rates by the step, batches of even size, rates of biases, and settings that are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from canonical import MODELS
from unlearnkit.errors import ConfigError
from unlearnkit.training.loop import even_batches
from unlearnkit.training.recipe import Recipe, make_optimizer, rate_factor


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 2000), batch_size=st.integers(1, 600))
def test_even_batches_lose_nothing_and_differ_by_one_at_most(n: int, batch_size: int) -> None:
    order = torch.randperm(n)
    batches = even_batches(order, batch_size)
    sizes = [len(b) for b in batches]
    assert len(batches) == math.ceil(n / batch_size)
    assert torch.equal(torch.cat(list(batches)), order)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("schedule", "steps", "warmup", "factors"),
    [
        ("constant", 4, 0.5, [1, 1, 1, 1]),
        ("cosine", 4, 0.5, [1, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4]),
        ("cosine", 1, 0.0, [1]),
        ("one_cycle", 4, 0.0, [1, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4]),
        ("one_cycle", 5, 0.4, [1 / 3, 2 / 3, 1, 0.75, 0.25]),
        ("one_cycle", 10, 0.2, [1 / 3, 2 / 3] + [0.5 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]),
        ("one_cycle", 1, 0.2, [1 / 1.2]),
    ],
)
def test_rate_factors_equal_the_hand_calculation(
    schedule: str, steps: int, warmup: float, factors: list[float]
) -> None:
    assert [rate_factor(schedule, i, steps, warmup) for i in range(steps)] == pytest.approx(factors)


@settings(max_examples=100, deadline=None)
@given(steps=st.integers(1, 300), warmup=st.floats(0, 0.99), schedule=st.sampled_from(["cosine", "one_cycle"]))
def test_rate_factors_are_positive_and_rise_once_then_fall(steps: int, warmup: float, schedule: str) -> None:
    factors = [rate_factor(schedule, i, steps, warmup) for i in range(steps)]
    assert all(0 < f <= 1 for f in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0},
        {"lr": float("nan")},
        {"optimizer": "lion"},
        {"weight_decay": -1},
        {"schedule": "step"},
        {"warmup": 1},
        {"clip_value": 0},
        {"augment": "cutmix"},
        {"momentum": 1.0},
        {"label_smoothing": 1.0},
        {"norm_bias_lr": 0},
        {"max_shift": 0},
        {"gamma": 0.9},
    ],
)
def test_a_bad_recipe_is_a_config_error_that_names_the_setting(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Recipe(**bad)


def test_biases_of_norms_have_a_rate_of_their_own_and_the_same_decay() -> None:
    model = MODELS["cnn-grey"].model()
    optimizer = make_optimizer(model, Recipe(lr=0.1, weight_decay=0.01, norm_bias_lr=8.0, momentum=0.7))
    biases = {id(m.bias) for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    assert biases
    for group in optimizer.param_groups:
        is_bias = {id(p) in biases for p in group["params"]}
        assert len(is_bias) == 1
        assert group["lr"] == pytest.approx(0.8 if is_bias == {True} else 0.1)
        assert group["lr"] * group["weight_decay"] == pytest.approx(0.001)
        assert group["momentum"] == 0.7
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(model.parameters()))


@pytest.mark.parametrize("augment", ["none", "crop_flip"])
def test_augmentation_is_set_by_the_word_that_it_is_recorded_with(augment: str) -> None:
    assert Recipe(augment="crop_flip").with_settings([f"augment={augment}"]).augment == augment
