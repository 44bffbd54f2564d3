"""Class membership: the nearest class, the discriminator, and what the attack says of models whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import sklearn.metrics
import sklearn.pipeline
import sklearn.preprocessing
import sklearn.svm
import torch
from torch import Tensor

from unlearnkit.audit.doubts import Doubt, is_unknown, no_samples, unknown
from unlearnkit.audit.evidence import Evidence, Outputs, Subject
from unlearnkit.audit.metrics.class_membership import (
    FLOOR,
    PARTS,
    class_membership,
    discriminate,
    log_probabilities,
    nearest_class,
)
from unlearnkit.audit.metrics.roc import auc_interval
from unlearnkit.audit.reading import ModelName, Reading, wilson
from unlearnkit.request import ResolvedRequest
from unlearnkit.split import Part

CLASSES = ("ant", "bee", "cat", "dog", "elk")
REQUEST = ResolvedRequest(forget=(2,), already_forgotten=(), classes=CLASSES)
METRICS = ["class_membership_auc", "class_membership_retained_auc", "class_membership_nn"]
RETAINED = (0, 1, 3, 4)


def part_of(centres: dict[int, Tensor], generator: torch.Generator, n: int) -> Outputs:
    """Samples of some classes: the class's mean logits and noise."""
    labels = torch.tensor(list(centres)).repeat_interleave(n)
    logits = torch.stack(list(centres.values())).repeat_interleave(n, dim=0)
    return Outputs(
        logits=logits + torch.randn(logits.shape, generator=generator), labels=labels, sampled_from=len(labels)
    )


def model(
    name: ModelName,
    replicate: int = 0,
    *,
    forgotten: tuple[float, ...],
    seed: int = 0,
    n: int = 120,
    mask: bool = False,
) -> Subject:
    """A model that gives cats, the forgotten class, the mean logits `forgotten`, and other classes 6 for their own."""
    generator = torch.Generator().manual_seed(seed)
    retained = {k: 6.0 * torch.eye(5)[k] for k in RETAINED}
    seen = {
        Part.RETAIN_TRAIN: part_of(retained, generator, n),
        Part.RETAIN_TEST: part_of(retained, generator, n),
        Part.FORGET_TEST: part_of({2: torch.tensor(forgotten)}, generator, n),
    }
    if mask:
        for outputs in seen.values():
            outputs.logits[:, 2] = -math.inf
    nothing = {"distances": None, "relearning": None, "relearn_failure": None, "cost": None}
    return Subject(name=name, replicate=replicate, outputs=seen, **nothing)  # type: ignore[arg-type]


LEARNED = (1.0, 1.0, 6.0, 2.0, 1.0)  # cat, a little like a dog
LIKE_A_DOG = (0.0, 0.0, 0.0, 6.0, 0.0)
RETRAINED = tuple(model("retrained", i, forgotten=LIKE_A_DOG, seed=10 + i) for i in range(3))


def evidence(*subjects: Subject, request: ResolvedRequest = REQUEST) -> Evidence:
    return Evidence(request=request, subjects=subjects)


def of(readings: list[Reading], name: ModelName) -> dict[str, Reading]:
    return {r.metric: r for r in readings if r.model == name and r.replicate == 0}


def test_the_nearest_class_has_the_largest_mean_probability() -> None:
    first = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]).log()
    second = torch.tensor([[0.125, 0.25, 0.625]]).log()
    assert nearest_class([first], [0, 1, 2]) == 0  # 3/8, 3/8, 1/4
    assert nearest_class([first, second], [0, 1, 2]) == 2  # 4/16, 5/16, 7/16
    assert nearest_class([first, second], [0, 1]) == 1
    assert nearest_class([second, first], [1, 0, 2]) == 2


def test_log_probabilities_are_of_the_chosen_classes_and_bounded() -> None:
    logits = torch.tensor([[1.0, 2.0, -math.inf, 5.0], [1e4, 0.0, 3.0, -1e4]])
    some = log_probabilities(logits, (0, 1, 3))
    torch.testing.assert_close(some[0], logits[0, [0, 1, 3]].double().log_softmax(dim=0))
    assert some[1].tolist() == [0.0, FLOOR, FLOOR]
    assert log_probabilities(logits, range(4))[0, 2] == FLOOR
    assert some.dtype == torch.float64


