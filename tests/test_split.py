"""Splits: disjoint, complete, and blind to which classes are forgotten."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from unlearnkit import ForgetRequest, Part, Split, split_for
from unlearnkit.errors import ConfigError, DataError, RequestError
from unlearnkit.request import ResolvedRequest, Subclass
from unlearnkit.split import Side, split_resolved

SIDES: tuple[Side, ...] = ("train", "test")


@dataclass(frozen=True)
class Labels:
    """The least a split is made from."""

    classes: tuple[str, ...]
    train: tuple[int, ...]
    test: tuple[int, ...]

    def labels(self, side: Side) -> Tensor:
        return torch.tensor(self.train if side == "train" else self.test, dtype=torch.int64)


@dataclass(frozen=True)
class Case:
    data: Labels
    forget: tuple[int, ...]
    earlier: tuple[int, ...]

    @property
    def request(self) -> ForgetRequest:
        return ForgetRequest(classes=self.forget, already_forgotten=self.earlier)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Labels of up to six classes (some of them, or all, without samples), and a request that leaves a class."""
    count = draw(st.integers(2, 6))
    ids = st.integers(0, count - 1)
    data = Labels(
        tuple(f"c{k}" for k in range(count)),
        tuple(draw(st.lists(ids, max_size=60))),
        tuple(draw(st.lists(ids, max_size=20))),
    )
    fates = draw(st.lists(st.sampled_from(("stay", "forget", "earlier")), min_size=count, max_size=count))
    forget, earlier = (tuple(k for k in range(count) if fates[k] == fate) for fate in ("forget", "earlier"))
    assume(forget and "stay" in fates)
    return Case(data, forget, earlier)


def rows(split: Split, part: Part) -> set[int]:
    return set(split[part].tolist())


@given(cases(), st.sampled_from((0.0, 0.05, 0.3, 0.5)))
def test_parts_are_disjoint_and_complete(case: Case, fraction: float) -> None:
    split = split_for(case.request, case.data, val_fraction=fraction)
    for side in SIDES:
        pieces = [split[part].tolist() for part in Part if part.side == side] + [split.excluded[side].tolist()]
        together = [row for piece in pieces for row in piece]
        assert sorted(together) == list(range(len(case.data.labels(side))))


@given(cases())
def test_parts_hold_the_classes_they_are_named_for(case: Case) -> None:
    split = split_for(case.request, case.data)
    for part in Part:
        found = set(case.data.labels(part.side)[split[part]].tolist())
        allowed = set(case.forget) if part.forgotten else set(split.request.retained)
        assert found <= allowed


@given(cases())
def test_rows_forgotten_earlier_are_in_no_part(case: Case) -> None:
    split = split_for(case.request, case.data)
    for side in SIDES:
        labels = case.data.labels(side)
        gone = {row for row, label in enumerate(labels.tolist()) if label in case.earlier}
        assert set(split.excluded[side].tolist()) == gone
        assert not any(gone & rows(split, part) for part in Part if part.side == side)


@given(cases(), st.data())
def test_held_out_rows_do_not_depend_on_what_is_forgotten(case: Case, data: st.DataObject) -> None:
    assume(case.data.train)
    split = split_for(case.request, case.data)
    stay = split.request.retained
    other = data.draw(st.sampled_from([k for k in range(len(case.data.classes)) if k not in stay] or [stay[0]]))
    everything = split_resolved(ResolvedRequest(forget=(), already_forgotten=(), classes=case.data.classes), case.data)
    assume(set(case.data.train) - {other})
    second = split_for(ForgetRequest(classes=(other,)), case.data)
    labels = case.data.labels("train")
    for reference in (everything, second):
        for class_id in set(stay) & set(reference.request.retained):
            held_out = [
                {row for row in s[Part.RETAIN_VAL].tolist() if labels[row] == class_id} for s in (split, reference)
            ]
            assert held_out[0] == held_out[1]


