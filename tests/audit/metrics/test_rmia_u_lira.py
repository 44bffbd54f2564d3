"""RMIA and U-LiRA by hand, against scipy, on constructed cases of known power, and as metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, is_unknown, no_samples, unknown
from unlearnkit.audit.evidence import Evidence, Outputs, Subject
from unlearnkit.audit.metrics.lira import lira_membership, lira_offline
from unlearnkit.audit.metrics.membership import PARTS
from unlearnkit.audit.metrics.rmia import average_log_probability, rmia, rmia_membership
from unlearnkit.audit.metrics.roc import auc
from unlearnkit.audit.metrics.u_lira import u_lira, u_lira_membership
from unlearnkit.audit.reading import ModelName
from unlearnkit.errors import ConfigError, DataError
from unlearnkit.request import ResolvedRequest
from unlearnkit.split import Part


def logs(*rows: tuple[float, ...] | float) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


# ---- RMIA ---------------------------------------------------------------------------------------------------------


def test_the_average_probability_by_hand() -> None:
    references = logs((0.2, 0.9), (0.4, 0.5), (0.8, 0.1))
    inside = torch.tensor([[False, True], [False, False], [True, False]])
    online = average_log_probability(references, inside).exp()
    assert online.tolist() == pytest.approx([(0.3 + 0.8) / 2, (0.3 + 0.9) / 2])
    for a in (0.0, 0.3, 1.0):
        offline = average_log_probability(references, a=a).exp()
        means = np.array([1.4 / 3, 0.5])
        np.testing.assert_allclose(offline, ((1 + a) * means + 1 - a) / 2, rtol=1e-12)
    mixed = average_log_probability(references, torch.tensor([[True, False]] + [[False, False]] * 2), a=0.5).exp()
    assert mixed.tolist() == pytest.approx([(0.6 + 0.2) / 2, (1.5 * 0.5 + 0.5) / 2])


def test_rmia_by_hand() -> None:
    # a = 1: p(x) is the references' mean. Ratios of x: 4, 1, 0.5; of z: 0.5, 1, 2, 3.
    target, references = logs(0.8, 0.3, 0.2), logs((0.1, 0.3, 0.6), (0.3, 0.3, 0.2))
    population, by_references = logs(0.1, 0.5, 0.8, 0.9), logs((0.2, 0.5, 0.4, 0.3), (0.2, 0.5, 0.4, 0.3))
    expected = {1.0: [1.0, 0.5, 0.25], 1.5: [0.75, 0.25, 0.0], 2.5: [0.5, 0.0, 0.0]}
    for gamma, scores in expected.items():
        found = rmia(target + 1e-9, references, population, by_references, gamma=gamma, a=1.0)
        assert found.tolist() == pytest.approx(scores)
    # a = 0: p(x) is 1/2 OUT + 1/2, 0.6, 0.65, 0.7; against z at 0.6, 0.75, 0.7, 0.65
    ratios, others = (
        np.array([0.8, 0.3, 0.2]) / [0.6, 0.65, 0.7],
        np.array([0.1, 0.5, 0.8, 0.9]) / [0.6, 0.75, 0.7, 0.65],
    )
    expected_a0 = (ratios[:, None] >= others).mean(axis=1)
    np.testing.assert_allclose(rmia(target, references, population, by_references, a=0.0), expected_a0)


def test_without_a_population_each_sample_meets_all_others() -> None:
    target, references = logs(0.9, 0.5, 0.1, 0.5), logs((0.5, 0.5, 0.5, 0.5))
    assert rmia(target, references).tolist() == pytest.approx([1, 2 / 3, 0, 2 / 3])
    assert rmia(target, references, gamma=1.5).tolist() == pytest.approx([1, 1 / 3, 0, 1 / 3])


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_rmia_agrees_with_its_definition_pair_by_pair(gamma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x, z = torch.rand(20, generator=generator).double(), torch.rand(30, generator=generator).double()
    by_x, by_z = torch.rand(3, 20, generator=generator).double(), torch.rand(3, 30, generator=generator).double()
    p_x, p_z = (0.5 * (1.3 * by.mean(dim=0) + 0.7) for by in (by_x, by_z))
    expected = [float(np.mean([(x[i] / p_x[i]) / (z[j] / p_z[j]) >= gamma for j in range(30)])) for i in range(20)]
    assert rmia(x.log(), by_x.log(), z.log(), by_z.log(), gamma=gamma).tolist() == pytest.approx(expected)
    order = torch.randperm(30, generator=generator)
    again = rmia(x.log(), by_x.log(), z[order].log(), by_z[:, order].log(), gamma=gamma)
    assert again.tolist() == pytest.approx(expected)


def test_vanishing_probabilities_do_no_harm() -> None:
    target, references = torch.tensor([-1e4, -2e4, -math.inf, 0.0]), torch.full((2, 4), -1e4)
    for a in (0.0, 0.3, 1.0):
        assert rmia(target, references, a=a).tolist() == pytest.approx([2 / 3, 1 / 3, 0, 1])
    nothing = torch.full((2, 4), -math.inf)
    assert rmia(target, nothing, a=1.0).isfinite().all()


def test_rmia_refuses_what_does_not_fit() -> None:
    good, references = logs(0.5, 0.2), logs((0.5, 0.2))
    with pytest.raises(ConfigError, match="gamma"):
        rmia(good, references, gamma=0.5)
    with pytest.raises(ConfigError, match="Expected a from 0 to 1"):
        rmia(good, references, a=1.5)
    with pytest.raises(DataError, match="not trained on it"):
        rmia(good, references, inside_RN=torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(DataError, match="population"):
        rmia(good[:1], references[:, :1])
    for target, reference in ((good[:1], references), (good, -references), (-good, references), (good, good)):
        with pytest.raises(DataError, match="Expected log probabilities"):
            rmia(target, reference)
    with pytest.raises(DataError, match="Expected log probabilities"):
        rmia(good * math.nan, references)


# ---- U-LiRA -------------------------------------------------------------------------------------------------------


def test_u_lira_by_hand() -> None:
    # banks of mean 3 and 1, both with standard deviation 2: the ratio is linear, (o - 2) / 2
    unlearned, retrained = torch.tensor([[1.0], [5.0]]), torch.tensor([[-1.0], [3.0]])
    for observed in (-4.0, 2.0, 7.0):
        ratio = u_lira(unlearned, retrained, torch.tensor([observed]))
        assert float(ratio) == pytest.approx((observed - 2) / 2)
    assert ratio.dtype == torch.float64


def test_u_lira_agrees_with_scipy() -> None:
    generator = torch.Generator().manual_seed(1)
    unlearned, retrained = 2 * torch.randn(9, 15, generator=generator) + 1, torch.randn(6, 15, generator=generator)
    observed = 3 * torch.randn(15, generator=generator)
    fits = [
        scipy.stats.norm(*np.array([scipy.stats.norm.fit(c) for c in bank.T.numpy()]).T)
        for bank in (unlearned, retrained)
    ]
    expected = fits[0].logpdf(observed.numpy()) - fits[1].logpdf(observed.numpy())
    np.testing.assert_allclose(u_lira(unlearned, retrained, observed), expected, rtol=1e-5, atol=1e-5)


def test_the_power_of_u_lira_on_normal_scores_is_the_known_one() -> None:
    """Each sample has its own mean; the two hypotheses are 1.5 standard deviations apart: AUC is Phi(1.5 / sqrt 2)."""
    generator = torch.Generator().manual_seed(2)
    n, shift = 3000, 1.5
    centre = 10 * torch.randn(n, generator=generator).double()
    bank = torch.randn(400, n, generator=generator).double() + centre
    noise = torch.randn(2, n, generator=generator).double() + centre
    ratios = [u_lira(bank + shift, bank, observed) for observed in (noise[0] + shift, noise[1])]
    assert auc(*ratios) == pytest.approx(scipy.stats.norm.cdf(shift / math.sqrt(2)), abs=0.015)
    assert auc(noise[0] + shift, noise[1]) < 0.6  # one threshold for all samples sees next to nothing


def test_u_lira_without_spread_is_finite_and_blind_where_the_banks_agree() -> None:
    same = torch.ones(3, 2)
    assert u_lira(same, same, torch.tensor([1.0, 5.0])).tolist() == [0, 0]
    ratio = u_lira(same, same + 1, torch.tensor([1.0, 2.0]))
    assert ratio.isfinite().all()
    assert ratio[0] > 0 > ratio[1]


def test_with_few_models_the_samples_share_a_standard_deviation() -> None:
    """Two models a bank: a sample's own deviation can be next to nothing, and then one sample outweighs all others."""
    generator = torch.Generator().manual_seed(3)
    banks = [torch.randn(3, 40, generator=generator) + mean for mean in (2.0, 0.0)]
    observed = torch.randn(40, generator=generator)
    sds = [np.sqrt(np.var(bank.numpy(), axis=0, ddof=1).mean()) for bank in banks]
    first, second = (
        scipy.stats.norm.logpdf(observed.numpy(), bank.numpy().mean(axis=0), sd)
        for bank, sd in zip(banks, sds, strict=True)
    )
    np.testing.assert_allclose(u_lira(*banks, observed, shared_sd=True), first - second, rtol=1e-5, atol=1e-5)


