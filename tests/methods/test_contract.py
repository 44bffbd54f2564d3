"""What every method must hold: each meets every model and every request."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from canonical import (
    CLASSES,
    METHODS,
    MODELS,
    REQUESTS,
    Canonical,
    derived,
    small_cnn,
    tiny_vit,
)
from contract_runs import Snapshot, assert_same, assert_same_tensors, count_hooks, random_state, run, same_tensors
from unlearnkit import methods
from unlearnkit.methods import Unlearned

# written down apart from `needs`: a method that began to declare and to read forget data would hold its contract
ZERO_GLANCE = {
    *{"auto", "unsir", "erase", "retrain", "original", "head-mask", "finetune", "l1-sparse", "fisher"},
    *{"shrink-distill", "ct", "weight-damage", "cola", "noisy-finetune", "gkt", "emmn", "linear-refit", "mixed-linear"},
}


def meetings(*, rerun: bool) -> list[Any]:
    """Methods paired with models and requests; to cross them would take twice the runs, and find no more.

    Each method meets every model, and both requests: one of them on the networks with BatchNorm, the other on those
    without. From method to method that turns around, so all models meet both requests.

    Args:
        rerun: for a test that runs the method again. Then each meets one network with BatchNorm and one without, of
            which one takes grey images and the other augmented ones in colour.
    """
    found = []
    for i, method in enumerate(METHODS):
        for j, model in enumerate(MODELS):
            if rerun and (j % 2) == (i // 2 + j // 2) % 2:
                continue
            request = list(REQUESTS)[(i + j // 2) % 2]
            group = pytest.mark.xdist_group(f"contract {method}")  # one process makes and keeps the first run
            found.append(pytest.param(method, model, request, marks=group, id=f"{method}-{model}-{request}"))
    return found


combinations = pytest.mark.parametrize(("method", "model", "request_name"), meetings(rerun=False))


reruns = pytest.mark.parametrize(("method", "model", "request_name"), meetings(rerun=True))


def test_each_method_meets_every_model_and_every_request() -> None:
    """All that a pairing may leave out is a model and a request that meet in another method's run."""
    met = [param.values for param in meetings(rerun=False)]
    for method in METHODS:
        assert {model for name, model, _ in met if name == method} == set(MODELS)
        assert {request for name, _, request in met if name == method} == set(REQUESTS)
    assert {(model, request) for _, model, request in met} == {
        (model, request) for model in MODELS for request in REQUESTS
    }
    again = [param.values for param in meetings(rerun=True)]
    assert set(again) <= set(met)
    assert {(model, request) for _, model, request in again} == {(m, r) for m in MODELS for r in REQUESTS}
    for method in METHODS:
        models = [MODELS[model] for name, model, _ in again if name == method]
        assert {setting.build for setting in models} == {small_cnn, tiny_vit}
        assert {setting.augment for setting in models} == {"none", "crop_flip"}
        assert {request for name, _, request in again if name == method} == set(REQUESTS)


@dataclass(frozen=True)
class Observed:
    """One run with what was there before and after it."""

    model: nn.Module
    before: Snapshot
    after: Snapshot
    random_before: tuple[Any, ...]
    random_after: tuple[Any, ...]
    result: Unlearned


def test_the_methods_that_read_no_forgotten_sample_are_these() -> None:
    assert {name.partition(":")[0] for name, entry in METHODS.items() if not entry.reads_forget} >= ZERO_GLANCE


@pytest.mark.parametrize("name", methods.METHODS)
def test_cheap_settings_can_be_derived_for_every_method(name: str) -> None:
    """So a new method needs no line in the canonical table to be run by the tests of this file."""
    method: Any = derived(methods.METHODS[name]).method
    values = {each["name"]: each["value"] for each in method.described_settings()}
    assert all(value <= 2 for key, value in values.items() if key.endswith("epochs") and value is not None)


