"""Relearn time: one fixed recipe, whatever the method left behind."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import nn

import unlearnkit.audit.observe.relearning as relearn_module
from canonical import CPU
from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.evidence import Evidence, Relearning, Subject
from unlearnkit.audit.metrics.relearn import crossing, relearn_time
from unlearnkit.audit.observe.relearning import CAP, RelearnGoal, log_shares, measuring_steps, relearn
from unlearnkit.audit.reading import ModelName
from unlearnkit.data import AccessLog, DataView
from unlearnkit.data.samples import Concat, per_class
from unlearnkit.data.sources.registry import load_data
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.models.head import reset_head
from unlearnkit.request import ForgetRequest, ResolvedRequest
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.split import Part, split_for


def opened(folder: Path) -> nn.Module:
    model = SmallCNN(10, 1, width=8)
    read_checkpoint(folder / "model.safetensors").load_into(model)
    return model.eval()


def audit_view() -> DataView:
    data = load_data("digits")
    split = split_for(ForgetRequest(classes=("3",)), data)
    data.fix_shape(0)
    return DataView(data, split, frozenset(Part), reader="audit", log=AccessLog(data), device=CPU.device)


def goal(original: nn.Module) -> RelearnGoal:
    return RelearnGoal.of(original, audit_view(), generator=torch.Generator().manual_seed(0), runtime=CPU)


def run(model: nn.Module, target: RelearnGoal, seed: int = 0, log: RunLog | None = None, **more: int) -> Relearning:
    log = log or RunLog(CPU)
    with isolated_randomness(seed) as generator:
        return relearn(model, audit_view(), target, label="test", generator=generator, runtime=CPU, log=log, **more)


@pytest.fixture
def cap(monkeypatch: pytest.MonkeyPatch) -> int:
    """Give up after eight steps."""
    monkeypatch.setattr(relearn_module, "measuring_steps", lambda cap: [1, 2, 4, 8])
    return 8


@pytest.fixture(scope="module")
def curve(narrow_run: Path) -> Relearning:
    """Eight steps of the original."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relearn_module, "measuring_steps", lambda cap: [1, 2, 4, 8])
        model = opened(narrow_run)
        return run(model, unreachable(goal(model)))


def unreachable(target: RelearnGoal) -> RelearnGoal:
    return RelearnGoal(forget=target.forget, retain=target.retain, forget_accuracy=2.0, retain_accuracy=0.0)


def test_measuring_steps_rise_from_none_to_the_cap() -> None:
    steps = measuring_steps(CAP)
    assert (steps[0], steps[-1], CAP) == (0, 32, 32)
    assert steps == [0, 1, 2, 4, 8, 16, 32]
    assert measuring_steps(5) == [0, 1, 2, 4, 5]


@pytest.mark.parametrize(
    ("missing", "step"),
    [
        ({0: -0.1}, 1.0),  # there before the first step
        ({0: 0.3, 1: -0.1}, 1.0),
        ({0: 0.3, 2: -0.1}, 2.0),
        ({1: 0.2, 2: 0.0}, 2.0),
        ({4: 0.1, 16: -0.1}, 8.0),  # half way on the logarithmic scale
        ({4: 0.3, 16: -0.1}, 4 * 4**0.75),
        ({1: 0.5, 2: 0.1, 8: -0.1, 16: -0.3}, 4.0),  # the first time counts
        ({1: 0.5, 2: 0.1, 8: -0.1, 16: 0.3}, None),  # one lucky measurement does not
        ({1: 0.5, 2: -0.1, 4: 0.1, 16: -0.1, 32: -0.2}, 8.0),
        ({0: -0.1, 1: 0.2, 2: 0.1}, None),
        ({1: 0.5, 4: 0.1, 16: -0.1}, 8.0),  # nor can the last be held against a next one
        ({1: 0.5, 2: 0.1}, None),
        ({}, None),
    ],
)
def test_the_crossing_by_hand(missing: dict[int, float], step: float | None) -> None:
    assert crossing(missing) == (None if step is None else pytest.approx(step))


def test_the_goal_is_the_originals_accuracy_less_five_points(narrow_run: Path) -> None:
    original = opened(narrow_run).train()
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


@pytest.mark.slow
@pytest.mark.parametrize("how", ["frozen", "partly frozen", "train mode", "gradients", "other head"])
def test_the_curve_depends_on_the_features_alone(narrow_run: Path, cap: int, curve: Relearning, how: str) -> None:
    model = opened(narrow_run)
    assert run(spoiled(model, how), unreachable(goal(model))) == curve


