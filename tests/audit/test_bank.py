"""Banks: what they say of their own setting, what together of any other, and the spread that they never go below."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from unlearnkit.audit.bank import OWN_DEGREES, Bank, banks, over_banks, priors_for, read_bank, smallest_spread
from unlearnkit.audit.metric import Vote
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.audit.prior import over_settings
from unlearnkit.audit.verdict import Scale

VOTES = {vote.key: vote for vote in PRIMARY}
FORGOTTEN = VOTES["accuracy/forget_test"]
DISTANCE = VOTES["activation_distance/forget_test"]
TIME = Vote(metric="steps", family="relearn", scale="time", delta=0.25)  # none of ours votes any more


def bank(name: str, readings: dict[str, dict[str, object]], models: int = 9) -> Bank:
    content = {"data": "digits", "model": name, "classes": ["a", "b"], "forget": ["a"], "models": models}
    return read_bank(name, json.dumps(content | {"readings": readings}))


def test_nothing_but_zeros_is_one_sample_that_might_have_been_right() -> None:
    """36 samples: from 0 to 1 right is log(1.5 / 35.5) - log(0.5 / 36.5), and a ninth of the models have it."""
    step = math.log(1.5 / 35.5) - math.log(0.5 / 36.5)
    assert smallest_spread(FORGOTTEN, [0.0] * 9, 36) == pytest.approx(step / 3)
    found = bank("none", {"accuracy/forget_test": {"values": [0.0] * 9, "samples": 36, "s0": 0.0}})
    assert found.priors["accuracy/forget_test"].spread == pytest.approx(step / 3)
    unit = math.sqrt(1 / 0.5 + 1 / 36.5)  # the binomial deviation of the logit
    assert found.variances["accuracy/forget_test"] == pytest.approx((step / unit) ** 2 / 9)


def test_where_there_are_many_samples_it_is_a_quarter_of_the_margin() -> None:
    scale = Scale(kind="proportion", samples=100_000)
    margin = scale.margin(scale.to(0.0), FORGOTTEN.delta)
    assert smallest_spread(FORGOTTEN, [0.0] * 9, 100_000) == pytest.approx(margin / 4)
    assert smallest_spread(TIME, [40.0] * 9, 0) == pytest.approx(0.25 / 4)


def test_the_margin_is_that_of_the_side_that_is_a_fault() -> None:
    vote = VOTES["prediction_tv/forget_test"]  # more is a fault; below there is 0, far away on the logit scale
    scale = Scale(kind="proportion", samples=1000)
    assert smallest_spread(vote, [0.03] * 9, 1000) == pytest.approx((scale.to(0.08) - scale.to(0.03)) / 4)


def test_a_larger_spread_is_its_own() -> None:
    values = [0.5, 0.6, 0.7, 0.4, 0.5, 0.6, 0.55, 0.65, 0.45]
    scale = Scale(kind="proportion", samples=1000)
    spread = float(np.std([scale.to(value) for value in values], ddof=1))
    found = bank("some", {"probe_recovery/forget_test": {"values": values, "samples": 1000, "s0": spread}})
    prior = found.priors["probe_recovery/forget_test"]
    assert (prior.spread, prior.degrees) == (pytest.approx(spread), OWN_DEGREES)


def test_times_that_are_all_alike_say_nothing_of_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearnkit.audit.bank.PRIMARY", (TIME,))
    found = bank("known", {"steps": {"values": [1.0] * 9, "samples": 0, "s0": 0.0}})
    assert found.variances == {}
    assert found.priors["steps"].spread == pytest.approx(0.25 / 4)  # of their own they do


def test_a_mean_distance_spreads_by_what_each_model_adds() -> None:
    """With d_ij = e_i + e_j the mean distances to the others spread by (k - 2) / (k - 1) of e."""
    adds = np.array([0.0, 0.01, 0.03, -0.02, 0.02, -0.01, 0.0, 0.015, -0.03])
    means = [float(adds[i] + np.delete(adds, i).mean()) for i in range(9)]
    assert DISTANCE.widened(9) * np.std(means, ddof=1) == pytest.approx(np.std(adds, ddof=1))
    three = [float(adds[i] + np.delete(adds[:3], i).mean()) for i in range(3)]
    assert DISTANCE.widened(3) * np.std(three, ddof=1) == pytest.approx(np.std(adds[:3], ddof=1))
    assert (DISTANCE.widened(2), FORGOTTEN.widened(3)) == (1.0, 1.0)
    values = [math.exp(10 * x) for x in means]
    spread = float(np.std([10 * x for x in means], ddof=1))
    found = bank("far", {DISTANCE.key: {"values": values, "samples": 1000, "s0": spread}})
    assert found.priors[DISTANCE.key].spread == pytest.approx(8 / 7 * spread)


def test_a_distance_of_distributions_has_no_binomial_unit() -> None:
    vote = VOTES["prediction_tv/forget_test"]
    values = [0.03, 0.05, 0.04, 0.06, 0.02, 0.05, 0.04, 0.03, 0.05]
    spread = float(np.std([Scale(kind="proportion", samples=1000).to(value) for value in values], ddof=1))
    found = bank("apart", {vote.key: {"values": values, "samples": 1000, "s0": spread}})
    least = smallest_spread(vote, values, 1000)
    assert found.variances[vote.key] == pytest.approx(max(spread, least) ** 2)


def test_several_banks_speak_for_a_setting_of_none_of_them() -> None:
    random = np.random.default_rng(0)
    made = []
    for i, spread in enumerate((0.05, 0.1, 0.2, 0.4)):
        values = [float(v) for v in np.exp(random.normal(3, spread, 9))]
        made.append(bank(str(i), {DISTANCE.key: {"values": values, "samples": 9, "s0": 0.0}}))
    variances = [each.variances[DISTANCE.key] for each in made]
    assert over_banks(made) == {DISTANCE.key: over_settings(variances, [8] * 4)}
    assert over_banks(made[:2]) == {}


def test_a_reading_that_no_longer_votes_is_passed_over() -> None:
    assert bank("old", {"gone/forget_test": {"values": [0.1] * 9, "samples": 10, "s0": 0.1}}).priors == {}


def test_an_audit_takes_its_own_bank_or_what_all_say() -> None:
    found = banks()
    assert priors_for(found[0]) is found[0].priors
    assert priors_for(None) == over_banks(found)
    assert all(prior.degrees <= OWN_DEGREES for prior in priors_for(None).values())