def test_the_discriminator_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = part_of({k: 2.0 * torch.eye(5)[k] for k in RETAINED}, generator, 50)
    x = log_probabilities(outputs.logits, RETAINED)
    labels = torch.tensor([RETAINED.index(k) for k in outputs.labels.tolist()])
    oracle = sklearn.pipeline.make_pipeline(
        sklearn.preprocessing.StandardScaler(),
        sklearn.svm.LinearSVC(C=1.0, dual=False, class_weight="balanced", max_iter=10_000),
    ).fit(x.numpy(), (labels == 2).numpy())
    mine, again = discriminate(x, labels, 2, [x, x[:7]])
    np.testing.assert_allclose(mine, oracle.decision_function(x.numpy()), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(mine[:7], again)
    order = torch.randperm(len(x), generator=generator)
    (shuffled,) = discriminate(x[order], labels[order], 2, [x])
    assert torch.equal(shuffled, mine)
    (few,) = discriminate(x, labels, 2, [x], most=30)
    assert float(((few > 0) == (labels == 2)).double().mean()) > 0.75


def test_a_constant_column_has_no_weight() -> None:
    generator = torch.Generator().manual_seed(1)
    outputs = part_of({k: 3.0 * torch.eye(5)[k] for k in RETAINED}, generator, 40)
    masked = outputs.logits.clone()
    masked[:, 2] = -math.inf
    everything, retained = log_probabilities(masked, range(5)), log_probabilities(masked, RETAINED)
    (a,) = discriminate(everything, outputs.labels, 3, [everything])
    (b,) = discriminate(retained, torch.tensor([RETAINED.index(k) for k in outputs.labels.tolist()]), 2, [retained])
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_a_model_that_knows_the_class_is_told_from_one_that_does_not() -> None:
    readings = class_membership(evidence(model("original", forgotten=LEARNED), *RETRAINED))
    assert [r.metric for r in readings] == METRICS * 4
    knows, fresh = of(readings, "original"), of(readings, "retrained")
    for metric, (least, most) in {METRICS[0]: (0.95, 1), METRICS[1]: (0.9, 1), METRICS[2]: (0, 0.2)}.items():
        value, reading = knows[metric].value, fresh[metric]
        assert value is not None
        assert least <= value <= most
        assert reading.interval is not None
        assert (reading.unit, reading.target, reading.part) == ("fraction", "match_retrain", None)
        assert reading.doubts == ()
    for metric in METRICS[:2]:  # a retrained model takes cats for dogs: nothing tells them apart
        low, high = fresh[metric].interval or (1, 0)
        assert low <= 0.5 <= high
        assert list(fresh[metric].series or {}) == ["cat / dog"]
    share = fresh[METRICS[2]].value
    assert share is not None
    assert share > 0.9
    assert fresh[METRICS[2]].interval == pytest.approx(wilson(round(share * 120), 120))


def test_a_mask_hides_the_class_but_not_among_the_retained_outputs() -> None:
    given = [model(name, forgotten=LEARNED, mask=name == "unlearned") for name in ("original", "unlearned")]  # type: ignore[arg-type]
    readings = class_membership(evidence(*given, *RETRAINED))
    original, masked = of(readings, "original"), of(readings, "unlearned")
    assert masked[METRICS[1]] == replace(original[METRICS[1]], model="unlearned")
    assert masked[METRICS[0]].value == pytest.approx(masked[METRICS[1]].value, abs=1e-3)
    assert masked[METRICS[0]].value != original[METRICS[0]].value


def test_the_auc_is_that_of_scikit_learn() -> None:
    given = model("unlearned", forgotten=(0.0, 0.0, 2.0, 5.0, 0.0))
    readings = of(class_membership(evidence(given, *RETRAINED)), "unlearned")
    x = {part: log_probabilities(o.logits, range(5)) for part, o in given.outputs.items()}
    own = x[Part.RETAIN_TEST][given.outputs[Part.RETAIN_TEST].labels == 3]
    a, b = discriminate(x[Part.RETAIN_TRAIN], given.outputs[Part.RETAIN_TRAIN].labels, 3, [own, x[Part.FORGET_TEST]])
    truth = [0] * len(a) + [1] * len(b)
    reading = readings[METRICS[0]]
    assert reading.value == pytest.approx(sklearn.metrics.roc_auc_score(truth, -torch.cat([a, b])))
    assert reading.interval == pytest.approx(auc_interval(-b, -a))
    assert readings[METRICS[2]].value == pytest.approx(float((b > 0).double().mean()))
    assert reading.samples == 120


def test_several_forgotten_classes_are_averaged() -> None:
    request = ResolvedRequest(forget=(2, 4), already_forgotten=(1,), classes=CLASSES)

    def pair(name: ModelName, seed: int) -> Subject:
        generator = torch.Generator().manual_seed(seed)
        retained = {k: 6.0 * torch.eye(5)[k] for k in (0, 3)}
        forgotten = {2: torch.tensor(LIKE_A_DOG), 4: torch.tensor((5.0, 0, 0, 0, 3.0))}
        seen = {part: part_of(forgotten if part.forgotten else retained, generator, 110) for part in PARTS}
        return replace(model(name, forgotten=LEARNED), outputs=seen)

    readings = of(class_membership(evidence(pair("unlearned", 1), pair("retrained", 2), request=request)), "unlearned")
    series = dict(readings[METRICS[0]].series or {})
    assert list(series) == ["cat / dog", "elk / ant"]
    assert readings[METRICS[0]].value == pytest.approx(sum(series.values()) / 2)
    assert readings[METRICS[2]].samples == 220


def test_order_of_samples_and_of_models_plays_no_part() -> None:
    first = model("original", forgotten=LEARNED)
    shuffled = {}
    for part, o in first.outputs.items():
        order = torch.randperm(len(o.labels), generator=torch.Generator().manual_seed(3))
        shuffled[part] = replace(o, logits=o.logits[order], labels=o.labels[order])
    readings = class_membership(evidence(first, *RETRAINED))
    turned = class_membership(evidence(*reversed(RETRAINED), replace(first, outputs=shuffled)))
    for metric in METRICS:
        one, other = of(readings, "original")[metric], of(turned, "original")[metric]
        assert one.value == pytest.approx(other.value, abs=1e-12)
        assert one.interval == pytest.approx(other.interval, abs=1e-12)
    twin = replace(first, name="unlearned")
    both = class_membership(evidence(first, twin, *RETRAINED))
    assert [replace(r, model="original") for r in both if r.model == "unlearned"] == both[:3]


@pytest.mark.parametrize("part", PARTS)
def test_missing_and_broken_parts_are_unknown(part: Part) -> None:
    given = model("unlearned", forgotten=LEARNED)
    bare = replace(given, outputs={p: o for p, o in given.outputs.items() if p != part})
    nan = replace(given.outputs[part], logits=given.outputs[part].logits * math.nan)
    for broken, why in (
        (bare, no_samples(part.value)),
        (replace(given, outputs={**given.outputs, part: nan}), unknown("outputs_not_finite", {"part": part.value})),
    ):
        for reading in class_membership(evidence(broken, *RETRAINED)):
            assert (reading.value is None) == (reading.model == "unlearned")
            assert reading.value is not None or reading.doubts == (why,)
        reference = replace(broken, name="retrained", replicate=3)
        for reading in class_membership(evidence(given, *RETRAINED, reference)):
            assert reading.value is None
            assert is_unknown(reading.doubts)


def test_without_references_the_original_chooses_and_without_it_nobody() -> None:
    given = [model(name, forgotten=LEARNED) for name in ("original", "unlearned")]  # type: ignore[arg-type]
    for reading in class_membership(evidence(*given)):
        assert reading.value is not None
        assert reading.doubts == (Doubt("neighbour_without_retrained"),)
    for reading in class_membership(evidence(given[1])):
        assert reading.value is None
        assert is_unknown(reading.doubts)


def test_one_retained_class_is_not_enough_and_few_samples_are_doubted() -> None:
    lonely = ResolvedRequest(forget=(2,), already_forgotten=(0, 1, 4), classes=CLASSES)

    def only_dogs(s: Subject) -> Subject:
        keep = {p: o.labels >= 2 if p.forgotten else o.labels == 3 for p, o in s.outputs.items()}
        return replace(
            s, outputs={p: replace(o, logits=o.logits[keep[p]], labels=o.labels[keep[p]]) for p, o in s.outputs.items()}
        )

    shown = evidence(*(only_dogs(s) for s in RETRAINED), request=lonely)
    assert all(r.value is None and r.doubts == (unknown("too_few_retained_classes"),) for r in class_membership(shown))
    small = model("retrained", forgotten=LIKE_A_DOG, n=99)
    assert all(Doubt("small_sample", {"n": 99}) in r.doubts for r in class_membership(evidence(small)))
