"""Lookahead: the pulls follow the published recursion, and training uses them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unlearnkit.data.samples import TensorSamples
from unlearnkit.runtime.progress import Silent
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.training.lookahead import Lookahead
from unlearnkit.training.loop import train
from unlearnkit.training.recipe import Recipe


@pytest.mark.parametrize("steps", [20, 23])
def test_the_weights_follow_the_recursion(steps: int) -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    lookahead = Lookahead(model, steps)
    slow = fast = 1.0
    for step in range(1, steps + 1):
        model.weight.data.add_(0.1 * step)
        lookahead.after(step)
        fast += 0.1 * step
        if step % 5 == 0:
            decay = 0.95**5 * (step / steps) ** 3
            slow = fast = decay * slow + (1 - decay) * fast
        if step == steps:
            fast = slow
        assert model.weight.item() == pytest.approx(fast, rel=1e-6)


def test_statistics_are_averaged_and_frozen_weights_and_counts_are_not() -> None:
    model = nn.BatchNorm1d(2)
    assert model.running_mean is not None
    assert model.num_batches_tracked is not None
    model.weight.requires_grad_(False)
    lookahead = Lookahead(model, 5)
    model.running_mean.fill_(1.0)
    model.num_batches_tracked.fill_(5)
    model.weight.data.fill_(3.0)
    lookahead.after(5)
    assert model.running_mean.tolist() == pytest.approx([1 - 0.95**5] * 2)
    assert model.num_batches_tracked.item() == 5
    assert model.weight.tolist() == [3.0, 3.0]


def test_fewer_steps_than_one_pull_are_all_kept() -> None:
    model = nn.Linear(1, 1)
    lookahead = Lookahead(model, 3)
    for step in (1, 2, 3):
        model.weight.data.fill_(float(step))
        lookahead.after(step)
    assert model.weight.item() == 3.0


def test_the_recipe_switches_it_on() -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(60, 1, 2, 2, generator=generator), torch.randint(0, 3, (60,), generator=generator)
    ends = []
    for lookahead in (False, True):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        runtime = Runtime.named("cpu", "fp32")
        train(
            model,
            TensorSamples(images, labels),
            Recipe(epochs=4, batch_size=10, lookahead=lookahead),
            stage="s",
            generator=torch.Generator().manual_seed(2),
            runtime=runtime,
            log=RunLog(runtime, Silent()),
        )
        ends.append(model[1].weight.detach())
    assert not torch.equal(*ends)
