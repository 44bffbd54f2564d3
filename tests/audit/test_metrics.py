"""Every metric against an independent oracle, and what it says when it cannot know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from canonical import CLASSES, MODELS
from made_evidence import evidence, one, random_outputs, subject
from unlearnkit.audit import METRICS, audit
from unlearnkit.audit.doubts import Doubt, is_unknown
from unlearnkit.audit.evidence import Outputs, Relearning
from unlearnkit.audit.metrics.accuracy import accuracy, balanced_accuracy
from unlearnkit.audit.metrics.cost import cost
from unlearnkit.audit.metrics.outputs import entropy, prediction_distribution, prediction_shares, total_variation
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.audit.metrics.relearn import relearn_time
from unlearnkit.audit.metrics.weights import weight_distance
from unlearnkit.audit.observe.distances import layer_distances
from unlearnkit.audit.reading import SCHEMA, wilson
from unlearnkit.split import Part

PARTS = (Part.RETAIN_TRAIN, Part.FORGET_TRAIN, Part.RETAIN_TEST, Part.FORGET_TEST)


def predicting(*predictions: int, labels: tuple[int, ...] | None = None) -> Outputs:
    """Outputs with given predictions on class 2."""
    logits = torch.nn.functional.one_hot(torch.tensor(predictions), 4).float()
    known = torch.tensor(labels) if labels else torch.full((len(predictions),), 2)
    return Outputs(logits=logits, labels=known, sampled_from=len(predictions))


# ---- accuracy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [7, 150])
def test_accuracy_agrees_with_scikit_learn(seed: int, n: int) -> None:
    parts = {
        Part.RETAIN_TEST: random_outputs(seed, n),
        Part.FORGET_TEST: random_outputs(seed + 50, n, labels=(2,), skill=0.0),
    }
    shown = evidence(subject(outputs=parts))
    for part, outputs in parts.items():
        truth, guess = outputs.labels.numpy(), outputs.logits.numpy().argmax(axis=1)
        reading = one(accuracy(shown), "accuracy", part=part.value)
        assert reading.value == pytest.approx(sklearn.metrics.accuracy_score(truth, guess))
        present = sorted(set(truth.tolist()))
        recalls = sklearn.metrics.recall_score(truth, guess, labels=present, average=None, zero_division=0)
        assert reading.series is not None
        assert dict(reading.series) == pytest.approx({CLASSES[k]: r for k, r in zip(present, recalls, strict=True)})
        interval = scipy.stats.binomtest(int((truth == guess).sum()), n).proportion_ci(method="wilson")
        assert reading.interval == pytest.approx((interval.low, interval.high))
        balanced = one(balanced_accuracy(shown), "balanced_accuracy", part=part.value)
        assert balanced.value == pytest.approx(np.mean(recalls))


def test_balanced_accuracy_agrees_with_scikit_learn_on_a_long_tail() -> None:
    labels = torch.tensor([0] * 100 + [1] * 10 + [3] * 2)
    logits = torch.randn(112, 4, generator=torch.Generator().manual_seed(3))
    logits[:100, 0] += 4
    shown = evidence(subject(outputs={Part.RETAIN_TEST: Outputs(logits=logits, labels=labels, sampled_from=112)}))
    balanced = one(balanced_accuracy(shown), "balanced_accuracy", part="retain_test")
    plain = one(accuracy(shown), "accuracy", part="retain_test")
    oracle = sklearn.metrics.recall_score(
        labels.numpy(), logits.argmax(dim=1).numpy(), labels=[0, 1, 3], average="macro", zero_division=0
    )
    assert balanced.value == pytest.approx(oracle)
    assert plain.value is not None
    assert balanced.value < plain.value - 0.2
    assert balanced.series is None
    assert balanced.interval is None


def test_an_accuracy_of_all_and_of_nothing() -> None:
    for predictions, value in (((2,) * 120, 1.0), ((0,) * 120, 0.0)):
        reading = one(
            accuracy(evidence(subject(outputs={Part.FORGET_TEST: predicting(*predictions)}))),
            "accuracy",
            part="forget_test",
        )
        assert reading.value == value
        assert reading.interval is not None
        low, high = reading.interval
        assert low <= value <= high
        assert 0.02 < high - low < 0.05
        assert reading.doubts == ()


def test_accuracy_does_not_depend_on_the_order_of_the_samples() -> None:
    outputs = random_outputs(0)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    shuffled = replace(outputs, logits=outputs.logits[order], labels=outputs.labels[order])
    readings = [accuracy(evidence(subject(outputs={Part.RETAIN_TEST: o}))) for o in (outputs, shuffled)]
    assert readings[0] == readings[1]


def test_accuracy_only_depends_on_the_largest_logit() -> None:
    outputs = random_outputs(0)
    readings = [
        accuracy(evidence(subject(outputs={Part.RETAIN_TEST: replace(outputs, logits=logits)})))
        for logits in (outputs.logits, 3 * outputs.logits + 5, outputs.logits.softmax(dim=1))
    ]
    assert readings[0] == readings[1] == readings[2]


@pytest.mark.parametrize("part", PARTS)
def test_missing_parts_are_unknown(part: Part) -> None:
    outputs = {p: random_outputs(0, labels=(2,) if p.forgotten else (0, 1, 3)) for p in PARTS if p != part}
    shown = evidence(subject(outputs=outputs))
    for fn, metric in ((accuracy, "accuracy"), (balanced_accuracy, "balanced_accuracy")):
        reading = one(fn(shown), metric, part=part.value)
        assert reading.value is None
        assert reading.interval is None
        assert reading.series is None
        assert is_unknown(reading.doubts)
        known = one(fn(shown), metric, part=PARTS[PARTS.index(part) - 1].value)
        assert known.value is not None
        assert known.doubts == ()


@pytest.mark.parametrize("part", PARTS)
def test_the_target_is_the_retrained_model_on_forgotten_data(part: Part) -> None:
    for fn in (accuracy, balanced_accuracy):
        (reading,) = [r for r in fn(evidence(subject())) if r.part == part.value]
        assert reading.target == ("match_retrain" if part.forgotten else "higher")


@pytest.mark.parametrize(
    ("n", "sampled_from", "expected"),
    [
        (100, 100, []),
        (99, 99, [Doubt("small_sample", {"n": 99})]),
        (100, 101, [Doubt("partial", {"n": 100, "whole": 101})]),
        (5, 9, [Doubt("small_sample", {"n": 5}), Doubt("partial", {"n": 5, "whole": 9})]),
    ],
)
def test_small_and_partial_samples_are_doubted(n: int, sampled_from: int, expected: list[Doubt]) -> None:
    outputs = replace(random_outputs(0, n), sampled_from=sampled_from)
    shown = evidence(subject(outputs={Part.RETAIN_TEST: outputs}))
    for fn, metric in ((accuracy, "accuracy"), (balanced_accuracy, "balanced_accuracy")):
        assert one(fn(shown), metric, part="retain_test").doubts == tuple(expected)


# ---- Wilson's interval -------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(data=st.data(), n=st.integers(1, 3000))
def test_wilson_agrees_with_scipy(data: st.DataObject, n: int) -> None:
    successes = data.draw(st.one_of(st.just(0), st.just(n), st.integers(0, n)))
    oracle = scipy.stats.binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    low, high = wilson(successes, n)
    assert (low, high) == pytest.approx((oracle.low, oracle.high), abs=1e-12)
    assert 0 <= low <= successes / n <= high <= 1
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


# ---- prediction distribution -------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(counts=st.lists(st.integers(0, 40), min_size=2, max_size=12).filter(sum))
def test_entropy_and_shares_agree_with_scipy_and_numpy(counts: list[int]) -> None:
    predictions = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    shares = prediction_shares(predictions, len(counts))
    np.testing.assert_allclose(shares.numpy(), np.array(counts) / sum(counts), atol=1e-15)
    assert entropy(shares) == pytest.approx(scipy.stats.entropy(counts), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=9))
def test_total_variation_is_the_largest_difference_of_any_event(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array([p[i] for p in pairs], dtype=float) + (1 if not any(p[i] for p in pairs) else 0) for i in (0, 1))
    p, q = a / a.sum(), b / b.sum()
    events = (((np.arange(2 ** len(p))[:, None] >> np.arange(len(p))) & 1) @ (p - q)).max()
    mine = total_variation(torch.from_numpy(p), torch.from_numpy(q))
    assert mine == pytest.approx(events, abs=1e-12)
    assert mine == total_variation(torch.from_numpy(q), torch.from_numpy(p))
    assert 0 <= mine <= 1 + 1e-12


def test_total_variation_of_equal_and_disjoint() -> None:
    p, q = torch.tensor([0.25, 0.75, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    assert total_variation(p, p) == 0
    assert total_variation(p, q) == 1


def test_the_distribution_of_predictions_by_hand() -> None:
    shown = evidence(
        subject("original", outputs={Part.FORGET_TEST: predicting(2, 2, 2, 2)}),
        subject("unlearned", outputs={Part.FORGET_TEST: predicting(0, 0, 1, 3)}),
        subject("retrained", 0, outputs={Part.FORGET_TEST: predicting(0, 1, 1, 3)}),
        subject("retrained", 1, outputs={Part.FORGET_TEST: predicting(1, 1, 3, 3)}),
    )
    readings = prediction_distribution(shown)
    top = one(readings, "prediction_max_share", model="unlearned", part="forget_test")
    assert (top.value, dict(top.series or {})) == (0.5, {"ant": 0.5, "bee": 0.25, "cat": 0.0, "dog": 0.25})
    spread = one(readings, "prediction_entropy", model="unlearned", part="forget_test")
    assert spread.value == pytest.approx(1.5 * np.log(2))
    # the mean of the retrained is (1, 4, 0, 3) / 8
    expected = {"unlearned": 3 / 8, "original": 1.0}
    for name, value in expected.items():
        assert one(readings, "prediction_tv", model=name).value == pytest.approx(value)
        assert one(readings, "prediction_tv", model=name).doubts == ()
    for replicate in (0, 1):  # each against the other one
        tv = one(readings, "prediction_tv", model="retrained", replicate=replicate)
        assert tv.value == pytest.approx(0.25)
        assert tv.doubts == (Doubt("one_retrained"),)
    assert all(r.target == "match_retrain" for r in readings)


def test_without_a_retrained_model_there_is_no_distance_to_it() -> None:
    readings = prediction_distribution(evidence(subject(outputs={Part.FORGET_TEST: predicting(0, 1)})))
    assert not [r for r in readings if r.metric == "prediction_tv"]


def test_a_lone_retrained_model_is_not_held_against_itself() -> None:
    shown = evidence(
        subject(outputs={Part.FORGET_TEST: predicting(0, 1)}),
        subject("retrained", outputs={Part.FORGET_TEST: predicting(0, 1)}),
    )
    readings = [r for r in prediction_distribution(shown) if r.metric == "prediction_tv"]
    assert [(r.model, r.value, r.doubts) for r in readings] == [("unlearned", 0.0, (Doubt("one_retrained"),))]


@pytest.mark.parametrize(("top", "doubted"), [(96, True), (95, False), (100, True), (30, False)])
def test_a_degenerate_distribution_is_doubted(top: int, doubted: bool) -> None:
    rest = [1, 3] * 50
    outputs = predicting(*([0] * top + rest[: 100 - top]))
    readings = prediction_distribution(evidence(subject(outputs={Part.FORGET_TEST: outputs})))
    reading = one(readings, "prediction_max_share", part="forget_test")
    assert (Doubt("one_class_predicted") in reading.doubts) == doubted


def test_a_distribution_without_samples_is_unknown() -> None:
    readings = prediction_distribution(evidence(subject(outputs={Part.FORGET_TEST: predicting(0, 1)})))
    reading = one(readings, "prediction_max_share", part="forget_train")
    assert reading.value is None
    assert is_unknown(reading.doubts)


# ---- weight distance ---------------------------------------------------------------------------------------------


class TwoLayers(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.scale = nn.Parameter(torch.zeros(2))
        self.register_buffer("seen", torch.randn(5, generator=generator))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(generator=generator)


def test_weight_distance_agrees_with_numpy() -> None:
    a, b = TwoLayers(1), TwoLayers(2)

    def norm(*names: str) -> float:
        flat = [(b.get_parameter(n) - a.get_parameter(n)).detach().numpy().astype(np.float64).ravel() for n in names]
        return float(np.linalg.norm(np.concatenate(flat)))

    expected = {
        "scale": norm("scale"),
        "first": norm("first.weight", "first.bias"),
        "second": norm("second.weight", "second.bias"),
    }
    assert layer_distances(a, b) == pytest.approx(expected, rel=1e-6)
    assert layer_distances(b, a) == pytest.approx(expected, rel=1e-6)
    reading = one(weight_distance(evidence(subject(distances=layer_distances(a, b)))), "weight_distance")
    assert reading.value == pytest.approx(sum(expected.values()))
    assert dict(reading.series or {}) == pytest.approx(expected)


def test_identical_models_are_at_no_distance_whatever_their_buffers() -> None:
    model, twin = MODELS["cnn-grey"].model(), MODELS["cnn-grey"].model().requires_grad_(False)
    for name, buffer in twin.named_buffers():
        if "running" in name:
            buffer.add_(3)
    distances = layer_distances(model, twin)
    assert set(distances.values()) == {0.0}
    assert list(distances) == [f"features.{i}" for i in (0, 1, 3, 4, 6, 7)] + ["head"]


def test_distances_are_computed_in_float64() -> None:
    a, b = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        a.weight.fill_(1e-25)
        b.weight.fill_(3e-25)  # its square is no float32
    assert sum(layer_distances(a, b).values()) == pytest.approx(2e-25)


def test_the_original_has_no_distance_to_itself() -> None:
    shown = evidence(subject("original", distances={"a": 0.0}), subject("retrained", distances={"a": 2.0, "b": 1.5}))
    (reading,) = weight_distance(shown)
    assert (reading.model, reading.value, reading.unit) == ("retrained", 3.5, "L2")


# ---- relearning and cost -----------------------------------------------------------------------------------------


def relearning(**changes: Any) -> Relearning:
    values: dict[str, Any] = {
        "forget_accuracy": {1: 0.1, 2: 0.9},
        "retain_accuracy": {1: 0.5, 2: 0.95},
        "goal_forget": 0.85,
        "goal_retain": 0.9,
    }
    return Relearning(**{**values, **changes})


def test_relearn_steps_are_read_off() -> None:
    reading = one(relearn_time(evidence(subject(relearning=relearning()))), "relearn_steps")
    # of the larger, 0.75 is missing at step 1, and 0.05 is to spare at step 2
    assert reading.value == pytest.approx(2 ** (0.75 / 0.8))
    assert (reading.interval, reading.unit) == ((1.0, 2.0), "steps")
    assert dict(reading.series or {}) == {"1": 0.1, "2": 0.9}
    assert (reading.target, reading.doubts) == ("match_retrain", ())


def test_a_censored_relearning_has_a_doubt_and_no_interval() -> None:
    curves = {"forget_accuracy": {1: 0.1, 128: 0.7}, "retain_accuracy": {1: 1.0, 128: 1.0}}
    shown = evidence(subject(relearning=relearning(**curves)))
    reading = one(relearn_time(shown), "relearn_steps")
    assert reading.value == 128
    assert reading.interval is None
    assert reading.doubts[0].code == "censored"


def test_relearning_that_could_not_run_is_unknown() -> None:
    reading = one(relearn_time(evidence(subject())), "relearn_steps")
    assert reading.value is None
    assert reading.series is None
    assert is_unknown(reading.doubts)


def spent(seconds: float, forward: int, backward: int) -> Mapping[str, Any]:
    return {"seconds": seconds, "samples_forward": forward, "samples_backward": backward, "peak_memory_bytes": 1}


def test_cost_ratio_by_hand() -> None:
    shown = evidence(
        subject("original", cost=spent(90, 9, 9)),
        subject("unlearned", cost=spent(2, 50, 20)),
        subject("retrained", 0, cost=spent(30, 1000, 900)),
        subject("retrained", 1, cost=spent(50, 2000, 1100)),
        subject("retrained", 2),
    )
    readings = cost(shown)
    ratio = one(readings, "cost_ratio")
    assert ratio.value == pytest.approx(40 / 2)
    assert dict(ratio.series or {}) == {
        "samples_forward": 1500 / 50,
        "samples_backward": 1000 / 20,
        "samples": 2500 / 70,
    }
    assert (ratio.model, ratio.unit, ratio.target) == ("unlearned", "ratio", "higher")
    seconds = {(r.model, r.replicate): r.value for r in readings if r.metric == "cost_seconds"}
    assert seconds == {("original", 0): 90, ("unlearned", 0): 2, ("retrained", 0): 30, ("retrained", 1): 50}


@pytest.mark.parametrize(
    ("own", "others", "ratio", "doubt"),
    [
        (50, (1000, 2000), 1500 / 50, "slowed_by_counting"),
        (0, (1000, 2000), 1500.0, "slowed_by_counting"),
        (50, (1000, None), None, "counted_on_one_side"),
        (50, (None, None), None, "counted_on_one_side"),
        (None, (1000, 2000), None, "counted_on_one_side"),
        (None, (None, None), None, None),
    ],
)
def test_operations_are_compared_where_all_were_counted_and_seconds_doubted_where_any_were(
    own: int | None, others: tuple[int | None, ...], ratio: float | None, doubt: str | None
) -> None:
    def counting(count: int | None) -> Mapping[str, Any]:
        return {**spent(2, 5, 5), **({} if count is None else {"operations": count})}

    retrained = [subject("retrained", i, cost=counting(count)) for i, count in enumerate(others)]
    readings = cost(evidence(subject("unlearned", cost=counting(own)), *retrained))
    found = one(readings, "cost_ratio")
    assert dict(found.series or {}).get("operations") == ratio
    assert [each.code for each in found.doubts] == ([doubt] if doubt else [])
    for r in readings:
        if r.metric == "cost_seconds":
            count = own if r.model == "unlearned" else others[r.replicate]
            assert [each.code for each in r.doubts] == ([] if count is None else ["slowed_by_counting"])


@pytest.mark.parametrize("missing", ["unlearned", "retrained"])
def test_without_both_costs_there_is_no_ratio(missing: str) -> None:
    shown = evidence(
        *(subject(name, cost=None if name == missing else spent(1, 1, 1)) for name in ("unlearned", "retrained"))
    )
    ratios = [r for r in cost(shown) if r.metric == "cost_ratio"]
    assert all(r.value is None and is_unknown(r.doubts) for r in ratios)


# ---- the audit ---------------------------------------------------------------------------------------------------


def full(seed: int, **changes: Any) -> dict[str, Any]:
    outputs = {p: random_outputs(seed + i, labels=(2,) if p.forgotten else (0, 1, 3)) for i, p in enumerate(PARTS)}
    values = {"outputs": outputs, "distances": {"a": 1.0}, "relearning": relearning(), "cost": spent(1, 2, 3)}
    return {**values, **changes}


# a retrained model is held against the others alone, so its value differs from an identical unlearned model's
ATTACKS = {f"membership_{kind}_{attack}" for kind in ("auc", "tpr") for attack in ("rmia", "lira")}
LEAVE_ONE_OUT = {"cka_retrained", "linear_idi", "margin_distance", *ATTACKS}


def test_identical_models_give_identical_readings_whatever_the_order() -> None:
    shown = evidence(
        subject("unlearned", **full(0)), subject("retrained", 0, **full(0)), subject("original", **full(1))
    )
    turned = evidence(*reversed(shown.subjects))
    for metric in METRICS.values():
        readings = metric.fn(shown)
        by_key = {(r.metric, r.model, r.replicate, r.part): r for r in readings}
        assert len(by_key) == len(readings)
        assert by_key == {(r.metric, r.model, r.replicate, r.part): r for r in metric.fn(turned)}
        for (name, model, _, part), reading in by_key.items():
            twin = by_key.get((name, "retrained", 0, part))
            if model == "unlearned" and twin is not None and name not in ("cost_ratio", *LEAVE_ONE_OUT):
                assert replace(reading, model="retrained") == replace(twin, doubts=reading.doubts)
    assert one(prediction_distribution(shown), "prediction_tv", model="unlearned", part="forget_test").value == 0


def test_the_audit_is_json_and_looks_up_values() -> None:
    result = audit(evidence(subject("original", **full(1)), subject("unlearned", **full(0))))
    content = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    keys = {"metric", "model", "part", "value", "unit", "interval", "target", "band", "verdict", "doubts"}
    assert all(keys <= set(reading) for reading in content["readings"])
    assert content["verdict"]["status"] == "unknown"
    assert content["schema"] == SCHEMA == 3
    assert content["votes"] == [vote.key for vote in PRIMARY]
    assert [why["code"] for why in content["verdict"]["why"]] == [
        "no_forgotten_data",
        "representation_unresolved",
        "outputs_and_membership_unresolved",
    ]
    few = {"code": "few_retrained", "values": {"needed": 3, "given": 0}}
    told = content["verdict"]["why"][2]["values"]["reasons"]
    assert {"code": "reading_unresolved", "values": {"reading": "class_membership_auc", "reason": few}} in told
    written = {(r["metric"], r["model"], r["part"]): r["value"] for r in content["readings"]}
    assert result.value("accuracy", "unlearned", "forget_test") == written["accuracy", "unlearned", "forget_test"]
    assert result.value("weight_distance", "unlearned") == 1.0
    with pytest.raises(KeyError):
        result.value("accuracy", "retrained", "forget_test")


def test_every_value_is_in_the_range_of_its_unit() -> None:
    subjects = [subject("retrained", i, **full(10 * i)) for i in range(3)]
    readings = audit(evidence(subject("original", **full(1)), subject("unlearned", **full(5)), *subjects)).readings
    assert {r.metric for r in readings} >= {"accuracy", "balanced_accuracy", "prediction_tv", "relearn_steps"}
    for reading in readings:
        assert reading.unit in ("fraction", "L2", "nats", "steps", "ratio", "seconds", "distance", "log-odds")
        if reading.value is None:
            # of which these subjects have none
            (doubt, *_) = reading.doubts
            reason = doubt.values["reason"]
            assert isinstance(reason, Doubt), reading
            assert reason.code in ("no_features", "no_untrained", "needs_forgotten_samples"), reading
            continue
        assert reading.value >= 0 or reading.unit == "log-odds"
        assert reading.unit != "fraction" or reading.value <= 1


def test_predictions_are_the_largest_logit() -> None:
    logits: Tensor = torch.tensor([[0.1, 0.9, -1.0], [3.0, 2.0, 1.0]])
    assert Outputs(logits=logits, labels=torch.tensor([0, 0]), sampled_from=2).predictions.tolist() == [1, 0]
