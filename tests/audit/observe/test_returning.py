"""Training on retained samples alone: what it is given, what it leaves alone, and what comes back."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import unlearnkit.audit.observe.returning as returning
from canonical import CPU
from unlearnkit.audit.doubts import Doubt, because, unknown
from unlearnkit.audit.evidence import Evidence, Returned, Subject
from unlearnkit.audit.metrics.return_recovery import return_recovery
from unlearnkit.audit.observe.relearning import RelearnGoal
from unlearnkit.audit.observe.returning import BATCH, RATES, returned
from unlearnkit.audit.reading import wilson
from unlearnkit.data import AccessLog, DataView
from unlearnkit.data.sources.registry import load_data
from unlearnkit.models import SmallCNN
from unlearnkit.network import batchnorm_layers
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.split import Part, split_for

FORGOTTEN = 3


def view() -> DataView:
    data = load_data("digits")
    split = split_for(ForgetRequest(classes=(str(FORGOTTEN),)), data)
    data.fix_shape(0)
    return DataView(data, split, frozenset(Part), reader="audit", log=AccessLog(data), device=CPU.device)


def run(model: nn.Module, seed: int = 0, given: DataView | None = None) -> Returned:
    given = given or view()
    goal = RelearnGoal.of(model, given, generator=torch.Generator().manual_seed(0), runtime=CPU)
    with isolated_randomness(seed) as generator:
        return returned(model, given, goal, label="test", generator=generator, runtime=CPU, log=RunLog(CPU))


def network() -> nn.Module:
    torch.manual_seed(0)
    return SmallCNN(10, 1, width=4).eval()


@pytest.fixture(scope="module")
def knowing() -> nn.Module:
    """A small network that knows all digits."""
    torch.manual_seed(0)
    model = SmallCNN(10, 1, width=8)
    everything = view()
    parts = [everything.part(part) for part in (Part.FORGET_TRAIN, Part.RETAIN_TRAIN)]
    images = torch.cat([part.images(torch.arange(len(part))) for part in parts])
    labels = torch.cat([part.labels for part in parts])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for step in range(150):
        chosen = torch.randint(len(labels), (128,), generator=torch.Generator().manual_seed(step))
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.mark.slow
def test_the_model_is_left_as_it_was_nothing_forgotten_is_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths = (5, 12)
    monkeypatch.setattr(returning, "LENGTHS", lengths)
    model = network().requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    given, seen = view(), []
    plain = nn.functional.cross_entropy

    def watch(logits: Tensor, labels: Tensor) -> Tensor:
        seen.append(labels)
        return plain(logits, labels)

    with monkeypatch.context() as patch:
        patch.setattr("unlearnkit.audit.observe.returning.F.cross_entropy", watch)
        first = run(model, given=given)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert set(first.after) == {(rate, steps) for rate in RATES for steps in lengths}
    assert len(seen) == len(RATES) * max(lengths)
    assert {len(labels) for labels in seen} == {BATCH}
    assert FORGOTTEN not in torch.cat(seen)
    assert run(model) == first


@pytest.mark.slow
def test_a_class_that_false_statistics_hide_is_back_at_once_and_one_that_was_never_learned_is_not(
    knowing: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned = copy.deepcopy(knowing)
    samples = view().part(Part.FORGET_TEST)
    images = samples.images(torch.arange(len(samples)))
    last = batchnorm_layers(poisoned)[-1]
    with torch.no_grad():  # what the class is known by is shifted away, in the statistics alone
        entering: list[Tensor] = []
        handle = last.register_forward_pre_hook(lambda _module, args: entering.append(args[0]))
        poisoned(images)
        handle.remove()
        last.running_mean += 3 * (entering[0].mean(dim=(0, 2, 3)) - last.running_mean)  # type: ignore[operator]
    hidden = (poisoned(images).argmax(dim=1) == FORGOTTEN).float().mean()
    with monkeypatch.context() as patch:
        patch.setattr(returning, "LENGTHS", (25,))
        found = run(poisoned)
        assert hidden < 0.5
        assert found.before > 0.9
        assert run(poisoned, seed=1) != found
    ignorant = copy.deepcopy(knowing)
    with torch.no_grad():
        ignorant.head.bias[FORGOTTEN] = -1e4  # type: ignore[union-attr, index, operator]
    assert max(run(ignorant).after.values()) == 0  # a mask holds against this: other readings are for it


def test_the_reading_is_the_largest_and_the_series_says_where() -> None:
    found = Returned(before=0.05, after={(0.0001, 25): 0.0, (0.003, 100): 0.25}, samples=40)
    broke = Doubt("remark", {"text": "it broke"})
    subjects = (
        Subject(name="unlearned", returned=found),
        Subject(name="retrained", return_failure=broke),
        Subject(name="original"),
    )
    most, failed, missing = return_recovery(Evidence.of(*subjects, classes=["cat", "dog"], forget=["dog"]))
    assert (most.value, most.interval, most.samples) == (0.25, wilson(10, 40), 40)
    assert most.series == {"0": 0.05, "25 x 0.0001": 0.0, "100 x 0.003": 0.25}
    assert most.doubts == (Doubt("small_sample", {"n": 40}),)
    assert (failed.value, failed.doubts) == (None, (because(broke),))
    assert missing.doubts == (unknown("needs_forgotten_samples"),)
    statistics = Returned(before=0.9, after={(0.001, 25): 0.5}, samples=200)
    (reading,) = return_recovery(
        Evidence.of(Subject(name="unlearned", returned=statistics), classes=["cat", "dog"], forget=["dog"])
    )
    assert reading.value == 0.9
