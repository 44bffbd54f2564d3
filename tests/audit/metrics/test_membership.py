"""Sample membership: scores, threshold attacks and the SVC, against oracles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, localcontext

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import sklearn.svm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, is_unknown, no_samples, unknown
from unlearnkit.audit.evidence import Evidence, Outputs, Subject
from unlearnkit.audit.metrics.membership import (
    PARTS,
    SCORES,
    balanced,
    confidence,
    entropy,
    evenly,
    logit_confidence,
    loss,
    modified_entropy,
    sample_membership,
    svc_membership,
)
from unlearnkit.audit.reading import ModelName, Reading, wilson
from unlearnkit.errors import DataError
from unlearnkit.request import ResolvedRequest
from unlearnkit.split import Part

CLASSES = ("ant", "bee", "cat", "dog")
REQUEST = ResolvedRequest(forget=(2,), already_forgotten=(), classes=CLASSES)
ALL = {Part.RETAIN_TRAIN: (0, 1, 3), Part.RETAIN_TEST: (0, 1, 3), Part.FORGET_TRAIN: (2,), Part.FORGET_TEST: (2,)}
NAMES = [f"membership_{kind}_{score}" for score in ("loss", "entropy", "mentropy") for kind in ("auc", "tpr")]


def outputs(seed: int, labels: tuple[int, ...], n: int = 200, skill: float = 1.0) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    known = torch.tensor(labels)[torch.randint(0, len(labels), (n,), generator=generator)]
    logits = torch.randn(n, 4, generator=generator)
    logits[torch.arange(n), known] += skill
    return Outputs(logits=logits, labels=known, sampled_from=n)


def subject(name: ModelName = "unlearned", replicate: int = 0, *, seed: int = 0, memorised: float = 0.0) -> Subject:
    """A model whose logit of the label is larger by `memorised` on training samples."""
    seen = {
        part: outputs(seed + i, labels, skill=1.0 + memorised * part.value.endswith("train"))
        for i, (part, labels) in enumerate(ALL.items())
    }
    return Subject(
        name=name,
        replicate=replicate,
        outputs=seen,
        distances=None,
        relearning=None,
        relearn_failure=None,
        cost=None,
    )


def evidence(*subjects: Subject) -> Evidence:
    return Evidence(request=REQUEST, subjects=subjects)


def changed(given: Subject, part: Part, **changes: object) -> Subject:
    return replace(given, outputs={**given.outputs, part: replace(given.outputs[part], **changes)})  # type: ignore[arg-type]


def without(given: Subject, part: Part) -> Subject:
    return replace(given, outputs={p: o for p, o in given.outputs.items() if p != part})


def one(readings: list[Reading], metric: str) -> Reading:
    (found,) = [r for r in readings if r.metric == metric]
    return found


# ---- scores -------------------------------------------------------------------------------------------------------


def slowly(row: list[float], label: int) -> dict[str, float]:
    """The scores of one sample by their definitions, with 500 digits and no 1 - p."""
    with localcontext() as context:
        context.prec = 500
        weights = [Decimal(z - max(row)).exp() for z in row]
        total = sum(weights)
        p = [w / total for w in weights]
        rest = [sum(w for j, w in enumerate(weights) if j != i) / total for i in range(len(row))]
        others = [i for i in range(len(row)) if i != label]
        return {
            "loss": float(-p[label].ln()),
            "confidence": float(p[label]),
            "entropy": float(-sum(q * q.ln() for q in p)),
            "mentropy": float(-rest[label] * p[label].ln() - sum(p[i] * rest[i].ln() for i in others)),
            "phi": float(p[label].ln() - rest[label].ln()),
        }


def all_scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    return {
        "loss": loss(logits, labels),
        "confidence": confidence(logits, labels),
        "entropy": entropy(logits),
        "mentropy": modified_entropy(logits, labels),
        "phi": logit_confidence(logits, labels),
    }


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0, 200.0])
def test_scores_agree_with_their_definitions(scale: float) -> None:
    generator = torch.Generator().manual_seed(4)
    logits = (scale * torch.randn(20, 5, generator=generator)).float()
    labels = torch.randint(0, 5, (20,), generator=generator)
    mine = all_scores(logits, labels)
    for i in range(20):
        for name, value in slowly(logits[i].tolist(), int(labels[i])).items():
            assert float(mine[name][i]) == pytest.approx(value, rel=1e-11, abs=1e-300), (name, i)


def test_scores_agree_with_scipy_and_torch() -> None:
    generator = torch.Generator().manual_seed(5)
    logits, labels = torch.randn(60, 7, generator=generator), torch.randint(0, 7, (60,), generator=generator)
    p = logits.double().softmax(dim=1)
    np.testing.assert_allclose(entropy(logits), scipy.stats.entropy(p.numpy(), axis=1), rtol=1e-12)
    expected = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")
    torch.testing.assert_close(loss(logits, labels), expected, rtol=1e-12, atol=0)
    own = p[torch.arange(60), labels]
    torch.testing.assert_close(confidence(logits, labels), own, rtol=1e-12, atol=0)
    assert loss(logits, labels).argsort().tolist() == confidence(logits, labels).argsort(descending=True).tolist()


@pytest.mark.parametrize("score", ["loss", "confidence", "entropy", "mentropy", "phi"])
def test_a_score_does_not_depend_on_the_batch(score: str) -> None:
    generator = torch.Generator().manual_seed(6)
    logits, labels = 4 * torch.randn(50, 6, generator=generator), torch.randint(0, 6, (50,), generator=generator)
    whole = all_scores(logits, labels)[score]
    alone = torch.cat([all_scores(logits[i : i + 1], labels[i : i + 1])[score] for i in range(50)])
    torch.testing.assert_close(whole, alone, rtol=1e-14, atol=0)
    order = torch.randperm(50, generator=generator)
    torch.testing.assert_close(all_scores(logits[order], labels[order])[score], whole[order], rtol=1e-14, atol=0)


def test_extreme_logits_have_finite_scores() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4], [0.0, 0.0, 0.0], [1e4, 1e4, 1e4]])
    for label in range(3):
        for name, values in all_scores(logits, torch.full((4,), label)).items():
            assert values.isfinite().all(), name
            assert values.dtype == torch.float64
            assert name == "phi" or (values >= 0).all()
    uniform = all_scores(torch.zeros(1, 4), torch.tensor([1]))
    assert float(uniform["entropy"]) == pytest.approx(math.log(4))
    assert float(uniform["mentropy"]) == pytest.approx(-0.75 * math.log(0.25) - 0.75 * math.log(0.75))


def test_sure_samples_are_still_told_apart() -> None:
    logits = torch.tensor([[0.0, 60.0], [0.0, 50.0], [0.0, 70.0]])
    assert loss(logits, torch.ones(3).long()).argsort().tolist() == [2, 0, 1]
    assert confidence(logits, torch.ones(3).long()).unique().tolist() == [1.0]


def test_a_masked_class_has_no_probability() -> None:
    logits = torch.tensor([[1.0, 2.0, -math.inf], [-math.inf, -math.inf, 3.0]])
    reduced = entropy(logits[:1, :2])
    assert entropy(logits).tolist() == pytest.approx([float(reduced), 0.0])
    assert loss(logits, torch.tensor([2, 2])).tolist() == [math.inf, 0.0]
    assert modified_entropy(logits, torch.tensor([2, 2])).tolist() == [math.inf, 0.0]
    assert modified_entropy(logits, torch.tensor([0, 0]))[1] == math.inf
    assert not any(v.isnan().any() for y in range(3) for v in all_scores(logits, torch.full((2,), y)).values())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_cannot_be_scored_is_refused(bad: float) -> None:
    logits, labels = torch.zeros(3, 4), torch.zeros(3).long()
    logits[1, 2] = bad
    calls: list[Callable[[], Tensor]] = [lambda score=score: score(logits, labels) for score in SCORES.values()]  # type: ignore[misc]
    calls += [lambda: loss(torch.full((2, 3), -math.inf), labels[:2]), lambda: loss(torch.zeros(2, 3), labels)]
    for call in calls:
        with pytest.raises(DataError, match="Expected logits"):
            call()


# ---- threshold attacks --------------------------------------------------------------------------------------------


def test_a_model_that_memorised_is_told_from_one_that_did_not() -> None:
    readings = sample_membership(evidence(subject("original", memorised=6.0)))
    assert [r.metric for r in readings] == NAMES
    for name in NAMES:
        value = one(readings, name).value
        assert value is not None
        assert value > (0.9 if "auc" in name else 0.2)
    for seed in (10, 20, 30):
        for reading in sample_membership(evidence(subject("retrained", 2, seed=seed))):
            assert (reading.model, reading.replicate, reading.part) == ("retrained", 2, None)
            assert (reading.unit, reading.target, reading.doubts) == ("fraction", "match_retrain", ())
            assert reading.interval is not None
            low, high = reading.interval
            assert low <= (0.5 if "auc" in reading.metric else 0.01) <= high
            assert reading.samples == 200


def test_the_direction_is_fixed_and_the_distance_two_sided() -> None:
    reading = one(sample_membership(evidence(subject(memorised=-6.0))), "membership_auc_loss")
    assert reading.value is not None
    assert reading.value < 0.1
    assert dict(reading.series or {}) == {"two_sided": pytest.approx(0.5 - reading.value)}


def test_the_readings_are_those_of_scikit_learn() -> None:
    given = subject(memorised=1.0)
    members, others = (given.outputs[part] for part in PARTS)
    truth = [1] * 200 + [0] * 200
    readings = sample_membership(evidence(given))
    for name, score in SCORES.items():
        scores = -torch.cat([score(o.logits, o.labels) for o in (members, others)])
        assert one(readings, f"membership_auc_{name}").value == pytest.approx(
            sklearn.metrics.roc_auc_score(truth, scores)
        )


def test_order_of_samples_and_of_models_plays_no_part() -> None:
    first, order = subject("original", memorised=1.0), torch.randperm(200, generator=torch.Generator().manual_seed(1))
    shuffled = replace(
        first,
        outputs={p: replace(o, logits=o.logits[order], labels=o.labels[order]) for p, o in first.outputs.items()},
    )
    twin = replace(first, name="retrained", replicate=1)
    for metric in (sample_membership, svc_membership):
        readings = metric(evidence(first))
        assert readings == metric(evidence(shuffled))
        assert readings == [replace(r, model="original", replicate=0) for r in metric(evidence(twin))]
        both = metric(evidence(twin, first))
        assert [r for r in both if r.model == "original"] == readings


@pytest.mark.parametrize("part", ALL)
def test_missing_and_broken_parts_are_unknown(part: Part) -> None:
    nan = torch.full((200, 4), math.nan)
    for broken, why in (
        (without(subject(), part), no_samples(part.value)),
        (changed(subject(), part, logits=nan), unknown("outputs_not_finite", {"part": part.value})),
    ):
        for metric, parts in ((sample_membership, PARTS), (svc_membership, [p for p in ALL if p != Part.FORGET_TEST])):
            for reading in metric(evidence(broken)):
                assert (reading.value is None) == (part in parts)
                assert (why in reading.doubts) == (part in parts)
                assert reading.value is not None or (reading.interval, reading.series) == (None, None)


def test_small_partial_and_degenerate_samples_are_doubted() -> None:
    few = subject()
    for part in PARTS:
        given = few.outputs[part]
        few = changed(few, part, logits=given.logits[:99], labels=given.labels[:99], sampled_from=120)
    for reading in sample_membership(evidence(few)):
        assert Doubt("small_sample", {"n": 99}) in reading.doubts
        assert Doubt("partial_part", {"part": "forget_train", "n": 99, "whole": 120}) in reading.doubts
        assert any(d.code == "few_non_members" for d in reading.doubts) == ("tpr" in reading.metric)
    flat = subject("unlearned")
    for part in PARTS:
        flat = changed(flat, part, logits=torch.tensor([[0.0, 1.0, -math.inf, 0.0]]).repeat(200, 1))
    readings = sample_membership(evidence(flat))
    assert one(readings, "membership_auc_loss").value == 0.5
    assert one(readings, "membership_tpr_loss").value == 0.0
    assert all(Doubt("equal_scores") in r.doubts for r in readings)


# ---- SVC ----------------------------------------------------------------------------------------------------------


def test_the_svc_calls_memorised_samples_members() -> None:
    shares = {}
    for name, forgotten in (("kept", 8.0), ("gone", 0.0)):
        given = subject(memorised=8.0)
        forget = outputs(2, (2,), skill=1.0 + forgotten)
        shares[name] = one(
            svc_membership(evidence(changed(given, Part.FORGET_TRAIN, logits=forget.logits))), "membership_svc"
        )
    kept, gone = shares["kept"], shares["gone"]
    assert kept.value is not None
    assert gone.value is not None
    assert kept.value > 0.9
    assert gone.value < 0.3
    assert kept.doubts == ()
    assert kept.series is not None
    assert kept.series["attack_accuracy"] > 0.8
    assert kept.interval == pytest.approx(wilson(round(kept.value * 200), 200))


def test_the_svc_is_that_of_scikit_learn_on_the_chosen_samples() -> None:
    given = subject(memorised=2.0)
    a, b = balanced(given.outputs[Part.RETAIN_TRAIN], given.outputs[Part.RETAIN_TEST], 1000)
    model = sklearn.svm.SVC(C=3, gamma="auto", kernel="rbf")
    model.fit(torch.cat([a, b])[:, None].numpy(), np.repeat([1, 0], [len(a), len(b)]))
    forget = given.outputs[Part.FORGET_TRAIN]
    p = forget.logits.double().softmax(dim=1)[:, 2]
    expected = model.predict(p[:, None].numpy()).mean()
    assert one(svc_membership(evidence(given)), "membership_svc").value == pytest.approx(expected)


def test_a_model_without_a_trace_gives_a_weak_attack() -> None:
    (reading,) = svc_membership(evidence(subject(seed=3)))
    assert reading.series is not None
    assert 0.5 <= reading.series["attack_accuracy"] < 0.62
    flat = subject()
    for part in ALL:
        flat = changed(flat, part, logits=torch.zeros(200, 4))
    (reading,) = svc_membership(evidence(flat))
    assert reading.value is None
    assert is_unknown(reading.doubts)


@pytest.mark.parametrize("most", [1000, 60, 2])
def test_the_sides_of_the_svc_are_balanced_by_class(most: int) -> None:
    train, test = outputs(0, (0, 0, 0, 1, 3), n=300), outputs(1, (0, 1, 1), n=100)
    a, b = balanced(train, test, most)
    assert len(a) == len(b) <= most
    counts = [min(int((o.labels == k).sum()) for o in (train, test)) for k in (0, 1)]
    assert len(a) == sum(min(count, most // 2) for count in counts)
    everything = confidence(train.logits, train.labels)
    assert torch.isin(a, everything).all()


def test_nothing_to_balance() -> None:
    a, b = balanced(outputs(0, (0,)), outputs(0, (1,)), 1000)
    assert len(a) == len(b) == 0
    given = changed(subject(), Part.RETAIN_TEST, labels=torch.full((200,), 2))
    (reading,) = svc_membership(evidence(given))
    assert reading.value is None
    assert is_unknown(reading.doubts)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 200), share=st.floats(0.001, 1))
def test_evenly_takes_distinct_positions_from_all_over(n: int, share: float) -> None:
    count = max(1, int(n * share))
    positions = evenly(n, count).tolist()
    assert len(set(positions)) == count
    assert all(0 <= p < n for p in positions)
    assert np.mean(positions) == pytest.approx((n - 1) / 2, abs=1)
