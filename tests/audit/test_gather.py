"""gather(): the same evidence however it is batched and in whatever order, and nothing changed by looking."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import unlearnkit.audit.observe.attacking as attacks_module
import unlearnkit.audit.observe.relearning as relearn_module
import unlearnkit.audit.observe.returning as returning
from canonical import CLASSES, CPU, MODELS, tiny_data
from remembered import remember_fits
from unlearnkit.audit import METRICS, Evidence, audit, gather
from unlearnkit.audit.doubts import Doubt, is_unknown
from unlearnkit.audit.metric import Metric
from unlearnkit.audit.metrics.accuracy import PARTS
from unlearnkit.audit.reading import Work
from unlearnkit.data import AccessLog, ImageData
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part, Split, split_for

gather_module = import_module("unlearnkit.audit.observe.gather")  # its package has a function of that name
one_process = pytest.mark.xdist_group("gather")  # gathers `at_once`
OUTPUTS = [METRICS["accuracy"], METRICS["prediction_distribution"]]


@pytest.fixture(autouse=True)
def few_relearning_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an audit trains has its own tests; here it is short, and relearning is never satisfied."""
    monkeypatch.setattr(relearn_module, "measuring_steps", lambda cap: [1, 3])
    monkeypatch.setattr(relearn_module, "FIT_STEPS", 3)
    monkeypatch.setattr(relearn_module, "MARGIN", -2.0)
    monkeypatch.setattr(attacks_module, "SHOTS", (1,))
    monkeypatch.setattr(attacks_module, "FEW_SHOT_STEPS", 3)
    monkeypatch.setattr(returning, "LENGTHS", (1, 3))
    monkeypatch.setattr(returning, "RATES", returning.RATES[-2:])
    remember_fits(monkeypatch)  # to the same numbers, bit for bit


def other(seed: int) -> nn.Module:
    """The canonical CNN, moved a little."""
    model = MODELS["cnn-grey"].model()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def prepared(per_class: int = 12, forget: tuple[int, ...] = (2,), **options: Any) -> tuple[ImageData, Split]:
    data = tiny_data(per_class=per_class, **options)
    return data, split_for(ForgetRequest(classes=forget), data)


def look(
    models: dict[str, Any] | None = None,
    *,
    batch: int = 500,
    metrics: Iterable[Metric] = METRICS.values(),
    given: tuple[ImageData, Split] | None = None,
    **options: Any,
) -> Evidence:
    data, split = given or prepared()
    models = models or {
        "original": MODELS["cnn-grey"].model(),
        "unlearned": other(1),
        "retrained": [other(2), other(3)],
    }
    runtime = Runtime(device=torch.device("cpu"), eval_batch_size=batch)
    return gather(models, data, split, metrics=metrics, seed=options.pop("seed", 0), runtime=runtime, **options)  # type: ignore[arg-type]


# a retrained model is held against the others alone, so its value differs from an identical unlearned model's
LEAVE_ONE_OUT = {
    "cka_retrained",
    "linear_idi",
    *(f"membership_{k}_{a}" for k in ("auc", "tpr") for a in ("rmia", "lira")),
}


def readings(evidence: Evidence) -> dict[tuple[Any, ...], Any]:
    return {(r.metric, r.model, r.replicate, r.part): r for r in audit(evidence).readings}


def assert_alike(mine: dict[tuple[Any, ...], Any], theirs: dict[tuple[Any, ...], Any]) -> None:
    assert mine.keys() == theirs.keys()
    for key, reading in mine.items():
        assert reading.value == pytest.approx(theirs[key].value, abs=1e-5), key
        assert reading.doubts == theirs[key].doubts
        assert dict(reading.series or {}) == pytest.approx(dict(theirs[key].series or {}), abs=1e-5), key


@cache
def at_once() -> Evidence:
    """What `look()` gives, for tests that hold something else against it."""
    return look()


@cache
def read_at_once() -> dict[tuple[Any, ...], Any]:
    return readings(at_once())


@pytest.mark.slow
def test_the_account_says_what_each_part_passed_through_the_models() -> None:
    evidence, models = at_once(), 4
    trained: dict[Work, int] = {
        "outputs": 0,
        "return": models * len(returning.RATES) * 3 * returning.BATCH,
        "relearning": models * 3 * relearn_module.BATCH,
        "few_shots": models * 3 * len(CLASSES),
    }
    assert evidence.spent.keys() == trained.keys()
    for work, count in trained.items():  # and to find the head takes ten images
        assert count <= evidence.spent[work].samples_backward <= count + 10 * models, work
    seen = sum(len(outputs.labels) for subject in evidence.subjects for outputs in subject.outputs.values())
    assert evidence.random is not None
    seen += sum(len(outputs.labels) for outputs in evidence.random.outputs.values())
    goal = 2 * prepared()[1][Part.FORGET_TEST].numel()
    assert seen < evidence.spent["outputs"].samples_forward <= seen + 2 * goal
    assert all(spent.seconds > 0 for spent in evidence.spent.values())
    assert set(audit(evidence).spent) == {*evidence.spent, "features", "readings"}
    model = other(1)
    look({"original": model}, metrics=OUTPUTS)
    assert not model._forward_hooks


