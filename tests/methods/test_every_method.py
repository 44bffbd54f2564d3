"""Every method by itself: its declared parts, models and classes that it cannot work on, and its seeds."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from canonical import (
    CLASSES,
    CPU,
    METHODS,
    MODELS,
    tiny_data,
)
from contract_runs import run, same_tensors
from unlearnkit.errors import AccessError, ConfigError, DataError, ModelError, UnlearnkitError
from unlearnkit.methods import unlearn
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part


@pytest.mark.parametrize("method", [name for name, entry in METHODS.items() if entry.method.needs])
def test_a_method_that_declares_too_little_is_stopped(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(METHODS[method].method)
    monkeypatch.setattr(kind, "needs", property(lambda self: frozenset({Part.RETAIN_TEST})))
    with pytest.raises(AccessError, match="Expected a read of retain_test"):
        run(method, MODELS["cnn-grey"].model(), "cnn-grey", "one")


@pytest.mark.parametrize("method", METHODS)
def test_a_model_without_trainable_parameters_is_refused(method: str) -> None:
    model = MODELS["cnn-grey"].model().requires_grad_(False)
    with pytest.raises(ModelError, match="frozen"):
        run(method, model, "cnn-grey", "one")


@pytest.mark.parametrize("method", METHODS)
def test_a_class_without_any_data_is_forgotten_too_unless_its_data_is_declared(method: str) -> None:
    data = tiny_data(classes=CLASSES[:3]).with_classes(CLASSES)
    entry, setting = METHODS[method], MODELS["cnn-grey"]
    model, request = setting.model(), ForgetRequest(classes=("dog",))
    if entry.reads_forget:
        with pytest.raises(DataError, match="Expected samples in forget_train"):
            unlearn(model, entry.method, data, request, seed=0, runtime=CPU, factory=setting.fresh)
        return
    result = unlearn(model, entry.method, data, request, seed=0, runtime=CPU, factory=setting.fresh)
    assert len(result.split[Part.FORGET_TRAIN]) == 0
    assert entry.changes in (None, not same_tensors(model, result.model))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_method_works_in_mixed_precision_as_on_a_gpu(method: str) -> None:
    entry, setting = METHODS[method], MODELS["cnn-grey"]
    forget = ("dog",)
    data, request = setting.data(), ForgetRequest(classes=forget)
    runtime = replace(CPU, precision="bf16")
    result = unlearn(setting.model(), entry.method, data, request, seed=5, runtime=runtime, factory=setting.fresh)
    assert all(torch.isfinite(value).all() for value in result.model.state_dict().values())


def test_every_named_error_of_a_run_is_ours() -> None:
    with pytest.raises(UnlearnkitError):
        run("unsir:paper", copy.deepcopy(nn.Linear(2, 2)), "cnn-grey", "one")


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match="seed"):
        run("unsir:paper", MODELS["cnn-grey"].model(), "cnn-grey", "one", seed=seed)


def test_seed_zero_is_a_seed() -> None:
    results = [run("unsir:paper", MODELS["cnn-grey"].model(), "cnn-grey", "one", seed=s) for s in (0, 0, 1)]
    assert same_tensors(results[0].model, results[1].model)
    assert not same_tensors(results[0].model, results[2].model)
