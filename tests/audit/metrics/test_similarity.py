"""CKA against the formula of the unbiased HSIC, and the information that features give of what is forgotten."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, is_unknown, no_samples, unknown
from unlearnkit.audit.evidence import HEAD, Evidence, Outputs, Subject
from unlearnkit.audit.metrics import similarity
from unlearnkit.audit.metrics.representation import halves
from unlearnkit.audit.metrics.similarity import (
    cka,
    cka_original,
    cka_retrained,
    information_difference,
    linear_information,
)
from unlearnkit.audit.reading import Reading
from unlearnkit.request import ResolvedRequest
from unlearnkit.split import Part

REQUEST = ResolvedRequest(forget=(2,), already_forgotten=(), classes=("ant", "bee", "cat", "dog"))
PARTS = (Part.FORGET_TEST, Part.RETAIN_TEST)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hsic(first: np.ndarray, second: np.ndarray) -> float:
    """Song et al. 2012, equation 5, by matrices."""
    n = len(first)
    k, l = (each @ each.T * (1 - np.eye(n)) for each in (first, second))  # noqa: E741
    one = np.ones(n)
    traces = np.trace(k @ l) + one @ k @ one * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ l @ one
    return traces / (n * (n - 3))


def subject(name: str = "unlearned", replicate: int = 0, **layers: dict[Part, Tensor]) -> Subject:
    parts = {}
    for part, seed in zip(PARTS, (0, 1), strict=True):
        features = {layer: values[part] for layer, values in layers.items()}
        n = len(next(iter(features.values())))
        labels = torch.full((n,), 2) if part.forgotten else torch.tensor([0, 1, 3])[torch.arange(n) % 3]
        parts[part] = Outputs(logits=normal(seed, n, 4), labels=labels, sampled_from=n, features=features)
    empty: dict[str, Any] = {"distances": None, "relearning": None, "relearn_failure": None, "cost": None}
    return Subject(name=name, replicate=replicate, outputs=parts, **empty)  # type: ignore[arg-type]


def seen(seed: int, *, apart: float = 0.0, n: int = 150, mixed: float = 0.0) -> dict[Part, Tensor]:
    """Features that are `mixed` from a shared part and one of the seed's own; the forgotten class lies `apart`."""
    values = {p: mixed * normal(i, n, 8) + (1 - mixed) * normal(10 + seed + 100 * i, n, 8) for i, p in enumerate(PARTS)}
    values[Part.FORGET_TEST][:, 0] += apart
    return values


def evidence(*subjects: Subject) -> Evidence:
    return Evidence(request=REQUEST, subjects=subjects)


def one(readings: list[Reading], **wanted: Any) -> Reading:
    found = [r for r in readings if all(getattr(r, key) == each for key, each in wanted.items())]
    assert len(found) == 1, found
    return found[0]


# ---- CKA ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "first", "second"), [(30, 5, 9), (12, 40, 3), (4, 2, 2), (80, 20, 20)])
def test_cka_agrees_with_the_formula_of_hsic(n: int, first: int, second: int) -> None:
    x = normal(1, n, first) + 5
    y = normal(2, n, second) + x[:, :1]
    a, b = x.double().numpy(), y.double().numpy()
    assert cka(x, y) == pytest.approx(hsic(a, b) / math.sqrt(hsic(a, a) * hsic(b, b)), abs=1e-9)


def test_cka_knows_no_rotation_scale_shift_or_order() -> None:
    x = normal(3, 60, 10)
    y = x + normal(4, 60, 10)
    plain = cka(x, y)
    rotation = torch.linalg.qr(normal(5, 10, 10)).Q
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    for left, right in ((x @ rotation, y), (x, 7 * y), (x - 30, y + 4), (x[order], y[order]), (y, x)):
        assert cka(left, right) == pytest.approx(plain, abs=1e-5)
    assert cka(x[order], y) != pytest.approx(plain, abs=0.05)
    assert plain is not None
    assert 0.1 < plain < 0.9


def test_cka_is_1_for_the_same_and_about_0_for_independent_features() -> None:
    x = normal(6, 50, 20)
    assert cka(x, x) == pytest.approx(1)
    assert cka(x, -2 * x[:, torch.randperm(20)] + 1) == pytest.approx(1)
    values = [cka(normal(10 + i, 50, 200), normal(90 + i, 50, 200)) for i in range(20)]
    assert abs(np.mean(values)) < 0.02  # the plain estimate is at 0.8
    a, b = (normal(seed, 50, 200).double() for seed in (10, 90))
    a, b = a - a.mean(0), b - b.mean(0)
    assert (a.T @ b).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm()) > 0.7


@pytest.mark.parametrize(
    "x", [torch.ones(20, 3) * 0.1, torch.zeros(20, 3), normal(0, 3, 5), normal(0, 20, 3) * torch.nan]
)
def test_cka_of_constant_broken_or_few_features_is_undefined(x: Tensor) -> None:
    assert cka(x, normal(1, len(x), 4)) is None


