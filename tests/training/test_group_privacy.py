"""Group privacy and the hypothesis-testing bound against randomised response, whose privacy is known exactly."""

from __future__ import annotations

import math

import pytest

from unlearnkit.training.group_privacy import FALSE_ALARMS, VACUOUS, for_request, hits_bound


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("false_alarms", [0.0, 0.01, 0.2, 0.9, 1.0])
def test_no_test_of_randomised_response_beats_the_bound_and_the_best_one_reaches_it(
    epsilon: float, false_alarms: float
) -> None:
    """A bit is told truly with probability e^epsilon / (1 + e^epsilon): the most that (epsilon, 0) allows."""
    truly = math.exp(epsilon) / (1 + math.exp(epsilon))
    # the best test says yes to the likelier answer, and throws a coin for the rest of its false alarms (Neyman-Pearson)
    if false_alarms <= 1 - truly:
        best = truly * false_alarms / (1 - truly)
    else:
        best = truly + (1 - truly) * (false_alarms - (1 - truly)) / truly
    assert hits_bound(epsilon, 0.0, false_alarms) == pytest.approx(best)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_group_is_what_its_members_are_one_after_another(k: int) -> None:
    """Applying P <= e^epsilon Q + delta k times gives no more than the formula."""
    epsilon, delta = 0.7, 1e-6
    steps = sum(math.exp(i * epsilon) for i in range(k)) * delta
    found = for_request(epsilon, delta, k)
    assert found.epsilon == pytest.approx(k * epsilon)
    assert found.delta == pytest.approx(k * math.exp((k - 1) * epsilon) * delta)
    assert found.delta >= steps


def test_large_requests_are_vacuous_and_nothing_overflows() -> None:
    assert for_request(8.0, 1e-5, 1).vacuous
    assert not for_request(1.0, 1e-5, 2).vacuous
    found = for_request(1.0, 7e-5, 136)
    assert (found.delta, found.hits, found.vacuous) == (1.0, 1.0, True)
    assert for_request(100.0, 0.1, 10**7).vacuous
    nothing = for_request(1.0, 1e-5, 0)
    assert (nothing.epsilon, nothing.hits, nothing.vacuous) == (0.0, FALSE_ALARMS, False)
    assert VACUOUS < 1
