"""Relearn time: one fixed recipe, whatever the method left behind."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import unlearnkit.audit.relearn as relearn_module
from canonical import CPU
from unlearnkit.audit.evidence import Evidence, Relearning, Subject
from unlearnkit.audit.reading import ModelName
from unlearnkit.audit.relearn import CAP, RelearnGoal, crossing, measuring_steps, relearn, relearn_time
from unlearnkit.data import AccessLog, DataView, load_data
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.models.head import reset_head
from unlearnkit.request import ForgetRequest, ResolvedRequest
from unlearnkit.runlog import RunLog
from unlearnkit.runtime import isolated_randomness
from unlearnkit.split import Part, split_for


def opened(folder: Path) -> nn.Module:
    model = SmallCNN(10, 1)
    read_checkpoint(folder / "model.safetensors").load_into(model)
    return model.eval()


def audit_view() -> DataView:
    data = load_data("digits")
    split = split_for(ForgetRequest(classes=("3",)), data)
    data.fix_shape(0)
    return DataView(data, split, frozenset(Part), reader="audit", log=AccessLog(data), device=CPU.device)


def goal(original: nn.Module) -> RelearnGoal:
    return RelearnGoal.of(original, audit_view(), generator=torch.Generator().manual_seed(0), runtime=CPU)


def run(model: nn.Module, target: RelearnGoal, seed: int = 0, log: RunLog | None = None) -> Relearning:
    with isolated_randomness(seed) as generator:
        return relearn(
            model, audit_view(), target, label="test", generator=generator, runtime=CPU, log=log or RunLog(CPU)
        )


@pytest.fixture
def cap(monkeypatch: pytest.MonkeyPatch) -> int:
    """Give up after eight steps."""
    monkeypatch.setattr(relearn_module, "measuring_steps", lambda: [1, 2, 4, 8])
    return 8


def unreachable(target: RelearnGoal) -> RelearnGoal:
    return RelearnGoal(forget=target.forget, retain=target.retain, forget_accuracy=2.0, retain_accuracy=0.0)


def test_measuring_steps_rise_from_one_to_the_cap() -> None:
    steps = measuring_steps()
    assert (steps[0], steps[-1], CAP) == (1, 256, 256)
    assert all(a < b for a, b in pairwise(steps))
    assert steps[:4] == [1, 2, 3, 4]
    assert all(b <= 1.42 * a + 1 for a, b in pairwise(steps))
    assert len(steps) == 16


@pytest.mark.parametrize(
    ("missing", "step"),
    [
        ({1: -0.1}, 1.0),  # there at once
        ({1: 0.2, 2: 0.0}, 2.0),
        ({4: 0.1, 16: -0.1}, 8.0),  # half way on the logarithmic scale
        ({4: 0.3, 16: -0.1}, 4 * 4**0.75),
        ({1: 0.5, 2: 0.1, 8: -0.1, 16: 0.3}, 4.0),  # the first time counts
        ({1: 0.5, 2: 0.1}, None),
        ({}, None),
    ],
)
def test_the_crossing_by_hand(missing: dict[int, float], step: float | None) -> None:
    assert crossing(missing) == (None if step is None else pytest.approx(step))


def test_the_goal_is_the_originals_accuracy_less_five_points(digits_run: Path) -> None:
    original = opened(digits_run).train()
    before = {k: v.clone() for k, v in original.state_dict().items()}
    target = goal(original)
    assert set(target.forget.labels.tolist()) == {3}
    assert set(target.retain.labels.tolist()) == set(range(10)) - {3}
    counts = torch.bincount(target.retain.labels)
    present = torch.bincount(audit_view().part(Part.RETAIN_TEST).labels)
    assert torch.equal(counts, present.clamp(max=300 // 9))
    original.eval()
    for samples, wanted in ((target.forget, target.forget_accuracy), (target.retain, target.retain_accuracy)):
        with torch.no_grad():
            predictions = original(samples.images(torch.arange(len(samples)))).argmax(dim=1)
        assert wanted == pytest.approx(float((predictions == samples.labels).double().mean()) - 0.05, abs=1e-6)
    assert all(torch.equal(v, before[k]) for k, v in original.state_dict().items())


def spoiled(model: nn.Module, how: str) -> nn.Module:
    """The same weights in the state that a method might leave behind."""
    model = copy.deepcopy(model)
    if how == "frozen":
        model.requires_grad_(False)
    elif how == "partly frozen":
        model.features.requires_grad_(False)  # type: ignore[union-attr]
    elif how == "train mode":
        model.train()
    elif how == "gradients":
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 1e3)
    elif how == "other head":
        with torch.no_grad():
            model.head.weight.mul_(-7)  # type: ignore[union-attr,operator]
            model.head.bias[3] = -1e4  # type: ignore[union-attr,index]  # a mask of the forgotten output
    return model


@pytest.mark.parametrize("how", ["frozen", "partly frozen", "train mode", "gradients", "other head"])
def test_the_curve_depends_on_the_features_alone(digits_run: Path, cap: int, how: str) -> None:
    model = opened(digits_run)
    target = unreachable(goal(model))
    assert run(spoiled(model, how), target) == run(model, target)


def test_the_model_is_left_unchanged(digits_run: Path, cap: int) -> None:
    model = opened(digits_run).train()
    model.features.requires_grad_(False)  # type: ignore[union-attr]
    model.features[1].eval()  # type: ignore[union-attr,index]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    run(model, unreachable(goal(opened(digits_run))))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())


def test_the_curve_follows_the_seed(digits_run: Path, cap: int) -> None:
    model = opened(digits_run)
    target = unreachable(goal(model))
    first, second, other = (run(model, target, seed) for seed in (0, 0, 1))
    assert first == second != other


def test_a_model_that_knows_the_class_relearns_it_sooner(digits_run: Path, digits_retrained: Path) -> None:
    target = goal(opened(digits_run))
    knows, never_knew = run(opened(digits_run), target), run(opened(digits_retrained), target)
    sooner, later = crossing(knows.missing), crossing(never_knew.missing)
    assert sooner is not None
    assert later is None or sooner < later
    for result in (knows, never_knew):
        steps = list(result.forget_accuracy)
        assert steps == measuring_steps()[: len(steps)]
        assert steps == list(result.retain_accuracy)
        assert (result.goal_forget, result.goal_retain) == (target.forget_accuracy, target.retain_accuracy)
        both_met = [
            result.forget_accuracy[step] >= result.goal_forget and result.retain_accuracy[step] >= result.goal_retain
            for step in steps
        ]
        assert both_met[-1] or steps[-1] == CAP
        assert not any(both_met[:-1])
        assert [lack <= 0 for lack in result.missing.values()] == both_met


@pytest.mark.parametrize("missed", ["forget", "retain"])
def test_both_goals_must_be_met_and_a_run_given_up_is_censored(digits_run: Path, cap: int, missed: str) -> None:
    base = goal(opened(digits_run))
    goals: dict[str, Any] = {"forget_accuracy": 0.0, "retain_accuracy": 0.0, f"{missed}_accuracy": 1.1}
    log = RunLog(CPU)
    result = run(opened(digits_run), RelearnGoal(forget=base.forget, retain=base.retain, **goals), log=log)
    assert (crossing(result.missing), list(result.forget_accuracy)) == (None, [1, 2, 4, 8])
    assert len(log.history["relearn test"]) == cap


def test_a_goal_met_at_once_takes_one_step(digits_run: Path) -> None:
    base = goal(opened(digits_run))
    easy = RelearnGoal(forget=base.forget, retain=base.retain, forget_accuracy=0.0, retain_accuracy=0.0)
    result = run(opened(digits_run), easy)
    assert crossing(result.missing) == 1
    assert list(result.forget_accuracy) == [1]


def test_batches_are_half_forgotten_half_retained_training_samples(
    digits_run: Path, cap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    inner = relearn_module.cross_entropy

    def watch(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(labels)
        return inner(model, images, labels)

    monkeypatch.setattr(relearn_module, "cross_entropy", watch)
    run(opened(digits_run), unreachable(goal(opened(digits_run))))
    assert len(seen) == cap
    for labels in seen:
        assert len(labels) == 64
        assert int((labels == 3).sum()) == 32
        assert len(labels.unique()) > 5


def test_only_training_parts_are_trained_on_and_test_parts_are_only_the_goal(digits_run: Path, cap: int) -> None:
    view = audit_view()
    model = opened(digits_run)
    target = unreachable(goal(model))
    with isolated_randomness(0) as generator:
        relearn(model, view, target, label="test", generator=generator, runtime=CPU, log=RunLog(CPU))
    summary: Any = view.log.summary(view.split)
    read = {p: sum(c["read_by_audit"] for c in classes.values()) for p, classes in summary["parts"].items()}
    assert read["forget_train"] == len(view.split[Part.FORGET_TRAIN])  # 8 x 32 draws use all of them up
    assert 9 * 100 < read["retain_train"] <= len(view.split[Part.RETAIN_TRAIN])  # the head: up to 111 of each class
    assert read["retain_val"] == read["retain_test"] == read["forget_test"] == 0
    assert summary["forget_samples_read"] == 0


def test_the_fresh_head_knows_the_retained_classes_and_no_forgotten_one(digits_run: Path) -> None:
    view, model = audit_view(), opened(digits_run)
    drawn = copy.deepcopy(model)
    with isolated_randomness(5):
        reset_head(drawn, "head")
    with isolated_randomness(5) as generator:
        reset_head(model, "head")
        relearn_module._fit_retained(model, "head", view.part(Part.RETAIN_TRAIN), generator, CPU)
    assert torch.equal(model.head.weight[3], drawn.head.weight[3])  # type: ignore[index, union-attr]
    retained = view.part(Part.RETAIN_TEST)
    with torch.no_grad():
        images = retained.images(torch.arange(len(retained)))
        found, guessed = ((each(images).argmax(dim=1) == retained.labels).float().mean() for each in (model, drawn))
    assert found > 0.9
    assert guessed < 0.5


def relearned(name: ModelName, steps: int, replicate: int = 0, *, censored: bool = False) -> Subject:
    reached = 0.5 if censored else 1.0
    result = Relearning(
        forget_accuracy={steps: reached}, retain_accuracy={steps: reached}, goal_forget=0.9, goal_retain=0.9
    )
    empty: dict[str, Any] = {"outputs": {}, "distances": None, "relearn_failure": None, "cost": None}
    return Subject(name=name, replicate=replicate, relearning=result, **empty)


def test_the_anamnesis_index_is_the_ratio_to_the_retrained_models() -> None:
    subjects = (
        relearned("original", 10),
        relearned("unlearned", 30),
        relearned("retrained", 40),
        relearned("retrained", 90, 1, censored=True),
    )
    request = ResolvedRequest(forget=(1,), already_forgotten=(), classes=("a", "b"))
    readings = relearn_time(Evidence(request=request, subjects=subjects))
    found = {(r.model, r.replicate): r for r in readings if r.metric == "anamnesis_index"}
    assert found["unlearned", 0].value == pytest.approx(30 / (40 * CAP) ** 0.5)  # what is censored counts as the cap
    assert found["retrained", 0].value == pytest.approx(40 / CAP)  # against the others alone
    assert "one retrained model" in found["retrained", 0].doubts
    assert any(d.startswith("censored") for d in found["unlearned", 0].doubts)