def test_similarity_to_the_original_by_layer_and_part() -> None:
    shown = evidence(
        subject("original", early=seen(0), **{HEAD: seen(1)}),
        subject("unlearned", early=seen(0), **{HEAD: seen(2)}),
        subject("retrained", early=seen(5), **{HEAD: seen(1)}),
    )
    readings = cka_original(shown)
    assert len(readings) == 4
    assert {r.model for r in readings} == {"unlearned", "retrained"}
    for part in PARTS:
        reading = one(readings, model="unlearned", part=part.value)
        assert (reading.metric, reading.unit, reading.target) == ("cka_original", "ratio", "match_retrain")
        assert reading.value == pytest.approx(cka(seen(2)[part], seen(1)[part]))
        assert dict(reading.series or {}) == pytest.approx({"early": 1.0, HEAD: reading.value})
        assert reading.doubts == ()
        assert one(readings, model="retrained", part=part.value).value == pytest.approx(1)


def test_similarity_to_the_retrained_leaves_one_out() -> None:
    shown = evidence(
        subject("original", **{HEAD: seen(0, mixed=0.5)}),
        subject("unlearned", **{HEAD: seen(1, mixed=0.5)}),
        *(subject("retrained", i, **{HEAD: seen(2 + i, mixed=0.5)}) for i in range(3)),
    )
    readings = cka_retrained(shown)
    part = Part.RETAIN_TEST
    expected = np.mean([cka(seen(1, mixed=0.5)[part], seen(2 + i, mixed=0.5)[part]) for i in range(3)])
    assert one(readings, model="unlearned", part=part.value).value == pytest.approx(expected)
    expected = np.mean([cka(seen(3, mixed=0.5)[part], seen(2 + i, mixed=0.5)[part]) for i in (0, 2)])
    assert one(readings, model="retrained", replicate=1, part=part.value).value == pytest.approx(expected)
    assert len(readings) == 10
    assert cka_retrained(evidence(*reversed(shown.subjects)))[-1] in readings
    turned = {(r.model, r.replicate, r.part): r for r in cka_retrained(evidence(*reversed(shown.subjects)))}
    assert turned == {(r.model, r.replicate, r.part): r for r in readings}