@pytest.mark.slow
def test_the_model_is_left_unchanged(narrow_run: Path, cap: int) -> None:
    model = opened(narrow_run).train()
    model.features.requires_grad_(False)  # type: ignore[union-attr]
    model.features[1].eval()  # type: ignore[union-attr,index]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    flags = [p.requires_grad for p in model.parameters()]
    run(model, unreachable(goal(opened(narrow_run))))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.slow
def test_the_curve_follows_the_seed(narrow_run: Path, cap: int, curve: Relearning) -> None:
    model = opened(narrow_run)
    again, other = (run(model, unreachable(goal(model)), seed) for seed in (0, 1))
    assert curve == again != other


@pytest.mark.slow
def test_a_model_that_knows_the_class_relearns_it_sooner(narrow_run: Path) -> None:
    target = goal(opened(narrow_run))
    torch.manual_seed(0)
    knows, never_knew = run(opened(narrow_run), target), run(SmallCNN(10, 1, width=8), target)
    sooner, later = crossing(knows.missing), crossing(never_knew.missing)
    assert sooner == 1  # a fitted head is enough
    assert later is None or later > 10
    for result in (knows, never_knew):
        steps = list(result.forget_accuracy)
        assert steps == measuring_steps(CAP)[: len(steps)]
        assert steps == list(result.retain_accuracy)
        assert (result.goal_forget, result.goal_retain) == (target.forget_accuracy, target.retain_accuracy)
        for step in steps:  # the larger of the two: all answers one class is not knowledge
            lacks = (
                result.goal_forget - result.forget_accuracy[step],
                result.goal_retain - result.retain_accuracy[step],
            )
            assert result.missing[step] == pytest.approx(max(lacks))
        there = [result.missing[step] <= 0 for step in steps]
        assert all(there[-2:]) or steps[-1] == CAP
        assert not any(a and b for a, b in pairwise(there[:-1]))


@pytest.mark.slow
@pytest.mark.parametrize("missed", ["forget", "retain"])
def test_a_run_that_misses_the_goal_is_given_up(narrow_run: Path, cap: int, missed: str) -> None:
    base = goal(opened(narrow_run))
    goals: dict[str, Any] = {"forget_accuracy": 1.0, "retain_accuracy": 1.0, f"{missed}_accuracy": 1.1}
    log = RunLog(CPU)
    result = run(opened(narrow_run), RelearnGoal(forget=base.forget, retain=base.retain, **goals), log=log)
    assert (crossing(result.missing), list(result.forget_accuracy)) == (None, [1, 2, 4, 8])
    assert len(log.history["relearn test"]) == cap


@pytest.mark.slow
def test_the_cap_is_the_callers_and_a_censored_time_says_where_it_was_cut_off(narrow_run: Path) -> None:
    model = opened(narrow_run)
    result = run(model, unreachable(goal(model)), cap=10)
    assert list(result.missing) == [0, 1, 2, 4, 8, 10]
    request = ResolvedRequest(forget=(3,), already_forgotten=(), classes=tuple("0123456789"))
    empty: dict[str, Any] = {"outputs": {}, "distances": None, "relearn_failure": None, "cost": None}
    subject = Subject(name="retrained", replicate=0, relearning=result, **empty)
    reading = next(r for r in relearn_time(Evidence(request=request, subjects=(subject,))))
    assert (reading.metric, reading.value, reading.interval) == ("relearn_steps", 10.0, None)
    assert reading.doubts == (Doubt("censored", {"steps": 10}),)


def test_a_goal_met_by_the_fitted_head_takes_no_more_than_a_step(narrow_run: Path) -> None:
    base = goal(opened(narrow_run))
    easy = RelearnGoal(forget=base.forget, retain=base.retain, forget_accuracy=0.0, retain_accuracy=0.0)
    result = run(opened(narrow_run), easy)
    assert crossing(result.missing) == 1
    assert list(result.forget_accuracy) == [0, 1]  # and still at the next one