@pytest.mark.slow
@one_process
@pytest.mark.parametrize("batch", [1, 7])  # `at_once` has every part in one batch
def test_readings_do_not_depend_on_the_batch_size(batch: int) -> None:
    whole, cut = at_once(), look(batch=batch)
    assert_alike(read_at_once(), readings(cut))
    for mine, theirs in zip(whole.subjects, cut.subjects, strict=True):
        for part, outputs in mine.outputs.items():
            torch.testing.assert_close(outputs.logits, theirs.outputs[part].logits, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@one_process
def test_readings_do_not_depend_on_the_order_of_the_models() -> None:
    original, unlearned, retrained = MODELS["cnn-grey"].model(), other(1), [other(2), other(3)]
    backward = look({"retrained": retrained, "unlearned": unlearned, "original": original})
    assert [s.name for s in backward.subjects] == ["retrained", "retrained", "unlearned", "original"]
    assert read_at_once() == readings(backward)  # of the same models


@pytest.mark.slow
def test_identical_models_give_identical_readings() -> None:
    model = MODELS["cnn-grey"].model()
    evidence = look({"original": model, "unlearned": other(0), "retrained": [other(0), other(0)]})
    seen = readings(evidence)
    compared = 0
    for (metric, name, replicate, part), reading in seen.items():
        twin = seen.get((metric, "retrained", replicate, part))
        if name == "unlearned" and twin is not None and metric not in LEAVE_ONE_OUT:
            judged = replace(reading, verdict=None, band=None, gap=None)
            assert replace(judged, model="retrained", doubts=()) == replace(twin, doubts=())
            compared += 1
    assert compared > 10
    same = look({"original": model, "unlearned": MODELS["cnn-grey"].model()})
    assert readings(same)["weight_distance", "unlearned", 0, None].value == 0
    assert same.subjects[0].relearning == same.subjects[1].relearning


def test_outputs_are_the_models_own_on_every_row_of_the_part() -> None:
    data, split = prepared()
    model = other(1)
    evidence = look({"original": MODELS["cnn-grey"].model(), "unlearned": model}, given=(data, split), metrics=OUTPUTS)
    (subject,) = evidence.named("unlearned")
    assert set(subject.outputs) == set(PARTS)
    for part, outputs in subject.outputs.items():
        rows = split[part]
        with torch.no_grad():
            wanted = model(data.normalise(data.set(part.side).images(rows, CPU.device)))
        torch.testing.assert_close(outputs.logits, wanted, rtol=1e-5, atol=1e-5)
        assert torch.equal(outputs.labels, data.labels(part.side)[rows])
        assert outputs.sampled_from == len(rows)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


@pytest.mark.slow
def test_outputs_are_exact_and_what_trains_is_in_the_precision_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[str]] = {"outputs": set(), "relearn": set(), "attack": set()}
    inner = gather_module.predict

    def predicted(model: nn.Module, samples: Any, runtime: Runtime) -> Tensor:
        seen["outputs"].add(runtime.precision)
        return inner(model, samples, runtime)

    monkeypatch.setattr(Runtime, "_gains_from_bf16", lambda self, model, shape: True)
    monkeypatch.setattr(gather_module, "predict", predicted)
    for name in ("relearn", "attack"):
        monkeypatch.setattr(gather_module, name, lambda *_, name=name, runtime, **__: seen[name].add(runtime.precision))
    look()
    assert seen == {"outputs": {"fp32"}, "relearn": {"bf16"}, "attack": {"bf16"}}


