"""Requests: classes by name or id, and every request that must be refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnkit import ForgetRequest
from unlearnkit.errors import RequestError
from unlearnkit.request import resolve_class, resolve_classes

PLANES = ("airplane", "automobile", "bird", "cat")


@pytest.mark.parametrize(
    ("ref", "classes", "expected"),
    [
        ("bird", PLANES, 2),
        (2, PLANES, 2),
        ("2", PLANES, 2),
        ("0", PLANES, 0),
        ("3", ("3", "2", "1", "0"), 0),  # a name wins over an id written as text
        (3, ("3", "2", "1", "0"), 3),
        ("-1", ("zero", "-1"), 1),
        ("", ("", "full"), 0),
    ],
)
def test_a_class_is_found_by_name_or_id(ref: str | int, classes: tuple[str, ...], expected: int) -> None:
    assert resolve_class(ref, classes) == expected


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("airplan", ["'airplan'", "'airplane'"]),
        ("CAT", ["'CAT'"]),
        ("zzzzzz", ["'airplane', 'automobile', 'bird', 'cat'"]),
        ("", ["''"]),
        (4, ["0 to 3", "got 4"]),
        ("4", ["0 to 3", "got 4"]),
        (-1, ["0 to 3", "got -1"]),
        ("-1", ["0 to 3", "got -1"]),
        ("--1", ["'--1'"]),
        ("1.0", ["'1.0'"]),
        ("²", ["'²'"]),
    ],
)
def test_an_unknown_class_is_refused_and_close_names_are_listed(ref: str | int, words: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        resolve_class(ref, PLANES)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_long_class_list_is_cut_in_the_message() -> None:
    with pytest.raises(RequestError, match="and 88 more") as caught:
        resolve_class("zzzzzz", [f"class {k}" for k in range(100)])
    assert "'class 99'" not in str(caught.value)


@given(st.text(max_size=8), st.lists(st.text(max_size=4), min_size=1, max_size=5, unique=True))
def test_any_text_is_a_class_or_a_named_error(text: str, classes: list[str]) -> None:
    try:
        class_id = resolve_class(text, classes)
    except RequestError:
        assert text not in classes
    else:
        assert classes[class_id] == text if text in classes else int(text) == class_id


def test_ids_come_sorted() -> None:
    assert resolve_classes(("cat", 0, "2"), PLANES) == (0, 2, 3)


@pytest.mark.parametrize("refs", [("cat", "cat"), (3, 3), ("cat", 3), ("3", "cat"), ("3", 3)])
def test_a_class_named_twice_is_refused(refs: tuple[str | int, ...]) -> None:
    with pytest.raises(RequestError, match=r"'cat' \(id 3\) is named twice"):
        resolve_classes(refs, PLANES)


def test_a_resolved_request_knows_what_stays() -> None:
    resolved = ForgetRequest(classes=("cat", 0), already_forgotten=("bird",)).resolve(PLANES)
    assert resolved.forget == (0, 3)
    assert resolved.forget_names == ("airplane", "cat")
    assert resolved.already_forgotten == (2,)
    assert resolved.retained == (1,)
    assert resolved.classes == PLANES


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (ForgetRequest(classes=()), "at least one class to forget"),
        (ForgetRequest(classes="cat"), r"write \('cat',\)"),  # type: ignore[arg-type]
        (ForgetRequest(classes=PLANES), "none of the 4 classes"),
        (ForgetRequest(classes=("cat", "bird"), already_forgotten=(0, 1)), "none of the 4 classes"),
        (ForgetRequest(classes=("cat",), already_forgotten=(3,)), "'cat' is already forgotten"),
        (ForgetRequest(classes=("cat",), already_forgotten=("dog",)), "'dog'"),
        (ForgetRequest(classes=("cat",), already_forgotten=("bird", 2)), "named twice"),
        (ForgetRequest(classes=("dog",)), "'dog'"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(request_: ForgetRequest, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        request_.resolve(PLANES)