def test_u_lira_refuses_what_does_not_fit() -> None:
    bank, observed = torch.zeros(3, 2), torch.zeros(2)
    for bad in (bank[:1], bank[:, :1], bank[0], bank * math.nan, bank + math.inf):
        with pytest.raises(DataError, match="unlearned"):
            u_lira(bad, bank, observed)
        with pytest.raises(DataError, match="retrained"):
            u_lira(bank, bad, observed)
    with pytest.raises(DataError, match="Expected finite scores"):
        u_lira(bank, bank, observed * math.nan)
    with pytest.raises(ConfigError, match="least_sd"):
        u_lira(bank, bank, observed, least_sd=0)


# ---- the metric ---------------------------------------------------------------------------------------------------

REQUEST = ResolvedRequest(forget=(2,), already_forgotten=(), classes=("ant", "bee", "cat", "dog"))


def subject(name: ModelName, replicate: int = 0, *, seed: int = 0, memorised: float = 0.0, n: int = 150) -> Subject:
    generator = torch.Generator().manual_seed(seed)
    hardness = torch.Generator().manual_seed(99)  # what makes a sample hard is the same for every model
    seen = {}
    for part in PARTS:
        logits = torch.randn(n, 4, generator=generator)
        logits[:, 2] += 3 * torch.randn(n, generator=hardness) + memorised * (part == Part.FORGET_TRAIN)
        seen[part] = Outputs(logits=logits, labels=torch.full((n,), 2), sampled_from=n)
    nothing = {"distances": None, "relearning": None, "relearn_failure": None, "cost": None}
    return Subject(name=name, replicate=replicate, outputs=seen, **nothing)  # type: ignore[arg-type]