def test_similarity_does_not_depend_on_the_draw_of_a_large_part(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = evidence(
        subject("original", **{HEAD: seen(0, mixed=0.5, n=800)}), subject(**{HEAD: seen(1, mixed=0.5, n=800)})
    )
    whole = [r.value for r in cka_original(shown)]
    monkeypatch.setattr(similarity, "MOST_SAMPLES", 400)
    assert [r.value for r in cka_original(shown)] == pytest.approx(whole, abs=0.06)


def test_missing_models_parts_and_features_are_said() -> None:
    lonely = evidence(subject(**{HEAD: seen(0)}))
    for metric, model in ((cka_original, "original"), (cka_retrained, "retrained")):
        for reading in metric(lonely):
            assert reading.value is None
            assert reading.doubts == (unknown(f"needs_{model}_features"),)  # type: ignore[arg-type]
    bare = subject("original", **{HEAD: seen(0)})
    without = replace(bare, outputs={part: replace(each, features={}) for part, each in bare.outputs.items()})
    half = replace(bare, name="unlearned", outputs={Part.RETAIN_TEST: bare.outputs[Part.RETAIN_TEST]})
    for shown in (
        evidence(without, half),
        evidence(replace(without, name="retrained"), replace(without, name="unlearned")),
    ):
        for metric in (cka_original, cka_retrained, information_difference):
            readings = metric(shown)
            assert readings
            assert all(r.value is None and is_unknown(r.doubts) for r in readings)
    (reading,) = [r for r in cka_original(evidence(bare, half)) if r.part == "forget_test"]
    assert reading.doubts == (no_samples("forget_test"),)


def test_one_retrained_model_small_and_collapsed_features_are_doubted() -> None:
    few, flat = seen(0, n=60), {part: torch.ones(60, 8) for part in PARTS}
    shown = evidence(
        subject("original", early=few, **{HEAD: few}),
        subject("unlearned", early=few, **{HEAD: flat}),
        subject("retrained", early=few, **{HEAD: few}),
    )
    reading = one(cka_retrained(shown), model="original", part="forget_test")
    assert reading.doubts == (Doubt("small_sample", {"n": 60}), Doubt("one_retrained"))
    reading = one(cka_original(shown), model="unlearned", part="forget_test")
    assert reading.value is None
    assert dict(reading.series or {}) == pytest.approx({"early": 1.0})
    assert reading.doubts == (unknown("features_unusable"),)


# ---- information -------------------------------------------------------------------------------------------------


def test_information_by_scikit_learn() -> None:
    labels = torch.tensor([2] * 80 + [0, 1, 3] * 40)
    features = normal(1, 200, 5)
    features[:80, 0] += 2
    first, second = halves(labels, (2,))
    side, losses = (labels == 2).numpy(), np.zeros(200)
    for train, test in ((first, second), (second, first)):
        x = features.double().numpy()
        mean, spread = x[train].mean(0), x[train].std(0)
        probe = LogisticRegression(C=25 / len(train), class_weight="balanced", max_iter=1000, tol=1e-8)
        probe.fit((x[train] - mean) / spread, side[train])
        odds = probe.predict_proba((x[test] - mean) / spread)
        losses[test] = -np.log(odds[np.arange(len(test)), side[test].astype(int)])
    expected = math.log(2) - (losses[side].mean() + losses[~side].mean()) / 2
    assert linear_information(features, labels, (2,)) == pytest.approx(expected, abs=1e-6)
    assert 0.2 < expected < 0.6


def test_information_is_at_most_log_2_and_none_in_noise() -> None:
    labels = torch.tensor([2] * 150 + [0, 1, 3] * 50)
    noise = normal(3, 300, 5)
    assert linear_information(noise, labels, (2,)) < 0.02
    assert linear_information(torch.ones(300, 2), labels, (2,)) == pytest.approx(0, abs=1e-6)
    told = [linear_information(noise + apart * (labels == 2)[:, None], labels, (2,)) for apart in (0.5, 2, 50)]
    assert 0.02 < told[0] < told[1] < told[2] <= math.log(2)
    # the truth, for features N(+-a, 1): log 2 less the mean of softplus(-2 a^2 - 2 a x) is never exceeded
    a, x = 1.0, normal(4, 100_000).double()
    truth = math.log(2) - float(torch.nn.functional.softplus(-2 * a * a - 2 * a * x).mean())
    signed = noise[:, :1] + a * torch.where(labels == 2, 1.0, -1.0)[:, None]
    assert truth - 0.1 < linear_information(signed, labels, (2,)) < truth + 0.04


def test_the_index_is_0_like_retrained_and_1_like_the_original() -> None:
    shown = evidence(
        subject("original", early=seen(0, apart=1), **{HEAD: seen(1, apart=4)}),
        subject("unlearned", early=seen(0, apart=1), **{HEAD: seen(1, apart=4)}),
        subject("retrained", 0, early=seen(2, apart=1), **{HEAD: seen(3, apart=1)}),
        subject("retrained", 1, early=seen(4, apart=1), **{HEAD: seen(5, apart=1)}),
    )
    readings = information_difference(shown)
    assert [r.metric for r in readings].count("linear_information") == 4
    told = {(r.model, r.replicate): dict(r.series or {}) for r in readings if r.metric == "linear_information"}
    reading = one(readings, metric="linear_information", model="original")
    assert (reading.value, reading.unit, reading.doubts) == (told["original", 0][HEAD], "nats", ())
    index = one(readings, metric="linear_idi", model="unlearned")
    assert index.value == pytest.approx(1)
    assert index.doubts == ()
    base = {name: (told["retrained", 0][name] + told["retrained", 1][name]) / 2 for name in ("early", HEAD)}
    assert dict(index.series or {}) == pytest.approx({n: told["unlearned", 0][n] - base[n] for n in base})
    left_out = one(readings, metric="linear_idi", model="retrained", replicate=0)
    difference = {n: told["retrained", 0][n] - told["retrained", 1][n] for n in base}
    whole = sum(told["original", 0][n] - told["retrained", 1][n] for n in base)
    assert left_out.value == pytest.approx(sum(difference.values()) / whole)
    assert abs(left_out.value) < 0.4
    assert left_out.doubts == (Doubt("one_retrained"),)
    turned = information_difference(evidence(*reversed(shown.subjects)))
    assert {(r.metric, r.model, r.replicate): r for r in turned} == {
        (r.metric, r.model, r.replicate): r for r in readings
    }


def test_without_a_difference_or_a_model_there_is_no_index() -> None:
    same = {HEAD: seen(1, apart=2)}
    shown = [subject("original", **same), subject(**same), subject("retrained", **same)]
    index = one(information_difference(evidence(*shown)), metric="linear_idi", model="unlearned")
    assert index.value is None
    assert index.doubts == (unknown("difference_too_small", {"nats": 0.0}),)
    for missing, code in ((0, "needs_original_features"), (2, "needs_retrained_features")):
        left = [each for i, each in enumerate(shown) if i != missing]
        index = one(information_difference(evidence(*left)), metric="linear_idi", model="unlearned")
        assert index.value is None
        assert index.doubts == (unknown(code),)  # type: ignore[arg-type]
    alone = one(information_difference(evidence(*shown)), metric="linear_idi", model="retrained")
    assert alone.doubts == (unknown("needs_retrained_features"),)
