"""Training on a few samples: a fixed recipe on copies, and what it must and must not find."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import unlearnkit.audit.observe.attacking as attacks_module
from canonical import CPU
from unlearnkit.audit.doubts import Doubt, because, unknown
from unlearnkit.audit.evidence import Attacks, Evidence, Recovered, Subject
from unlearnkit.audit.metrics.attacks import few_shot_recovery
from unlearnkit.audit.observe.attacking import SHOTS, attack
from unlearnkit.audit.observe.relearning import RelearnGoal
from unlearnkit.data import AccessLog, DataView
from unlearnkit.data.sources.registry import load_data
from unlearnkit.models import SmallCNN
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.request import ForgetRequest, ResolvedRequest
from unlearnkit.run_dir import WEIGHTS
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.split import Part, split_for
from unlearnkit.training.loop import train


def view() -> DataView:
    data = load_data("digits")
    split = split_for(ForgetRequest(classes=("3",)), data)
    data.fix_shape(0)
    return DataView(data, split, frozenset(Part), reader="audit", log=AccessLog(data), device=CPU.device)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return SmallCNN(10, 1, width=4).eval()


def run(model: nn.Module, seed: int = 0) -> Attacks:
    goal = RelearnGoal.of(model, view(), generator=torch.Generator().manual_seed(0), runtime=CPU)
    with isolated_randomness(seed) as generator:
        return attack(model, view(), goal, label="test", generator=generator, runtime=CPU, log=RunLog(CPU))


@pytest.mark.slow
def test_the_model_is_left_as_it_was_and_the_seed_decides() -> None:
    model = network().requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    first, second, other = run(model), run(model), run(model, seed=1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert first == second
    assert first != other
    assert set(first.few_shot) == set(SHOTS)


@pytest.mark.slow
def test_what_is_trained_on_is_what_the_docstrings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, torch.Tensor, Any, bool]] = []
    model = network()

    def watch(learner: nn.Module, samples: Any, recipe: Any, *, stage: str, **rest: Any) -> None:
        fresh = not torch.equal(learner.head.weight, model.head.weight)  # type: ignore[arg-type, union-attr]
        seen.append((stage, samples.labels, recipe, fresh))
        train(learner, samples, recipe, stage=stage, **rest)

    monkeypatch.setattr(attacks_module, "train", watch)
    run(model)
    for (stage, labels, recipe, fresh), shots in zip(seen, SHOTS, strict=True):
        assert stage == f"{shots} shots test"
        assert torch.bincount(labels, minlength=10).tolist() == [shots] * 10
        assert fresh
        assert recipe.epochs * -(-len(labels) // 64) in range(28, 33)


@pytest.mark.slow
def test_a_class_that_is_only_masked_comes_back_with_few_shots(digits_run: Path) -> None:
    masked = SmallCNN(10, 1)
    read_checkpoint(digits_run / WEIGHTS).load_into(masked)
    masked.eval()
    with torch.no_grad():
        masked.head.bias[3] = -1e4
    knowing, ignorant = run(masked), run(network(5))
    assert knowing.few_shot[20].balanced > 0.9
    assert ignorant.few_shot[20].balanced < 0.7


def subject(attacks: Attacks | None, failure: Doubt | None = None) -> Subject:
    return Subject(
        name="unlearned",
        replicate=0,
        outputs={},
        distances=None,
        relearning=None,
        relearn_failure=None,
        cost=None,
        attacks=attacks,
        attack_failure=failure,
    )


def test_readings_are_the_last_point_and_the_curve() -> None:
    found = Attacks(
        few_shot={1: Recovered(forget=0.1, retain=0.5), 20: Recovered(forget=0.6, retain=0.9)},
        samples=(40, 90),
    )
    request = ResolvedRequest(forget=(3,), already_forgotten=(), classes=tuple("0123456789"))
    broke = Doubt("remark", {"text": "it broke"})
    evidence = Evidence(request=request, subjects=(subject(found), subject(None, broke), subject(None)))
    few, failed, missing = few_shot_recovery(evidence)
    assert few.value == pytest.approx(0.75)
    half = 1.96 * ((0.6 * 0.4 / 40 + 0.9 * 0.1 / 90) / 4) ** 0.5
    assert few.interval == pytest.approx((0.75 - half, 0.75 + half))
    assert few.series == pytest.approx({"1": 0.3, "20": 0.75})
    assert few.doubts == (Doubt("small_sample", {"n": 40}),)
    assert failed.value is None
    assert failed.doubts == (because(broke),)
    assert missing.doubts == (unknown("needs_forgotten_samples"),)
