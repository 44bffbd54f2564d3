"""AUC and true positive rate at a low false positive rate, and their intervals, against oracles and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearnkit.audit.metrics import roc
from unlearnkit.audit.metrics.roc import CURVE, FEWEST, auc, auc_interval, tpr_at_fpr, tpr_interval, tpr_reading
from unlearnkit.audit.reading import Reading, wilson
from unlearnkit.errors import DataError


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


groups = st.lists(st.integers(-6, 6), min_size=1, max_size=60)


@settings(max_examples=80, deadline=None)
@given(positives=groups, negatives=groups)
def test_auc_and_tpr_agree_with_scikit_learn(positives: list[int], negatives: list[int]) -> None:
    truth = [1] * len(positives) + [0] * len(negatives)
    a, b = numbers(*positives), numbers(*negatives)
    assert auc(a, b) == pytest.approx(sklearn.metrics.roc_auc_score(truth, positives + negatives), abs=1e-12)
    assert auc(b, a) == pytest.approx(1 - auc(a, b), abs=1e-12)
    fpr, tpr, _ = sklearn.metrics.roc_curve(truth, positives + negatives, drop_intermediate=False)
    for rate in (0.01, 0.1, 0.5):
        assert tpr_at_fpr(a, b, rate) == pytest.approx(tpr[fpr <= rate + 1e-12].max(), abs=1e-12)
    low, high = auc_interval(a, b)
    assert 0 <= low <= auc(a, b) <= high <= 1
    assert low < high


@pytest.mark.parametrize(("n", "allowed"), [(99, 0), (100, 1), (199, 1), (2900, 29), (5700, 57)])
def test_how_many_false_positives_one_percent_allows(n: int, allowed: int) -> None:
    negatives = torch.arange(n).double()
    positives = torch.arange(n).double() + 0.5
    assert tpr_at_fpr(positives, negatives) == (allowed + 1) / n


def test_infinite_scores_are_ordered_and_nan_is_refused() -> None:
    assert auc(numbers(math.inf, 1), numbers(-math.inf, 0)) == 1
    assert auc(numbers(-math.inf), numbers(-math.inf)) == 0.5
    for bad in (numbers(), numbers(math.nan, 1), torch.zeros(2, 2)):
        for fn in (auc, auc_interval, tpr_at_fpr, tpr_interval):
            with pytest.raises(DataError, match="Expected scores"):
                fn(bad, numbers(1.0))
            with pytest.raises(DataError, match="Expected scores"):
                fn(numbers(1.0), bad)


def test_the_interval_of_the_auc_by_its_definition() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.integers(0, 12, 40) + 2.0, generator.integers(0, 12, 70) * 1.0
    wins = (a[:, None] > b) + 0.5 * (a[:, None] == b)
    value, m, n = wins.mean(), len(a), len(b)
    sd = math.sqrt(wins.mean(axis=1).var(ddof=1) / m + wins.mean(axis=0).var(ddof=1) / n)
    z = scipy.stats.norm.ppf(0.975)
    delong = scipy.special.expit(scipy.special.logit(value) + np.array([-z, z]) * sd / (value * (1 - value)))

    def newcombe(t: float) -> float:
        size = (m + n) / 2 - 1
        variance = t * (1 - t) * (1 + size * (1 - t) / (2 - t) + size * t / (1 + t)) / (m * n)
        return float((value - t) ** 2 - z**2 * variance)

    low, high = scipy.optimize.brentq(newcombe, 1e-9, value), scipy.optimize.brentq(newcombe, value, 1 - 1e-9)
    expected = (min(delong[0], low), max(delong[1], high))
    assert auc_interval(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, abs=1e-9)


def test_groups_apart_and_all_alike_have_an_interval_too() -> None:
    low, high = auc_interval(torch.ones(50), torch.zeros(50))
    assert high == 1
    assert 0.9 < low < 0.99
    low, high = auc_interval(torch.zeros(50), torch.zeros(50))
    assert (low + high) / 2 == pytest.approx(0.5)
    assert 0.15 < high - low < 0.3


@pytest.mark.parametrize(("shift", "split"), [(0.0, 0.0), (1.2, 0.0), (2.8, 0.0), (0.0, 5.0)])
def test_the_intervals_cover_the_truth(shift: float, split: float) -> None:
    """Normal scores; with `split`, the positives lie in two heaps on either side of the negatives."""
    generator = torch.Generator().manual_seed(1)
    truth = 0.5 if split else scipy.stats.norm.cdf(shift / math.sqrt(2))
    reached = scipy.stats.norm.sf(scipy.stats.norm.isf(0.01) - shift)
    hits = rates = 0
    runs = 250
    for _ in range(runs):
        a = torch.randn(60, generator=generator).double() + shift
        a += split * torch.randint(0, 2, (60,), generator=generator).mul(2).sub(1) * bool(split)
        b = torch.randn(90, generator=generator).double()
        low, high = auc_interval(a, b)
        hits += low <= truth <= high
        if not split:
            low, high = tpr_interval(a, b)
            rates += low <= reached <= high
    assert hits / runs > 0.91
    assert split or rates / runs > 0.94


@pytest.mark.parametrize(("n", "exact"), [(90, False), (436, False), (437, True), (3000, True)])
def test_the_interval_of_the_tpr_by_its_definition(n: int, exact: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn(300, generator=generator).double() + 2, torch.randn(n, generator=generator).double()
    fewest, most = (int(scipy.stats.binom.ppf(q, n, 0.01)) for q in (0.0125, 0.9875))
    ordered = b.sort(descending=True).values
    z = scipy.stats.norm.ppf(0.9875)
    low = wilson(int((a > ordered[fewest - 1]).sum()), 300, z)[0] if fewest else 0.0
    high = wilson(int((a > ordered[most]).sum()), 300, z)[1]
    assert tpr_interval(a, b) == pytest.approx((low, high), abs=1e-12)
    assert (low > 0) == exact
    assert low <= tpr_at_fpr(a, b) <= high


def test_the_constants_are_the_quantiles_they_say() -> None:
    assert pytest.approx(scipy.stats.norm.ppf(0.975)) == roc.Z_95
    assert pytest.approx(scipy.stats.norm.ppf(0.9875)) == roc.Z_9875


def test_the_curve_agrees_with_scikit_learn_and_is_an_aggregate() -> None:
    generator = torch.Generator().manual_seed(0)
    positives = torch.randn(80, generator=generator, dtype=torch.float64) + 0.5
    negatives = torch.randn(60, generator=generator, dtype=torch.float64)
    base = Reading(metric="tpr", model="unlearned", value=None, unit="fraction", target="match_retrain")
    reading = tpr_reading(base, positives, negatives)
    truth = [1] * len(positives) + [0] * len(negatives)
    fpr, tpr, _ = sklearn.metrics.roc_curve(truth, torch.cat([positives, negatives]), drop_intermediate=False)
    assert reading.series == {f"{rate:g}": pytest.approx(tpr[fpr <= rate + 1e-12].max()) for rate in CURVE}
    assert reading.series["0.01"] == reading.value
    assert reading.series["1"] == 1.0
    assert list(reading.series.values()) == sorted(reading.series.values())
    for few in (positives[: FEWEST - 1], negatives), (positives, negatives[: FEWEST - 1]):
        assert tpr_reading(base, *few).series is None
    assert tpr_reading(base, positives[:FEWEST], negatives[:FEWEST]).series is not None