@pytest.mark.slow
def test_batches_are_half_forgotten_half_retained_and_shares_are_taken_out_of_the_loss(
    narrow_run: Path, cap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    inner = F.cross_entropy
    raw: list[torch.Tensor] = []

    def watch(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if len(labels) == 64:  # the head is fitted to more
            seen.append((logits.detach(), labels))
        return inner(logits, labels)

    class Spy(SmallCNN):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            if self.training and len(images) == 64:  # statistics are estimated from more, filters tried on fewer
                raw.append(logits.detach())
            return logits

    model = Spy(10, 1, width=8)
    model.load_state_dict(opened(narrow_run).state_dict())
    monkeypatch.setattr(relearn_module.F, "cross_entropy", watch)
    run(model, unreachable(goal(opened(narrow_run))))
    assert len(seen) == len(raw) == cap
    counts = torch.bincount(audit_view().part(Part.RETAIN_TRAIN).labels, minlength=10)
    shares = counts / counts.sum() / 2
    shares[3] = 0.5
    for (adjusted, labels), logits in zip(seen, raw, strict=True):
        assert int((labels == 3).sum()) == 32
        assert len(labels.unique()) > 5
        torch.testing.assert_close(adjusted - logits, shares.log().expand(64, 10), atol=1e-5, rtol=0)


def test_shares_by_hand() -> None:
    sides = [torch.tensor([1, 1, 2, 1]), torch.tensor([0, 0])]
    assert log_shares(sides, 4).exp().tolist() == pytest.approx([0.5, 0.375, 0.125, 0.0])


@pytest.mark.slow
def test_only_training_parts_are_trained_on_and_test_parts_are_only_the_goal(narrow_run: Path, cap: int) -> None:
    view = audit_view()
    model = opened(narrow_run)
    target = unreachable(goal(model))
    with isolated_randomness(0) as generator:
        relearn(model, view, target, label="test", generator=generator, runtime=CPU, log=RunLog(CPU))
    summary: Any = view.log.summary(view.split)
    read = {p: sum(c["read_by_audit"] for c in classes.values()) for p, classes in summary["parts"].items()}
    assert read["forget_train"] == len(view.split[Part.FORGET_TRAIN])  # 8 x 32 draws use all of them up
    assert 9 * 90 < read["retain_train"] <= len(view.split[Part.RETAIN_TRAIN])  # the head: up to 100 of each class
    assert read["retain_val"] == read["retain_test"] == read["forget_test"] == 0
    assert summary["forget_samples_read"] == 0


def test_the_head_is_fitted_to_every_class_and_to_nothing_of_the_old_one(narrow_run: Path) -> None:
    view, model = audit_view(), opened(narrow_run)
    sides = [view.part(part) for part in (Part.FORGET_TRAIN, Part.RETAIN_TRAIN)]
    fitted = []
    for old in (0.0, 50.0):
        torch.nn.init.constant_(model.head.weight, old)  # type: ignore[arg-type, union-attr]
        with isolated_randomness(5) as generator:
            reset_head(model, "head")
            relearn_module._fit_head(model, "head", sides, generator, CPU)
        fitted.append(model.head.weight.detach().clone())  # type: ignore[union-attr, operator]
    assert torch.equal(*fitted)
    for part in (Part.FORGET_TEST, Part.RETAIN_TEST):
        samples = view.part(part)
        with torch.no_grad():
            found = (model(samples.images(torch.arange(len(samples)))).argmax(dim=1) == samples.labels).float().mean()
        assert found > 0.9


def test_the_fitted_head_agrees_with_scikit_learns_logistic_regression(narrow_retrained: Path) -> None:
    view, model = audit_view(), opened(narrow_retrained)
    sides = [view.part(part) for part in (Part.FORGET_TRAIN, Part.RETAIN_TRAIN)]
    with isolated_randomness(5) as generator:
        relearn_module._fit_head(model, "head", sides, generator, CPU)
    generator = torch.Generator().manual_seed(1)
    chosen = Concat([side.subset(per_class(side.labels, 100, generator)) for side in sides])
    with torch.no_grad():
        images = chosen.images(torch.arange(len(chosen)))
        features = model.features(images).mean(dim=(2, 3)).double()  # type: ignore[operator, union-attr]
        mine = model(images).softmax(dim=1)
    scaled = (features / features.square().mean().sqrt()).numpy()
    # its penalty is |w|^2 / 2 beside C times the *sum* of the losses
    oracle = LogisticRegression(C=1 / (2 * 1e-4 * len(chosen)), max_iter=500).fit(scaled, chosen.labels.numpy())
    theirs = torch.from_numpy(oracle.predict_proba(scaled)).float()
    assert float((mine.argmax(dim=1) == theirs.argmax(dim=1)).float().mean()) > 0.97
    assert float((mine - theirs).abs().mean()) < 0.02


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
        relearned("retrained", CAP, 1, censored=True),
    )
    request = ResolvedRequest(forget=(1,), already_forgotten=(), classes=("a", "b"))
    readings = relearn_time(Evidence(request=request, subjects=subjects))
    found = {(r.model, r.replicate): r for r in readings if r.metric == "anamnesis_index"}
    assert found["unlearned", 0].value == pytest.approx(30 / (40 * CAP) ** 0.5)  # what is censored counts as the cap
    assert found["retrained", 0].value == pytest.approx(40 / CAP)  # against the others alone
    assert Doubt("one_retrained") in found["retrained", 0].doubts
    assert any(d.code == "censored" for d in found["unlearned", 0].doubts)
