"""ZRF against a loop over the samples with scipy; the untrained network is untrained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch import nn

from unlearnkit.audit.doubts import Doubt, no_samples, unknown
from unlearnkit.audit.evidence import Evidence, Outputs, Subject, Untrained
from unlearnkit.audit.metrics.zrf import zrf
from unlearnkit.audit.observe.untrained import incompetent
from unlearnkit.request import ResolvedRequest
from unlearnkit.split import Part


def outputs(logits: torch.Tensor) -> dict[Part, Outputs]:
    return {Part.FORGET_TEST: Outputs(logits=logits, labels=torch.zeros(len(logits)).long(), sampled_from=len(logits))}


def evidence(logits: torch.Tensor, random: torch.Tensor | None, drawn: float = 1.0) -> Evidence:
    subject = Subject(
        name="unlearned",
        replicate=0,
        outputs=outputs(logits),
        distances=None,
        relearning=None,
        relearn_failure=None,
        cost=None,
    )
    return Evidence(
        request=ResolvedRequest(forget=(0,), already_forgotten=(), classes=("a", "b", "c")),
        subjects=(subject,),
        random=None if random is None else Untrained(outputs=outputs(random), drawn=drawn),
    )


def test_it_is_one_less_the_mean_divergence_in_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    said, random = (3 * torch.randn(20, 3, generator=generator) for _ in range(2))
    (_, reading) = zrf(evidence(said, random))
    p, q = (torch.softmax(each.double(), dim=1).numpy() for each in (said, random))
    expected = 1 - np.mean([jensenshannon(a, b, base=2) ** 2 for a, b in zip(p, q, strict=True)])
    assert reading.part == "forget_test"
    assert reading.value == pytest.approx(expected, abs=1e-9)
    assert reading.interval is not None
    assert reading.interval[0] < expected < reading.interval[1]
    assert reading.samples == 20


def test_the_ends_of_the_range() -> None:
    same = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    assert zrf(evidence(same, same))[1].value == pytest.approx(1.0)
    apart = torch.tensor([[900.0, 0.0, 0.0]]), torch.tensor([[0.0, 900.0, 0.0]])
    assert zrf(evidence(*apart))[1].value == pytest.approx(0.0)


def test_without_samples_or_an_untrained_network_it_is_unknown() -> None:
    train, test = zrf(evidence(torch.zeros(4, 3), None))
    assert train.value is None
    assert train.doubts == (no_samples("forget_train"),)
    assert test.value is None
    assert test.doubts == (unknown("no_untrained"),)


def test_the_untrained_network_keeps_nothing_it_can_draw_anew() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        for value in [*model.parameters(), model[1].running_mean]:
            value.fill_(7.0)
    fresh, drawn = incompetent(model)
    assert drawn == 1.0
    assert not any((p == 7.0).any() for p in fresh.parameters())
    assert fresh[1].running_mean.tolist() == [0.0] * 4  # type: ignore[index, union-attr, operator]
    assert all((p == 7.0).all() for p in model.parameters())

    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.full((6,), 7.0))
            self.layer = nn.Linear(1, 2)

    fresh, drawn = incompetent(Token())
    assert drawn == pytest.approx(4 / 10)
    (_, reading) = zrf(evidence(torch.zeros(4, 3), torch.zeros(4, 3), drawn=drawn))
    assert reading.doubts == (Doubt("partly_drawn", {"share": 0.4}),)
