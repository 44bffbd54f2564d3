"""Recovery of the forgotten classes against scikit-learn, and what it says when it cannot know."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, because, size_doubts
from unlearnkit.audit.evidence import HEAD, Evidence, Outputs, Subject
from unlearnkit.audit.metrics import representation
from unlearnkit.audit.metrics.classifiers import (
    fitted,
    linear_probe,
    nearest_mean,
    nearest_neighbours,
    standard_probe,
    whitened,
)
from unlearnkit.audit.metrics.representation import class_recovery, halves, knn_recovery
from unlearnkit.audit.reading import Reading, wilson
from unlearnkit.request import ResolvedRequest
from unlearnkit.split import Part

CLASSES = ("ant", "bee", "cat", "dog")
REQUEST = ResolvedRequest(forget=(2,), already_forgotten=(), classes=CLASSES)


def probe_recovery(evidence: Evidence) -> list[Reading]:
    return [reading for reading in class_recovery(evidence) if reading.metric == "probe_recovery"]


def prototype_recovery(evidence: Evidence) -> list[Reading]:
    return [reading for reading in class_recovery(evidence) if reading.metric == "prototype_recovery"]


def depth_recovery(evidence: Evidence) -> list[Reading]:
    return [reading for reading in class_recovery(evidence) if reading.metric == "depth_recovery"]


RECOVERIES = {"probe_recovery": probe_recovery, "knn_recovery": knn_recovery, "prototype_recovery": prototype_recovery}


def clouds(seed: int, labels: Tensor, apart: float, width: int = 12) -> Tensor:
    """A cloud for each class, around a mean of norm `apart`; its features have different scales."""
    means = torch.randn(10, width, generator=torch.Generator().manual_seed(99))
    means = apart * means / means.norm(dim=1, keepdim=True)
    scales = torch.logspace(-1, 1, width)
    return (means[labels] + torch.randn(len(labels), width, generator=torch.Generator().manual_seed(seed))) * scales


def outputs(labels: Tensor, seed: int = 0, **layers: float) -> Outputs:
    features = {name: clouds(seed + i, labels, apart) for i, (name, apart) in enumerate(layers.items())}
    return Outputs(logits=torch.zeros(len(labels), 4), labels=labels, sampled_from=len(labels), features=features)


def subject(name: str = "unlearned", replicate: int = 0, each: int = 120, seed: int = 0, **layers: float) -> Subject:
    parts = {
        Part.FORGET_TEST: outputs(torch.full((each,), 2), seed, **layers),
        Part.RETAIN_TEST: outputs(torch.tensor([0, 1, 3]).repeat(each), seed + 50, **layers),
    }
    empty: dict[str, Any] = {"distances": None, "relearning": None, "relearn_failure": None, "cost": None}
    return Subject(name=name, replicate=replicate, outputs=parts, **empty)  # type: ignore[arg-type]


def evidence(*subjects: Subject) -> Evidence:
    return Evidence(request=REQUEST, subjects=subjects)


def shuffled(outputs: Outputs, seed: int) -> Outputs:
    order = torch.randperm(len(outputs.labels), generator=torch.Generator().manual_seed(seed))
    features = {name: values[order] for name, values in outputs.features.items()}
    return replace(outputs, labels=outputs.labels[order], logits=outputs.logits[order], features=features)


def value(readings: list[Reading]) -> float:
    (reading,) = readings
    assert reading.value is not None
    return reading.value


# ---- the classifiers ---------------------------------------------------------------------------------------------


def halved(seed: int, apart: float, counts: tuple[int, ...] = (60, 60, 60)) -> tuple[Tensor, Tensor, Tensor]:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return clouds(seed, labels, apart), labels, clouds(seed + 1, labels.flip(0), apart)


@pytest.mark.parametrize("apart", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("counts", [(60, 60, 60), (80, 15, 40), (50, 50)])
def test_the_probe_agrees_with_scikit_learn(apart: float, counts: tuple[int, ...]) -> None:
    seen, labels, unseen = halved(1, apart, counts)
    weights = (len(labels) / len(counts) / np.bincount(labels))[labels]
    scaler = make_pipeline(StandardScaler(), PCA(whiten=True)).fit(seen.double().numpy())
    oracle = LogisticRegression(C=25 / len(labels), solver="newton-cholesky", max_iter=500, tol=1e-10)
    oracle.fit(scaler.transform(seen.double().numpy()), labels.numpy(), sample_weight=weights)
    expected = oracle.predict(scaler.transform(unseen.double().numpy()))
    assert (linear_probe(seen, labels, unseen).numpy() == expected).mean() > 0.99


def test_the_probe_is_the_minimum_of_its_formula() -> None:
    seen, labels, _ = halved(2, 2.0, (30, 60, 20))
    z, _ = whitened(seen, seen)
    torch.testing.assert_close(z.T @ z / len(z), torch.eye(12, dtype=torch.float64))
    probe = fitted(z, labels)
    weight = torch.tensor(probe.coef_, requires_grad=True)
    bias = torch.tensor(probe.intercept_, requires_grad=True)
    losses = torch.nn.functional.cross_entropy(z @ weight.T + bias, labels, reduction="none")
    mean = torch.stack([losses[labels == k].mean() for k in range(3)]).mean()
    (mean + 0.02 * weight.square().sum()).backward()
    assert weight.grad.abs().max() < 1e-4
    assert bias.grad.abs().max() < 1e-4


def test_the_probe_does_not_depend_on_order_scale_shift_or_repetition() -> None:
    seen, labels, unseen = halved(3, 1.5)
    plain = linear_probe(seen, labels, unseen)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    for twin in (
        linear_probe(seen[order], labels[order], unseen),
        linear_probe(100 * seen + 3, labels, 100 * unseen + 3),
        linear_probe(seen.repeat(3, 1), labels.repeat(3), unseen),
        linear_probe(
            torch.cat([seen, torch.full((len(seen), 1), 0.1)], 1), labels, torch.cat([unseen, unseen[:, :1]], 1)
        ),
    ):
        assert (twin == plain).float().mean() > 0.99


@pytest.mark.parametrize("strength", [0.0, 3.0, 30.0])
def test_the_probe_sees_through_invertible_maps_of_the_features(strength: float) -> None:
    """Such as a common mode, strong enough to fill all features, which any head can take back."""
    seen, labels, unseen = halved(4, 1.5)
    generator = torch.Generator().manual_seed(1)
    mode, turn = torch.randn(12, generator=generator), torch.randn(12, 12, generator=generator)
    mix = turn @ (torch.eye(12) + strength * torch.outer(torch.ones(12), mode))
    hidden = linear_probe(seen @ mix.T, labels, unseen @ mix.T)
    assert (hidden == linear_probe(seen, labels, unseen)).float().mean() > 0.97


@pytest.mark.parametrize("apart", [0.5, 3.0])
@pytest.mark.parametrize("each", [60, 3])
def test_nearest_neighbours_agree_with_scikit_learn(apart: float, each: int) -> None:
    seen, labels, unseen = halved(4, apart, (each,) * 3)
    oracle = KNeighborsClassifier(
        n_neighbors=min(10, len(labels)), metric="cosine", weights=lambda distances: 1 + 1e-3 * (1 - distances)
    )
    expected = oracle.fit(seen.numpy(), labels.numpy()).predict(unseen.numpy())
    assert nearest_neighbours(seen, labels, unseen).tolist() == expected.tolist()


def test_between_equal_votes_the_nearer_neighbours_decide() -> None:
    angles = torch.tensor([0.5] * 5 + [0.1] * 5)
    seen, labels = torch.stack([angles.cos(), angles.sin()], dim=1), torch.tensor([0] * 5 + [1] * 5)
    assert nearest_neighbours(seen, labels, torch.tensor([[1.0, 0.0]])).tolist() == [1]
    assert nearest_neighbours(seen, 1 - labels, torch.tensor([[1.0, 0.0]])).tolist() == [0]


@pytest.mark.parametrize("apart", [0.5, 3.0])
def test_the_nearest_mean_agrees_with_scikit_learn(apart: float) -> None:
    seen, labels, unseen = halved(5, apart, (80, 15, 40))
    scaler = StandardScaler().fit(seen.numpy())
    oracle = NearestCentroid().fit(scaler.transform(seen.numpy()), 3 * labels.numpy())
    expected = oracle.predict(scaler.transform(unseen.numpy()))
    assert nearest_mean(seen, 3 * labels, unseen).tolist() == expected.tolist()


# ---- the halves --------------------------------------------------------------------------------------------------


def test_halves_have_the_same_share_of_every_class() -> None:
    labels = torch.tensor([0] * 1200 + [1] * 31 + [2] + [3] * 2)[torch.randperm(1234)]
    first, second = halves(labels, (3,))
    assert not set(first.tolist()) & set(second.tolist())
    assert torch.bincount(labels[first], minlength=4).tolist() == [250, 16, 0, 1]
    assert torch.bincount(labels[second], minlength=4).tolist() == [250, 15, 0, 1]
    assert all(torch.equal(a, b) for a, b in zip(halves(labels, (3,)), (first, second), strict=True))


def test_of_many_classes_some_take_part_the_forgotten_ones_among_them() -> None:
    labels = torch.arange(300).repeat(60)
    first, second = halves(labels, (7, 250))
    taken = labels[torch.cat([first, second])].unique().tolist()
    assert len(taken) == 100
    assert {7, 250} <= set(taken)
    assert len(first) == len(second) == 2500


def test_of_no_samples_there_are_no_halves() -> None:
    assert [len(half) for half in halves(torch.empty(0, dtype=torch.int64), (0,))] == [0, 0]


# ---- the readings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECOVERIES)
def test_a_separable_class_is_recovered_and_an_inseparable_one_at_chance(name: str) -> None:
    (reading,) = RECOVERIES[name](evidence(subject(each=200, early=0.0, middle=1.0, **{HEAD: 8.0})))
    assert (reading.metric, reading.part, reading.unit) == (name, "forget_test", "fraction")
    assert (reading.target, reading.doubts) == ("match_retrain", ())
    series = dict(reading.series or {})
    assert list(series) == ["early", "middle", HEAD]
    assert reading.value == series[HEAD]
    assert series[HEAD] > 0.97
    assert series["early"] < 0.25 + 0.1
    assert series["early"] < series["middle"] < series[HEAD] or name == "knn_recovery"
    assert reading.interval == pytest.approx(wilson(round(series[HEAD] * 200), 200))


def test_each_half_is_judged_by_the_other() -> None:
    shown = subject(each=60, **{HEAD: 1.0})
    forget, retain = (shown.outputs[part] for part in (Part.FORGET_TEST, Part.RETAIN_TEST))
    values = torch.cat([forget.features[HEAD], retain.features[HEAD]]).double().numpy()
    labels = torch.cat([forget.labels, retain.labels])
    first, second = (half.numpy() for half in halves(labels, (2,)))
    right = 0
    for train, test in ((first, second), (second, first)):
        scaler = make_pipeline(StandardScaler(), PCA(whiten=True)).fit(values[train])
        probe = LogisticRegression(C=25 / len(train), max_iter=1000, tol=1e-8)
        probe.fit(scaler.transform(values[train]), labels[train].numpy())
        forgotten = test[labels[test].numpy() == 2]
        right += int((probe.predict(scaler.transform(values[forgotten])) == 2).sum())
    assert value(probe_recovery(evidence(shown))) == pytest.approx(right / 60, abs=0.01)


@pytest.mark.parametrize("name", RECOVERIES)
def test_the_same_again_and_nearly_so_in_another_order(name: str) -> None:
    shown = subject(each=250, **{HEAD: 3.0})
    first = RECOVERIES[name](evidence(shown))
    assert first == RECOVERIES[name](evidence(shown))
    turned = replace(shown, outputs={part: shuffled(each, 5) for part, each in reversed(shown.outputs.items())})
    assert value(RECOVERIES[name](evidence(turned))) == pytest.approx(value(first), abs=0.05)


@pytest.mark.parametrize("name", RECOVERIES)
def test_one_reading_for_each_model(name: str) -> None:
    readings = RECOVERIES[name](
        evidence(subject("original", **{HEAD: 8.0}), subject(**{HEAD: 8.0}), subject("retrained", 1, **{HEAD: 0.1}))
    )
    assert [(r.model, r.replicate) for r in readings] == [("original", 0), ("unlearned", 0), ("retrained", 1)]
    assert readings[0].value == readings[1].value
    assert value(readings[2:]) < 0.5


# ---- where most is left ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_depth_is_the_largest_difference_in_log_odds_and_a_retrained_model_is_held_against_the_others() -> None:
    layers = {"early": 2.0, "late": 1.0, HEAD: 0.5}
    models = [
        subject("unlearned", seed=3, **layers),
        *(subject("retrained", i, seed=10 * i + 7, early=1.0, late=1.0, **{HEAD: 1.0}) for i in range(3)),
    ]
    readings = class_recovery(evidence(*models))

    def odds(metric: str, model: Subject, layer: str) -> float:
        (reading,) = [r for r in readings if (r.metric, r.model, r.replicate) == (metric, model.name, model.replicate)]
        right = round((reading.series or {})[layer] * 120)
        return math.log((right + 0.5) / (120 - right + 0.5))

    for i, model in enumerate(models):
        others = [other for j, other in enumerate(models) if other.name == "retrained" and j != i]
        excess = {
            (metric, layer): odds(metric, model, layer) - np.mean([odds(metric, other, layer) for other in others])
            for metric in ("probe_recovery", "prototype_recovery")
            for layer in layers
        }
        (found,) = [
            r for r in depth_recovery(evidence(*models)) if (r.model, r.replicate) == (model.name, model.replicate)
        ]
        assert found.value == pytest.approx(max(map(abs, excess.values())))
        for layer in layers:
            both = [value for (_, name), value in excess.items() if name == layer]
            assert (found.series or {})[layer] == pytest.approx(max(both, key=abs))
    deepest = depth_recovery(evidence(*models))[0].series or {}
    assert max(deepest, key=deepest.__getitem__) == "early"  # hidden from the head's input, and found


def test_without_a_retrained_model_to_hold_it_against_there_is_no_depth() -> None:
    assert depth_recovery(evidence(subject(**{HEAD: 1.0}))) == []
    (one,) = depth_recovery(evidence(subject(**{HEAD: 1.0}), subject("retrained", **{HEAD: 1.0})))
    assert (one.model, one.doubts[-1]) == ("unlearned", Doubt("one_retrained"))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0, 3.0])
def test_the_probe_finds_a_class_however_many_features_there_are_for_a_sample(share: float) -> None:
    """A network that is 98 % right read 44 % with all directions whitened, where these are as many as the samples."""
    each, classes = 50, 10
    width = round(share * each * classes)
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(classes, 8, generator=generator) * 2.0
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    labels = torch.arange(classes).repeat(each)

    def draw() -> Tensor:
        known = means[labels] + torch.randn(len(labels), 8, generator=generator)
        rest = 0.3 * torch.randn(len(labels), width - 8, generator=generator)
        return torch.cat([known, rest], dim=1) @ turn

    seen, unseen = draw(), draw()
    known = (torch.cdist(unseen @ turn.T[:, :8], means).argmin(dim=1) == labels).double().mean()
    assert known > 0.95  # what can be had
    found = max((probe(seen, labels, unseen) == labels).double().mean() for probe in (linear_probe, standard_probe))
    assert found > known - 0.05


def test_an_original_whose_probe_falls_below_its_own_accuracy_is_doubted() -> None:
    shown = subject("original", **{HEAD: 0.3})
    sure = changed_logits(shown, right=True)
    (reading,) = probe_recovery(evidence(sure))
    assert reading.value is not None
    assert Doubt("probe_below_accuracy", {"probe": reading.value, "accuracy": 1.0}) in reading.doubts
    for quiet in (changed_logits(shown, right=False), replace(sure, name="unlearned")):
        (reading,) = probe_recovery(evidence(quiet))
        assert "probe_below_accuracy" not in [doubt.code for doubt in reading.doubts]


def changed_logits(shown: Subject, *, right: bool) -> Subject:
    def logits(given: Outputs) -> Outputs:
        answers = given.labels if right else torch.zeros_like(given.labels)
        return replace(given, logits=torch.nn.functional.one_hot(answers, 4).float())

    return replace(shown, outputs={part: logits(given) for part, given in shown.outputs.items()})


def without(part: Part) -> Subject:
    shown = subject(**{HEAD: 2.0})
    return replace(shown, outputs={key: each for key, each in shown.outputs.items() if key != part})


def changed(part: Part, change: Callable[[Outputs], Outputs]) -> Subject:
    shown = subject(**{HEAD: 2.0})
    return replace(shown, outputs={**shown.outputs, part: change(shown.outputs[part])})


def first_rows(count: int) -> Callable[[Outputs], Outputs]:
    def change(given: Outputs) -> Outputs:
        features = {name: values[:count] for name, values in given.features.items()}
        return replace(given, labels=given.labels[:count], logits=given.logits[:count], features=features)

    return change


UNKNOWN = {
    Doubt("no_samples", {"part": "forget_test"}): without(Part.FORGET_TEST),
    Doubt("no_samples", {"part": "retain_test"}): without(Part.RETAIN_TEST),
    Doubt("no_samples_in_both", {"first": "forget_test", "second": "retain_test"}): replace(
        without(Part.RETAIN_TEST), outputs={}
    ),
    Doubt("no_features"): subject(),
    Doubt("too_few_held_out"): changed(Part.FORGET_TEST, first_rows(1)),
    Doubt("layer_not_finite", {"layer": HEAD}): changed(
        Part.RETAIN_TEST, lambda given: replace(given, features={HEAD: given.features[HEAD] * torch.nan})
    ),
}


@pytest.mark.parametrize("name", RECOVERIES)
@pytest.mark.parametrize("why", UNKNOWN, ids=lambda why: why.code)
def test_what_is_missing_is_said(name: str, why: Doubt) -> None:
    (reading,) = RECOVERIES[name](evidence(UNKNOWN[why]))
    assert reading.value is None
    assert reading.series is None
    assert reading.doubts == (because(why),)


@pytest.mark.parametrize("name", RECOVERIES)
def test_small_and_partial_samples_are_doubted(name: str) -> None:
    (reading,) = RECOVERIES[name](evidence(changed(Part.FORGET_TEST, first_rows(40))))
    assert reading.doubts == tuple(size_doubts(40, 120, 100))


def test_a_draw_of_classes_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(representation, "MOST_CLASSES", 3)
    (reading,) = probe_recovery(evidence(subject(**{HEAD: 2.0})))
    assert reading.doubts == (Doubt("few_classes", {"n": 3, "whole": 4}),)


def test_constant_features_recover_nothing_more_than_one_class() -> None:
    for part in (Part.FORGET_TEST, Part.RETAIN_TEST):
        shown = changed(part, lambda given: given)
    flat = {
        part: replace(each, features={HEAD: torch.ones(len(each.labels), 3)}) for part, each in shown.outputs.items()
    }
    for recovery in RECOVERIES.values():
        assert value(recovery(evidence(replace(shown, outputs=flat)))) in (0.0, 1.0)