def evidence(*subjects: Subject) -> Evidence:
    return Evidence(request=REQUEST, subjects=subjects)


RETRAINED = tuple(subject("retrained", i, seed=i) for i in range(3))


def test_lira_ranks_rows_as_the_likelihood_under_models_that_never_saw_them_does() -> None:
    generator = torch.Generator().manual_seed(0)
    target, references = torch.randn(40, generator=generator), torch.randn(4, 40, generator=generator)
    spread = np.sqrt(references.numpy().astype(float).var(axis=0, ddof=1).mean())
    by_hand = scipy.stats.norm.cdf(target.numpy(), references.numpy().mean(axis=0), spread)  # 1 - Pr[Z > phi]
    found = scipy.stats.norm.cdf(lira_offline(target, references).numpy())
    assert np.allclose(found, by_hand, atol=1e-6)
    first, *others = lira_membership(evidence(subject("original", seed=10, memorised=4.0), *RETRAINED))
    assert first.value is not None
    assert first.value > 0.9
    assert all(0.4 < (r.value or 0) < 0.6 for r in others if "auc" in r.metric)
    assert lira_membership(evidence(RETRAINED[0]))[0].value is None


def test_rmia_finds_who_was_memorised() -> None:
    readings = rmia_membership(evidence(subject("original", seed=10, memorised=4.0), *RETRAINED))
    assert [r.metric for r in readings[:2]] == ["membership_auc_rmia", "membership_tpr_rmia"]
    first, *others = readings
    assert first.value is not None
    assert first.value > 0.8
    assert [(r.model, r.replicate) for r in others if "auc" in r.metric] == [("retrained", i) for i in range(3)]
    for reading in others[1:]:
        assert reading.interval is not None
        assert reading.doubts == ()
        low, high = reading.interval
        assert low <= (0.5 if "auc" in reading.metric else 0.01) <= high