def test_methods_share_one_training_loop() -> None:
    """Optimisers of weights are made in training.py, not in a method; the one that is made here learns images."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in Path(methods.__file__).parent.rglob("*.py")}
    assert {name for name, text in sources.items() if "torch.optim" in text or "import optim" in text} == {"noise.py"}


@cache
def observed(method: str, model: str, request_name: str) -> Observed:
    """The run of one combination, made once; the model is given in a mixed state."""
    given = MODELS[model].model().train()
    given.head.eval()  # type: ignore[union-attr]
    first = next(given.parameters())
    first.grad = torch.ones_like(first)
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)
    before, random_before = Snapshot.of(given), random_state()
    result = run(method, given, model, request_name)
    return Observed(given, before, Snapshot.of(given), random_before, random_state(), result)


@combinations
def test_the_callers_model_is_left_as_it_was(method: str, model: str, request_name: str) -> None:
    seen = observed(method, model, request_name)
    assert_same(seen.before, seen.after)


@combinations
def test_the_weights_really_change_and_share_no_memory(method: str, model: str, request_name: str) -> None:
    seen = observed(method, model, request_name)
    assert METHODS[method].changes in (None, not same_tensors(seen.model, seen.result.model))
    ours = {p.data_ptr() for p in seen.model.parameters()}
    assert all(p.data_ptr() not in ours for p in seen.result.model.parameters())


@combinations
def test_global_random_state_is_restored(method: str, model: str, request_name: str) -> None:
    seen = observed(method, model, request_name)
    assert seen.random_before == seen.random_after


@reruns
def test_same_seed_same_weights_whatever_the_global_state(method: str, model: str, request_name: str) -> None:
    torch.manual_seed(1234)
    np.random.seed(4)
    random.seed(4)
    again = run(method, MODELS[model].model(), model, request_name)
    assert_same_tensors(observed(method, model, request_name).result.model.state_dict(), again.model.state_dict())
    assert observed(method, model, request_name).result.history == again.history


@reruns
def test_another_seed_other_weights(method: str, model: str, request_name: str) -> None:
    other = run(method, MODELS[model].model(), model, request_name, seed=6)
    same = same_tensors(observed(method, model, request_name).result.model, other.model)
    assert METHODS[method].draws in (None, not same)


@combinations
def test_only_declared_parts_are_read_and_counted(method: str, model: str, request_name: str) -> None:
    result = observed(method, model, request_name).result
    declared = METHODS[method].method.needs
    summary: Any = result.access.summary(result.split)
    for part, classes in summary["parts"].items():
        read = sum(counts["read_by_method"] for counts in classes.values())
        assert (read > 0) == (part in declared), part
        assert all(counts["read_by_audit"] == 0 for counts in classes.values())
    read = 12 * len(REQUESTS[request_name]) if METHODS[method].reads_forget else 0
    assert summary["forget_samples_read"] == summary["forget_samples_decoded"] == read
    assert result.access.forget_samples_read(result.split) == read
    forgotten = summary["parts"]["forget_train"]
    assert set(forgotten) == {CLASSES[k] for k in REQUESTS[request_name]}
    assert all(counts["samples"] == 12 for counts in forgotten.values())


@combinations
def test_the_result_is_clean(method: str, model: str, request_name: str) -> None:
    result = observed(method, model, request_name).result.model
    assert not any(module.training for module in result.modules())
    assert count_hooks(result) == 0
    assert all(p.grad is None and p.requires_grad and p.device.type == "cpu" for p in result.parameters())
    assert all(v.isfinite().all() for v in result.state_dict().values() if v.is_floating_point())
    channels = MODELS[model].channels
    assert result(torch.zeros(3, channels, 8, 8)).shape == (3, len(CLASSES))


@reruns
def test_frozen_parameters_stay_frozen(method: str, model: str, request_name: str) -> None:
    entry, given = METHODS[method], MODELS[model].model()
    period = 4 if entry.whole_layers else 2
    held = [name for i, (name, _) in enumerate(given.named_parameters()) if i % period < period // 2]
    if not entry.trains:
        held = [name for name in held if not name.startswith("head.")]
    for name in held:
        given.get_parameter(name).requires_grad_(False)
    before = Snapshot.of(given)
    result = run(method, given, model, request_name).model
    assert_same(before, Snapshot.of(given))
    for name, parameter in result.named_parameters():
        assert parameter.requires_grad == (name not in held), name
        assert entry.fresh or name not in held or torch.equal(parameter, before.tensors[name]), name
    moved = [n for n, p in result.named_parameters() if not torch.equal(p, before.tensors[n])]
    assert entry.changes in (None, bool(moved))
    assert entry.fresh or set(moved).isdisjoint(held)


@reruns
def test_frozen_layers_keep_their_statistics_too(method: str, model: str, request_name: str) -> None:
    entry, given = METHODS[method], MODELS[model].model()
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name, _ in given.named_parameters()))
    late = entry.whole_layers  # keeps the layers of the tiny transformer free that such a method can edit
    held = {layer for i, layer in enumerate(layers) if (i % 4 < 2) != late and (entry.trains or layer != "head")}
    for name, parameter in given.named_parameters():
        parameter.requires_grad_(name.rpartition(".")[0] not in held)
    before = Snapshot.of(given)
    result = run(method, given, model, request_name).model
    for name, value in result.state_dict().items():
        assert entry.fresh or name.rpartition(".")[0] not in held or torch.equal(value, before.tensors[name]), name


@combinations
def test_cost_is_positive_and_equals_the_hand_count(method: str, model: str, request_name: str) -> None:
    result = observed(method, model, request_name).result
    entry: Canonical = METHODS[method]
    expected = entry.passes(
        entry.method,
        forgotten=len(REQUESTS[request_name]),
        channels=MODELS[model].channels,
        attempts=len(result.notes.get("search", {}).get("attempts", [0])),
        trials=len(result.notes.get("search", {}).get("trials", [])),
    )
    stages = result.cost["stages"]
    assert set(expected) <= set(stages) == set(result.history)
    for name, (forward, backward) in expected.items():
        assert (stages[name]["samples_forward"], stages[name]["samples_backward"]) == (forward, backward), name
    for cost in stages.values():
        assert cost["seconds"] > 0
        assert cost["samples_forward"] > 0
        assert cost["peak_memory_bytes"] > 0
    total = result.cost["total"]
    for key in ("samples_forward", "samples_backward"):
        assert total[key] == sum(cost[key] for cost in stages.values())
    assert total["seconds"] >= sum(cost["seconds"] for cost in stages.values())  # what lies between the stages counts