@given(cases(), st.sampled_from((0.05, 0.2, 0.5)))
def test_every_retained_class_keeps_training_and_validation_rows(case: Case, fraction: float) -> None:
    split = split_for(case.request, case.data, val_fraction=fraction)
    labels = case.data.labels("train")
    for class_id in split.request.retained:
        total = case.data.train.count(class_id)
        held_out = int((labels[split[Part.RETAIN_VAL]] == class_id).sum())
        assert held_out == (0 if total < 2 else max(1, round(fraction * total)))
        assert total == 0 or held_out < total


def test_the_draw_depends_on_the_seed_alone() -> None:
    data = Labels(("a", "b"), (0,) * 200 + (1,) * 200, (0, 1))
    request = ForgetRequest(classes=("a",))
    first, again, other = (split_for(request, data, seed=seed) for seed in (0, 0, 1))
    torch.manual_seed(7)
    assert torch.equal(first[Part.RETAIN_VAL], again[Part.RETAIN_VAL])
    assert not torch.equal(first[Part.RETAIN_VAL], other[Part.RETAIN_VAL])
    assert len(first[Part.RETAIN_VAL]) == 10


def test_without_validation_fraction_nothing_is_held_out() -> None:
    data = Labels(("a", "b"), (0, 1) * 30, (0, 1))
    split = split_for(ForgetRequest(classes=("a",)), data, val_fraction=0)
    assert len(split[Part.RETAIN_VAL]) == 0
    assert len(split[Part.RETAIN_TRAIN]) == 30


def test_a_class_whose_data_is_gone_can_still_be_forgotten() -> None:
    split = split_for(ForgetRequest(classes=("gone",)), Labels(("a", "gone"), (0,) * 9, (0,)))
    assert len(split[Part.FORGET_TRAIN]) == len(split[Part.FORGET_TEST]) == 0
    assert len(split[Part.RETAIN_TRAIN]) + len(split[Part.RETAIN_VAL]) == 9


@pytest.mark.parametrize("fraction", [-0.01, 0.51, float("nan")])
def test_a_validation_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"0 to 0\.5"):
        split_for(ForgetRequest(classes=(0,)), Labels(("a", "b"), (0, 1), ()), val_fraction=fraction)


def test_retained_classes_whose_data_is_gone_have_empty_parts() -> None:
    split = split_for(ForgetRequest(classes=("a",)), Labels(("a", "b"), (0, 0), (1,)))
    assert [len(split[part]) for part in Part] == [0, 0, 2, 1, 0]
    with pytest.raises(DataError, match="retained classes, which the audit needs, but the data has none"):
        split.retained_row("the audit")


def test_a_retained_row_is_a_training_row_of_a_class_that_stays() -> None:
    data = Labels(("a", "b"), (0, 0, 1), (0,))
    assert split_for(ForgetRequest(classes=("a",)), data).retained_row("the audit") == 2


@pytest.mark.parametrize("labels", [(), (0, 0)], ids=["empty", "excluded"])
def test_training_on_nothing_is_refused(labels: tuple[int, ...]) -> None:
    request = ResolvedRequest(forget=(), already_forgotten=(0,), classes=("a", "b"))
    with pytest.raises(DataError, match="retained classes, but the data has none"):
        split_resolved(request, Labels(("a", "b"), labels, (1,)))


def test_a_request_is_checked_against_the_class_list() -> None:
    with pytest.raises(RequestError, match="0 to 1"):
        split_for(ForgetRequest(classes=(2,)), Labels(("a", "b"), (0, 1), ()))


@dataclass(frozen=True)
class RowCase:
    data: Labels
    request: ForgetRequest


@st.composite
def row_cases(draw: st.DrawFn) -> RowCase:
    """A request for rows, a subclass and perhaps a class, after another for rows; every class keeps its first row."""
    case = draw(cases())
    fates = dict.fromkeys(range(len(case.data.classes)), "stay")
    fates |= dict.fromkeys(case.forget, "forget") | dict.fromkeys(case.earlier, "earlier")
    free = [i for i, k in enumerate(case.data.train) if fates[k] == "stay"]
    kept = {case.data.train[i]: i for i in reversed(free)}.values()  # the first row of each class stays
    picked = [draw(st.sampled_from(("no", "row", "sub", "gone"))) if i not in kept else "no" for i in free]
    chosen = {fate: tuple(i for i, p in zip(free, picked, strict=True) if p == fate) for fate in ("row", "sub", "gone")}
    held = tuple(i for i, k in enumerate(case.data.test) if fates[k] == "stay")[:2]
    classes = case.forget if draw(st.booleans()) or not (chosen["row"] or chosen["sub"]) else ()
    request = ForgetRequest(
        classes=classes,
        rows=chosen["row"],
        subclasses=(Subclass(name="a:b", train=chosen["sub"], test=held),) if chosen["sub"] else (),
        already_forgotten=case.earlier,
        already_forgotten_rows=chosen["gone"],
    )
    return RowCase(case.data, request)


