"""What every method and the harness around it must hold: each method meets every model and every request."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from canonical import (
    CLASSES,
    CPU,
    METHODS,
    MODELS,
    REQUESTS,
    Canonical,
    derived,
    small_cnn,
    tiny_data,
    tiny_vit,
)
from unlearnkit import methods
from unlearnkit.errors import AccessError, ConfigError, DataError, ModelError, NonFiniteLossError, UnlearnkitError
from unlearnkit.methods import UNSIR, Context, Unlearned, unlearn
from unlearnkit.methods.registry import _by_name, make_method
from unlearnkit.models import SmallCNN
from unlearnkit.request import ForgetRequest
from unlearnkit.split import Part

# written down apart from `needs`: a method that began to declare and to read forget data would hold its contract
ZERO_GLANCE = {"unsir", "erase", "retrain", "original", "head-mask", "finetune", "l1-sparse", "fisher"}


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
class Snapshot:
    """Everything about a model that a run must not change."""

    tensors: dict[str, Tensor]
    flags: dict[str, bool]
    modes: dict[str, bool]
    gradients: dict[str, Tensor | None]
    hooks: int

    @classmethod
    def of(cls, model: nn.Module) -> Snapshot:
        return cls(
            tensors={k: v.detach().clone() for k, v in model.state_dict().items()},
            flags={k: p.requires_grad for k, p in model.named_parameters()},
            modes={k: m.training for k, m in model.named_modules()},
            gradients={k: None if p.grad is None else p.grad.clone() for k, p in model.named_parameters()},
            hooks=count_hooks(model),
        )


def assert_same(before: Snapshot, after: Snapshot) -> None:
    assert_same_tensors(before.tensors, after.tensors)
    assert before.flags == after.flags
    assert before.modes == after.modes
    assert before.hooks == after.hooks
    for name, gradient in before.gradients.items():
        assert (gradient is None) == (after.gradients[name] is None), name
        assert gradient is None or torch.equal(gradient, after.gradients[name]), name


def assert_same_tensors(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        assert tensor.dtype == b[name].dtype, name
        assert torch.equal(tensor, b[name]), name


def same_tensors(a: nn.Module, b: nn.Module) -> bool:
    mine, theirs = a.state_dict(), b.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def count_hooks(model: nn.Module) -> int:
    kinds = [k for k in vars(model) if "_hooks" in k]
    assert "_forward_hooks" in kinds
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def random_state() -> tuple[Any, ...]:
    name, keys, position, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), name, keys.tolist(), position, *rest


@dataclass(frozen=True)
class Observed:
    """One run with what was there before and after it."""

    model: nn.Module
    before: Snapshot
    after: Snapshot
    random_before: tuple[Any, ...]
    random_after: tuple[Any, ...]
    result: Unlearned


def run(method: str, model: nn.Module, setting: str, request_name: str, seed: int = 5) -> Unlearned:
    """Forget on data whose forgotten rows cannot be decoded, unless the method declares them."""
    forget, entry = REQUESTS[request_name], METHODS[method]
    data = MODELS[setting].data(forbidden=() if entry.reads_forget else forget)
    request, factory = ForgetRequest(classes=forget), MODELS[setting].fresh
    return unlearn(model, entry.method, data, request, seed=seed, runtime=CPU, factory=factory)


def test_the_methods_that_read_no_forgotten_sample_are_these() -> None:
    assert {name.partition(":")[0] for name, entry in METHODS.items() if not entry.reads_forget} >= ZERO_GLANCE


def test_a_method_is_known_by_its_name_and_two_cannot_share_one() -> None:
    assert all(name == kind.name for name, kind in methods.METHODS.items())
    with pytest.raises(ConfigError, match="UNSIR and UNSIR are both named 'unsir'"):
        _by_name(UNSIR, UNSIR)


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


# ---- bad configuration -------------------------------------------------------------------------------------------

BAD_SETTINGS = [
    "retain_per_class=0",
    "retain_per_class=x",
    "noise.batch_size=0",
    "noise.steps=-1",
    "noise.lr=0",
    "noise.penalty=-0.1",
    "noise.repeats=0",
    "impair.lr=-1",
    "impair.lr=nan",
    "impair.lr=inf",
    "impair.lr=1e10",
    "noise.lr=1e10",
    "impair.epochs=0",
    "impair.epochs=1.5",
    "impair.batch_size=0",
    "impair.optimizer=lbfgs",
    "repair.lr=0",
    "repair.schedule=sometimes",
    "repair.distill=perhaps",
    "search.factor=1",
    "search.attempts=0",
    "search.tolerance=-0.1",
    "rounds=0",
    "impair=2",
    "impair.lr.deep=2",
    "unheard_of=1",
    "impair.unheard_of=1",
    "impair.lr",
]


@pytest.mark.parametrize("setting", BAD_SETTINGS)
def test_a_bad_setting_is_a_config_error_that_names_it(setting: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_method("unsir", "default", [setting])
    assert setting.partition("=")[0].split(".")[-1] in str(error.value)


@pytest.mark.parametrize(("name", "preset"), [("unsr", "default"), ("unsir", "papr")])
def test_an_unknown_method_or_preset_lists_the_known_ones(name: str, preset: str) -> None:
    with pytest.raises(ConfigError, match=r"unsir|paper"):
        make_method(name, preset)


def test_a_configuration_is_frozen_and_takes_no_positional_argument() -> None:
    with pytest.raises(Exception, match="frozen"):
        UNSIR().rounds = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        UNSIR(3)  # type: ignore[call-arg]


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match="seed"):
        run("unsir:paper", MODELS["cnn-grey"].model(), "cnn-grey", "one", seed=seed)


def test_seed_zero_is_a_seed() -> None:
    results = [run("unsir:paper", MODELS["cnn-grey"].model(), "cnn-grey", "one", seed=s) for s in (0, 0, 1)]
    assert same_tensors(results[0].model, results[1].model)
    assert not same_tensors(results[0].model, results[2].model)


# ---- the harness, with toy methods --------------------------------------------------------------------------------


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


@pytest.mark.parametrize("method", [name for name, entry in METHODS.items() if entry.method.needs])
def test_a_method_that_declares_too_little_is_stopped(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(METHODS[method].method)
    monkeypatch.setattr(kind, "needs", property(lambda self: frozenset({Part.RETAIN_TEST})))
    with pytest.raises(AccessError, match="Expected a read of retain_test"):
        run(method, MODELS["cnn-grey"].model(), "cnn-grey", "one")


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


def test_every_named_error_of_a_run_is_ours() -> None:
    with pytest.raises(UnlearnkitError):
        run("unsir:paper", copy.deepcopy(nn.Linear(2, 2)), "cnn-grey", "one")