def test_references_that_know_nothing_make_rmia_the_loss_attack() -> None:
    blind = []
    for s in RETRAINED:
        hidden = {}
        for part, o in s.outputs.items():
            hidden[part] = replace(o, logits=o.logits - 80 * torch.eye(4)[2])
        blind.append(replace(s, outputs=hidden))
    original = subject("original", seed=10, memorised=2.0)
    members, others = (original.outputs[p].logits.double().log_softmax(dim=1)[:, 2] for p in PARTS)
    value = rmia_membership(evidence(original, *blind))[0].value
    assert value == pytest.approx(auc(members, others), abs=2e-3)  # up to ties between ranks


def test_without_another_retrained_model_rmia_is_unknown() -> None:
    readings = rmia_membership(evidence(subject("unlearned"), RETRAINED[0]))
    known = [r for r in readings if r.model == "unlearned"]
    assert all(r.value is not None and r.doubts == (Doubt("one_reference"),) for r in known)
    assert all(r.value is None and is_unknown(r.doubts) for r in readings if r.model == "retrained")
    for reading in rmia_membership(evidence(subject("unlearned"))):
        assert reading.value is None
        assert reading.doubts == (unknown("no_other_retrained"),)


@pytest.mark.parametrize("part", PARTS)
def test_missing_parts_are_unknown(part: Part) -> None:
    given = subject("unlearned")
    bare = replace(given, outputs={p: o for p, o in given.outputs.items() if p != part})
    for reading in rmia_membership(evidence(bare, *RETRAINED)):
        assert (reading.value is None) == (reading.model == "unlearned")
    broken = [replace(s, outputs={p: o for p, o in s.outputs.items() if p != part}) for s in RETRAINED[1:]]
    for reading in rmia_membership(evidence(given, RETRAINED[0], *broken)):
        assert reading.value is None
        assert is_unknown(reading.doubts)
    lone = tuple(subject("retrained", i, seed=i, n=1) for i in range(3))
    assert all(r.value is None for r in rmia_membership(evidence(*lone)))


def test_identical_models_read_the_same_in_any_order() -> None:
    given = subject("original", seed=10, memorised=1.0)
    twin = replace(given, name="unlearned")
    readings = rmia_membership(evidence(given, twin, *RETRAINED))
    assert readings[:2] == [replace(r, model="original") for r in readings[2:4]]
    turned = rmia_membership(evidence(*reversed(RETRAINED), twin, given))
    values = {(r.metric, r.model, r.replicate): r.value for r in readings}
    assert {(r.metric, r.model, r.replicate): r.value for r in turned} == pytest.approx(values)


# ---- U-LiRA as a metric -------------------------------------------------------------------------------------------


def shadows(n: int, *, shift: float, first: int = 40) -> tuple[dict[Part, Outputs], ...]:
    """Outputs of unlearned shadow models, whose score of the forgotten class is shifted."""
    return tuple(dict(subject("unlearned", seed=first + i, memorised=shift).outputs) for i in range(n))


def phi(outputs: Mapping[Part, Outputs]) -> torch.Tensor:
    """Logit-scaled confidence on forget_train, by its definition."""
    p = outputs[Part.FORGET_TRAIN].logits.double().softmax(dim=1)[:, 2]
    return (p / (1 - p)).log()


def test_u_lira_finds_the_mark_of_a_method() -> None:
    given = subject("unlearned", seed=10, memorised=6.0)
    shown = Evidence(request=REQUEST, subjects=(given, *RETRAINED), shadows=shadows(3, shift=6.0))
    found = {(r.model, r.replicate): r for r in u_lira_membership(shown)}
    marked = found["unlearned", 0]
    assert marked.metric == "membership_u_lira"
    assert marked.value is not None
    assert marked.value > 0.9
    assert marked.series == {"cat": marked.value}
    assert marked.samples == 150
    assert marked.interval is None  # samples of one model are right or wrong together
    assert marked.doubts == (Doubt("u_lira_banks", {"shadows": 3, "retrained": 3}),)
    for i in range(3):
        value = found["retrained", i].value
        assert value is not None
        assert value < 0.1
        assert found["retrained", i].doubts == (Doubt("u_lira_banks", {"shadows": 3, "retrained": 2}),)