@given(row_cases(), st.sampled_from((0.0, 0.3, 0.5)))
def test_rows_subclasses_and_classes_are_parted_completely(case: RowCase, fraction: float) -> None:
    split, request = split_for(case.request, case.data, val_fraction=fraction), case.request
    for side in SIDES:
        pieces = [split[part].tolist() for part in Part if part.side == side] + [split.excluded[side].tolist()]
        assert sorted(row for piece in pieces for row in piece) == list(range(len(case.data.labels(side))))
    single = {*request.rows, *(row for each in request.subclasses for row in each.train)}
    of_classes = {i for i, k in enumerate(case.data.train) if k in request.classes}
    assert rows(split, Part.FORGET_TRAIN) == single | of_classes
    assert set(request.already_forgotten_rows) <= set(split.excluded["train"].tolist())
    held_out = {row for each in request.subclasses for row in each.test}
    assert {i for i in rows(split, Part.FORGET_TEST) if case.data.test[i] not in request.classes} == held_out
    assert set(split.never_learned.tolist()) <= single


def test_rows_to_forget_do_not_move_the_validation_rows_of_others() -> None:
    data = Labels(("a", "b"), (0, 1) * 40, (0, 1))
    before = split_for(ForgetRequest(classes=("a",)), data, val_fraction=0.2)
    held_out = split_resolved(
        ResolvedRequest(forget=(), already_forgotten=(), classes=data.classes), data, val_fraction=0.2
    )
    asked = tuple(sorted(rows(held_out, Part.RETAIN_VAL)))[:3]
    learned = min(rows(held_out, Part.RETAIN_TRAIN))
    after = split_for(ForgetRequest(rows=(*asked, learned)), data, val_fraction=0.2)
    assert rows(after, Part.RETAIN_VAL) == rows(held_out, Part.RETAIN_VAL) - set(asked)
    assert tuple(after.never_learned.tolist()) == asked
    assert rows(before, Part.RETAIN_VAL) <= rows(held_out, Part.RETAIN_VAL)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (ForgetRequest(rows=(6,)), "0 to 5, but got 6"),
        (ForgetRequest(rows=(-1,)), "0 to 5, but got -1"),
        (ForgetRequest(rows=(0,), already_forgotten_rows=(9,)), "0 to 5, but got 9"),
        (ForgetRequest(rows=(0, 0)), "row 0 is named twice"),
        (ForgetRequest(rows=(0,), subclasses=(Subclass(name="a:x", train=(0, 1)),)), "row 0 is named twice"),
        (ForgetRequest(rows=(0,), already_forgotten_rows=(0,)), "row 0 is already forgotten"),
        (ForgetRequest(rows=(0,), already_forgotten=("a",)), "row 0 is of class 'a', which is already forgotten"),
        (ForgetRequest(rows=(0,), classes=("a",)), "row 0 is of class 'a', which the request forgets whole"),
        (ForgetRequest(rows=(0, 2, 4)), "all that is left of class 'a'; ask for the class: --forget a"),
        (ForgetRequest(rows=(0, 2), already_forgotten_rows=(4,)), "all that is left of class 'a'"),
        (ForgetRequest(subclasses=(Subclass(name="a:x", train=(0,), test=(7,)),)), "test data, 0 to 1, but got 7"),
    ],
)
def test_rows_that_cannot_be_forgotten_are_refused(request_: ForgetRequest, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        split_for(request_, Labels(("a", "b"), (0, 1) * 3, (0, 1)))
