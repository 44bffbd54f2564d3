"""Activation distance and Jensen-Shannon divergence against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.evidence import Evidence, Outputs, Subject
from unlearnkit.audit.metrics.agreement import activation_distance, jensen_shannon, output_agreement, probabilities
from unlearnkit.request import ResolvedRequest
from unlearnkit.split import Part


def random_probabilities(seed: int, n: int = 40, classes: int = 6) -> Tensor:
    logits = torch.randn(n, classes, generator=torch.Generator().manual_seed(seed))
    return probabilities(8 * logits)


def test_jensen_shannon_is_scipys_sample_by_sample() -> None:
    p, q = random_probabilities(0), random_probabilities(1)
    p[0], q[0] = torch.eye(6)[0].double(), torch.eye(6)[1].double()  # disjoint: log 2, no NaN
    p[1] = q[1]
    expected = [jensenshannon(a, b) ** 2 for a, b in zip(p.numpy(), q.numpy(), strict=True)]
    np.testing.assert_allclose(jensen_shannon(p, q), expected, atol=1e-9)
    assert float(jensen_shannon(p, q)[0]) == pytest.approx(math.log(2))
    torch.testing.assert_close(jensen_shannon(p, q), jensen_shannon(q, p))


def test_a_samples_value_does_not_depend_on_its_batch() -> None:
    p, q = random_probabilities(2), random_probabilities(3)
    for function in (jensen_shannon, activation_distance):
        alone = torch.cat([function(p[i : i + 1], q[i : i + 1]) for i in range(len(p))])
        torch.testing.assert_close(function(p, q), alone)


def test_activation_distance_by_hand() -> None:
    p, q = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [0.5, 0.5]])
    assert activation_distance(p, q).tolist() == pytest.approx([math.sqrt(2), 0.0])


def evidence(logits: dict[str, list[Tensor]], part: Part = Part.FORGET_TEST) -> Evidence:
    subjects = tuple(
        Subject(
            name=name,  # type: ignore[arg-type]
            replicate=i,
            outputs={part: Outputs(logits=value, labels=torch.zeros(len(value)).long(), sampled_from=len(value))},
            distances=None,
            relearning=None,
            relearn_failure=None,
            cost=None,
        )
        for name, values in logits.items()
        for i, value in enumerate(values)
    )
    return Evidence(
        request=ResolvedRequest(forget=(0,), already_forgotten=(), classes=("a", "b", "c")), subjects=subjects
    )


def test_models_are_held_against_the_retrained_ones_and_those_against_each_other() -> None:
    values = [torch.randn(50, 3, generator=torch.Generator().manual_seed(i)) for i in range(5)]
    readings = output_agreement(evidence({"original": [values[0]], "unlearned": [values[1]], "retrained": values[2:]}))
    found = {
        (r.metric, r.model, r.replicate): r.value for r in readings if r.part == "forget_test" and r.value is not None
    }
    probs = [probabilities(v) for v in values]
    mean = float(torch.stack([activation_distance(probs[1], probs[i]) for i in (2, 3, 4)]).mean())
    assert found["activation_distance", "unlearned", 0] == pytest.approx(mean)
    others = float(torch.stack([jensen_shannon(probs[2], probs[i]) for i in (3, 4)]).mean())
    assert found["js_divergence", "retrained", 0] == pytest.approx(others)
    unknown = [r for r in readings if r.part == "forget_train"]
    assert unknown
    assert all(r.value is None and r.doubts for r in unknown)


def test_one_retrained_model_is_doubted_and_none_says_nothing() -> None:
    value = torch.randn(20, 3)
    one = output_agreement(evidence({"original": [value], "unlearned": [value], "retrained": [value]}))
    measured = [r for r in one if r.value is not None]
    assert {r.model for r in measured} == {"original", "unlearned"}
    assert all(r.doubts == (Doubt("one_retrained"),) and r.value == 0 for r in measured)
    none = output_agreement(evidence({"original": [value], "unlearned": [value]}))
    assert not [r for r in none if r.value is not None]