def test_u_lira_agrees_with_the_function_on_each_models_banks() -> None:
    bank = shadows(2, shift=1.0)
    seen = (subject("unlearned", seed=10), *RETRAINED)
    readings = u_lira_membership(Evidence(request=REQUEST, subjects=seen, shadows=bank))

    for reading, mine in zip(readings, seen, strict=True):
        retrained = torch.stack([phi(s.outputs) for s in RETRAINED if s is not mine])
        ratio = u_lira(torch.stack([phi(o) for o in bank]), retrained, phi(mine.outputs), shared_sd=True)
        assert reading.value == pytest.approx(float((ratio > 0).double().mean()))


def test_nothing_is_said_of_the_original() -> None:
    shown = Evidence(request=REQUEST, subjects=(subject("original"), *RETRAINED), shadows=shadows(2, shift=1.0))
    assert {r.model for r in u_lira_membership(shown)} == {"retrained"}


def test_banks_that_agree_say_neither() -> None:
    given = subject("unlearned", seed=10)
    twins = tuple(dict(s.outputs) for s in RETRAINED)
    (first, *_) = u_lira_membership(Evidence(request=REQUEST, subjects=(given, *RETRAINED), shadows=twins))
    assert first.value == 0.5


def test_with_many_models_each_sample_has_a_standard_deviation_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearnkit.audit.metrics.u_lira.MANY", 3)
    values = []
    for retrained in (RETRAINED, RETRAINED[:2]):  # enough in both banks, or too few in one
        shown = Evidence(
            request=REQUEST, subjects=(subject("unlearned", seed=10), *retrained), shadows=shadows(3, shift=1.0)
        )
        first = u_lira_membership(shown)[0]
        assert any(doubt.code == "u_lira_banks" for doubt in first.doubts) == (len(retrained) < 3)
        banks = torch.stack([phi(o) for o in shown.shadows]), torch.stack([phi(s.outputs) for s in retrained])
        ratios = [u_lira(*banks, phi(shown.subjects[0].outputs), shared_sd=shared) > 0 for shared in (False, True)]
        assert float(ratios[0].double().mean()) != float(ratios[1].double().mean())
        assert first.value == pytest.approx(float(ratios[len(retrained) < 3].double().mean()))
        values.append(first.value)


def test_few_samples_are_doubted() -> None:
    few = (subject("unlearned", seed=10, n=20), *(subject("retrained", i, seed=i, n=20) for i in range(3)))
    bank = tuple(dict(subject("unlearned", seed=40 + i, n=20).outputs) for i in range(2))
    shown = Evidence(request=REQUEST, subjects=few, shadows=bank)
    assert Doubt("small_sample", {"n": 20}) in u_lira_membership(shown)[0].doubts


def test_without_shadows_there_is_no_u_lira() -> None:
    assert u_lira_membership(evidence(subject("unlearned"), *RETRAINED)) == []


def test_u_lira_says_what_it_lacks() -> None:
    given = subject("unlearned")
    hidden = {
        p: replace(o, logits=o.logits.index_fill(1, torch.tensor(2), -math.inf)) for p, o in given.outputs.items()
    }
    masked = replace(given, outputs=hidden)
    bare = replace(given, outputs={})
    cases = [
        ((given, *RETRAINED), shadows(1, shift=0.0), unknown("too_few_shadows")),
        ((given, RETRAINED[0]), shadows(2, shift=0.0), unknown("too_few_retrained_beside")),
        ((masked, *RETRAINED), shadows(2, shift=0.0), unknown("certain_of_a_sample")),
        ((bare, *RETRAINED), shadows(2, shift=0.0), no_samples("forget_train")),
        ((given, *RETRAINED), (*shadows(2, shift=0.0), {}), unknown("reference_unusable")),
    ]
    for subjects, bank, why in cases:
        first = u_lira_membership(Evidence(request=REQUEST, subjects=subjects, shadows=bank))[0]
        assert first.value is None
        assert first.doubts == (why,)