@pytest.mark.slow
def test_models_are_left_unchanged() -> None:
    models = {"original": MODELS["cnn-grey"].model(), "unlearned": other(1).train(), "retrained": [other(2)]}
    models["unlearned"].features[1].eval()
    models["retrained"][0].requires_grad_(False)
    flat = [models["original"], models["unlearned"], *models["retrained"]]
    before = [(state(m), [c.training for c in m.modules()], [p.requires_grad for p in m.parameters()]) for m in flat]
    look(models)
    for model, (tensors, modes, flags) in zip(flat, before, strict=True):
        assert all(torch.equal(v, tensors[k]) for k, v in model.state_dict().items())
        assert [p.requires_grad for p in model.parameters()] == flags
        assert all(p.grad is None for p in model.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert [c.training for c in model.modules()] == modes


@pytest.mark.slow
def test_the_random_state_is_left_alone_and_reads_are_the_audits_and_not_the_methods() -> None:
    data, split = prepared()
    access = AccessLog(data)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    look(given=(data, split), access=access)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert before[2] == np.random.get_state()[1].tolist()
    summary: Any = access.summary(split)
    for part, classes in summary["parts"].items():
        for counts in classes.values():
            assert counts["read_by_method"] == 0
            assert counts["read_by_audit"] == (0 if part == "retain_val" else counts["samples"]), part
    assert access.forget_samples_read(split) == summary["forget_samples_read"] == 0
    assert summary["forget_samples_read_by_audit"] == summary["forget_samples_decoded"] == 12 + 4


def test_only_what_the_metrics_want_is_gathered() -> None:
    data, split = prepared()
    access = AccessLog(data)
    evidence = look(given=(data, split), access=access, metrics=[METRICS["weight_distance"]])
    for subject in evidence.subjects:
        assert (subject.outputs, subject.relearning) == ({}, None)
        assert subject.distances is not None
    assert not data.train.decoded.any()
    evidence = look(metrics=[METRICS["prediction_distribution"]])
    for subject in evidence.subjects:
        assert set(subject.outputs) == {Part.FORGET_TRAIN, Part.FORGET_TEST}
        assert (subject.distances, subject.relearning) == (None, None)


def test_large_parts_are_cut_to_stratified_samples_and_doubted() -> None:
    given = prepared(per_class=40)
    evidence = look(given=given, metrics=OUTPUTS, images=103)
    for subject in evidence.subjects:
        cut = subject.outputs[Part.RETAIN_TRAIN]
        assert torch.bincount(cut.labels, minlength=4).tolist() == [10, 10, 0, 10]
        assert cut.sampled_from == 3 * 38  # two of forty are held out
        assert len(subject.outputs[Part.FORGET_TRAIN].labels) == 30
        assert torch.equal(cut.labels, evidence.subjects[0].outputs[Part.RETAIN_TRAIN].labels)
        assert len(subject.outputs[Part.FORGET_TEST].labels) == 13  # small enough
    found = readings(evidence)
    assert Doubt("partial", {"n": 30, "whole": 114}) in found["accuracy", "unlearned", 0, "retain_train"].doubts
    assert not any(d.code == "partial" for d in found["accuracy", "unlearned", 0, "forget_test"].doubts)


def test_the_stratified_draw_follows_the_seed() -> None:
    draws = []
    for seed in (0, 0, 1):
        given = prepared(per_class=40)
        access = AccessLog(given[0])
        look(given=given, access=access, metrics=OUTPUTS, images=103, seed=seed)
        draws.append(given[0].train.decoded.tolist())
        assert sum(draws[-1]) == 60
    assert draws[0] == draws[1] != draws[2]


def test_uneven_classes_keep_their_shares() -> None:
    data = tiny_data(per_class=100)
    rows = torch.nonzero(data.train.labels == 0).flatten()
    data.train.labels[rows[:80]] = 1
    split = split_for(ForgetRequest(classes=(2,)), data, val_fraction=0)
    evidence = look(given=(data, split), metrics=OUTPUTS, images=213)
    counts = torch.bincount(evidence.subjects[0].outputs[Part.RETAIN_TRAIN].labels, minlength=4)
    assert counts.tolist() == [4, 36, 0, 20]


def test_parts_without_samples_are_unknown_and_the_rest_is_measured() -> None:
    data = tiny_data(classes=CLASSES[:3]).with_classes(CLASSES)
    split = split_for(ForgetRequest(classes=("dog",)), data)
    evidence = look(given=(data, split))
    found = readings(evidence)
    for metric in ("accuracy", "balanced_accuracy", "prediction_max_share"):
        for part in ("forget_train", "forget_test"):
            reading = found[metric, "unlearned", 0, part]
            assert reading.value is None
            assert is_unknown(reading.doubts)
    assert found["relearn_steps", "unlearned", 0, None].value is None
    assert found["accuracy", "unlearned", 0, "retain_test"].value is not None


def test_costs_are_passed_on_by_name_and_replicate() -> None:
    spent = {"seconds": 2.0, "samples_forward": 3, "samples_backward": 4}
    evidence = look(metrics=OUTPUTS, costs={("retrained", 1): spent})
    assert [s.cost for s in evidence.subjects] == [None, None, None, spent]


def count_passes(model: nn.Module) -> list[int]:
    """Count what goes through a model and through the copies that are made of it."""
    seen: list[int] = []
    model.register_forward_hook(lambda *_: seen.append(1))
    return seen


@pytest.mark.slow
def test_earlier_evidence_stands_and_gives_what_one_gathering_gives() -> None:
    original, unlearned, retrained = MODELS["cnn-grey"].model(), other(1), [other(2), other(3)]
    whole = {"original": original, "unlearned": unlearned, "retrained": retrained}
    at_once = look(whole, images=40)
    earlier = look({"original": original, "retrained": retrained}, images=40)
    passes = [count_passes(model) for model in retrained]
    joined = look(whole, images=40, earlier=earlier)
    assert passes == [[], []]
    assert [(s.name, s.replicate) for s in joined.subjects] == [(s.name, s.replicate) for s in at_once.subjects]
    for mine, theirs in zip(joined.subjects, at_once.subjects, strict=True):
        assert mine.outputs.keys() == theirs.outputs.keys()
        for part, outputs in mine.outputs.items():
            assert torch.equal(outputs.logits, theirs.outputs[part].logits)
            assert torch.equal(outputs.labels, theirs.outputs[part].labels)
            assert outputs.sampled_from == theirs.outputs[part].sampled_from
            for layer, features in outputs.features.items():
                assert torch.equal(features, theirs.outputs[part].features[layer])
        assert replace(mine, outputs={}) == replace(theirs, outputs={})
    assert joined.random is earlier.random
    assert readings(joined) == readings(at_once)


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"images": 30}, {"metrics": [METRICS["weight_distance"]]}, {"forget": (1,)}]
)
def test_earlier_evidence_of_other_samples_is_refused(changed: dict[str, Any]) -> None:
    models = {"original": MODELS["cnn-grey"].model(), "retrained": [other(2)]}
    first, then = prepared(per_class=40), prepared(per_class=40, forget=changed.pop("forget", (2,)))
    metrics = [*OUTPUTS, METRICS["weight_distance"]]
    earlier = look(models, given=first, images=103, metrics=metrics)
    with pytest.raises(ConfigError, match="Expected earlier evidence of the same samples, but it is of others"):
        look(models, given=then, earlier=earlier, **{"images": 103, "metrics": metrics, **changed})


