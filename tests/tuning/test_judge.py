"""The judge of trials: which samples it is handed, and what it says of a model that forgot, kept or broke."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from canonical import CLASSES, CPU, tiny_data
from tuned_runs import GONE, PER_CLASS, REQUEST, Brightness
from unlearnkit.data import AccessLog, DataView
from unlearnkit.errors import AccessError, NonFiniteLossError
from unlearnkit.request import ForgetRequest
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.split import Part, split_for
from unlearnkit.tuning.inversion import invert
from unlearnkit.tuning.scoring import Judge, Signal


def judge_view(signal: Signal, request: ForgetRequest = REQUEST) -> tuple[DataView, Any]:
    data = tiny_data(per_class=PER_CLASS)
    split = split_for(request, data)
    data.fix_shape(0)
    log = AccessLog(data)
    return DataView(data, split, signal.parts, reader="method", log=log, device=CPU.device), split


def judge(signal: Signal, request: ForgetRequest = REQUEST) -> Judge:
    view, split = judge_view(signal, request)
    return Judge(Brightness(), view, split.request, signal=signal, seed=0, runtime=CPU, log=RunLog(CPU))


@pytest.mark.parametrize("signal", list(Signal))
def test_a_judge_is_not_handed_any_other_part(signal: Signal) -> None:
    view, split = judge_view(signal)
    for part in set(Part) - signal.parts:
        with pytest.raises(AccessError):
            view.part(part)
    assert not any(part.side == "test" for part in signal.parts)
    assert Part.RETAIN_VAL in signal.parts
    assert len(split[Part.RETAIN_VAL])


@pytest.mark.parametrize("signal", list(Signal))
def test_the_judge_tells_the_original_from_a_model_that_has_forgotten(signal: Signal) -> None:
    judging = judge(signal)
    assert judging.before.retained == 1.0
    assert judging.before.left > 0.9
    forgetful = Brightness()
    forgetful.head.bias.data[GONE] = -1e4
    judged = judging.judge(forgetful)
    assert (judged.retained, judged.left, judged.recognised, judged.mass) == (1.0, 0.0, 0.0, 0.0)


def test_not_knowing_anything_is_no_proof_of_forgetting() -> None:
    judging, lost = judge(Signal.INVERTED), Brightness()
    lost.head.weight.data.zero_()
    lost.head.bias.data = torch.tensor([0.0, 0.0, 50.0, 0.0])  # always the forgotten class, so nothing else is kept
    assert judging.judge(lost).kept == pytest.approx(0, abs=1e-9)
    assert judging.judge(lost).left == 1.0
    lost.head.bias.data = torch.tensor([0.0, 0.0, 0.0, 9.0])  # always the same retained class
    judged = judging.judge(lost)
    assert judged.kept is not None
    assert (judged.recognised + judged.mass) / 2 < 1e-3 < judged.kept < 0.5
    assert judged.left == pytest.approx((judged.recognised + judged.mass) / 2 / judged.kept, rel=1e-6)


@pytest.mark.parametrize("signal", list(Signal))
def test_classes_forgotten_earlier_count_as_forgotten(signal: Signal) -> None:
    """What is given to a class that was forgotten before is left, too."""
    earlier = ForgetRequest(classes=(CLASSES[GONE],), already_forgotten=(CLASSES[0],))
    elsewhere = Brightness()
    elsewhere.head.bias.data[0] += 1e4
    for request, left in ((earlier, 1.0), (REQUEST, 0.0)):
        judged = judge(signal, request).judge(elsewhere)
        assert (judged.recognised, judged.mass) == (left, left)


@pytest.mark.parametrize("signal", list(Signal))
def test_outputs_that_are_no_numbers_are_not_judged(signal: Signal) -> None:
    judging, blown = judge(signal), Brightness()
    blown.head.weight.data.fill_(3e38)
    with pytest.raises(NonFiniteLossError, match="the model gives NaN or infinity"):
        judging.judge(blown)
    masked = Brightness()
    masked.head.bias.data[GONE] = -torch.inf  # a mask of a class is no such output
    assert judging.judge(masked).left == 0.0


def test_the_retained_accuracy_of_the_original_is_taken_without_the_forgotten_outputs() -> None:
    judging, greedy = judge(Signal.SAMPLES), Brightness()
    greedy.head.bias.data[GONE] += 1e4
    assert judging.judge(greedy).retained == 0.0
    assert judging.judge(greedy, masked=True).retained == 1.0


def test_inverted_images_are_what_they_should_be_and_the_model_is_left_alone() -> None:
    model = Brightness()
    before = copy.deepcopy(model.state_dict())
    targets = torch.arange(len(CLASSES)).repeat_interleave(4)

    def made(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        starts = torch.zeros(len(targets), 1, 8, 8)
        return invert(model, starts, targets, generator=generator, runtime=CPU, log=RunLog(CPU))

    assert (model(made(0)).argmax(dim=1) == targets).all()
    assert torch.equal(made(0), made(0))
    assert not torch.equal(made(0), made(1))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