def test_earlier_evidence_of_fewer_kinds_is_refused() -> None:
    models = {"original": MODELS["cnn-grey"].model(), "retrained": [other(2)]}
    earlier = look(models, metrics=OUTPUTS)
    with pytest.raises(ConfigError, match="it has no weights; gather both with the same metrics"):
        look(models, metrics=[*OUTPUTS, METRICS["weight_distance"]], earlier=earlier)
    assert look(models, metrics=OUTPUTS, earlier=earlier).subjects == earlier.subjects


# ---- shadows -------------------------------------------------------------------------------------------------------


def test_shadows_are_seen_on_the_forgotten_samples_of_every_model_and_no_others() -> None:
    shadow = other(4)
    passes = count_passes(shadow)
    seen = look(metrics=[METRICS["accuracy"], METRICS["u_lira_membership"]], images=60, shadows=[shadow])
    assert [subject.name for subject in seen.subjects] == ["original", "unlearned", "retrained", "retrained"]
    (outputs,) = seen.shadows
    assert set(outputs) == {Part.FORGET_TRAIN}
    alone = look({"original": shadow}, metrics=[METRICS["accuracy"], METRICS["u_lira_membership"]], images=60)
    for part, found in outputs.items():
        assert torch.equal(found.labels, seen.subjects[0].outputs[part].labels)
        assert torch.equal(found.logits, alone.subjects[0].outputs[part].logits)
    assert passes != []
    passes.clear()
    later = look(metrics=[METRICS["accuracy"], METRICS["u_lira_membership"]], images=60, earlier=seen)
    assert later.shadows is seen.shadows
    assert passes == []
    assert look(metrics=OUTPUTS, shadows=[shadow]).shadows == ()
    assert passes == []


def test_a_shadow_of_another_architecture_is_refused() -> None:
    with pytest.raises(ModelError, match="shadow 1 and the original differ"):
        look(metrics=OUTPUTS, shadows=[nn.Linear(2, 3)])


def test_the_cap_of_relearning_is_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relearn_module, "measuring_steps", lambda cap: [1, cap])
    for told, last in (({}, relearn_module.CAP), ({"relearn_cap": 5}, 5)):
        models = {"original": MODELS["cnn-grey"].model()}
        evidence = look(models, metrics=[METRICS["relearn_time"]], **told)
        relearning = evidence.subjects[0].relearning
        assert relearning is not None
        assert max(relearning.forget_accuracy) == last
