"""Data under a model's class list: by name, by label where there are no names, and what one side lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from unlearnkit.data.class_lists import ids_by_label, names_of_labels
from unlearnkit.data.images import ImageData, ImageSet
from unlearnkit.data.remarks import one_sided, remarks_on
from unlearnkit.errors import DataError


def data_of(
    classes: Sequence[str], train: Sequence[int], test: Sequence[int] | None = None, *, named: bool = True
) -> ImageData:
    sides = [
        ImageSet.from_tensor(torch.zeros(len(ids), 1, 2, 2, dtype=torch.uint8), torch.tensor(ids))
        for ids in (train, train if test is None else test)
    ]
    return ImageData(source="made", classes=tuple(classes), train=sides[0], test=sides[1], named=named)


def test_names_that_differ_in_form_alone_are_one_class() -> None:
    data = data_of(["cafe\u0301", "dog"], [0, 1])
    assert data.classes == ("caf\u00e9", "dog")
    assert data.with_classes(["dog", "cafe\u0301"]).labels("train").tolist() == [1, 0]
    with pytest.raises(DataError, match="'caf\u00e9' stands twice"):
        data_of(["cafe\u0301", "caf\u00e9"], [0, 1])
    with pytest.raises(DataError, match="list of distinct classes, but 'caf\u00e9' stands twice"):
        data.with_classes(["cafe\u0301", "caf\u00e9", "dog"])


def test_a_class_that_the_model_lacks_is_refused_with_counts() -> None:
    data = data_of(["ant", "bee", "cow"], [0, 1, 2])
    with pytest.raises(
        DataError,
        match=r"also holds 'bee', 'cow': of its 3 classes the model's list of 4 lacks 2, and the data lacks 3 of the "
        r"list \('dog', 'eel', 'fox'\); give the data .*--classes",
    ):
        data.with_classes(["ant", "dog", "eel", "fox"])


@pytest.mark.parametrize(
    ("wanted", "labels", "first"),
    [
        (["a", "b", "c"], [0, 1, 2], 0),
        (["a", "b", "c"], [0, 2], 0),
        (["a", "b", "c"], [1, 2, 3], 1),
        (["a", "b", "c"], [1, 2], 0),  # the first class has been deleted
        (["a", "b", "c"], [3], 1),
        (["1", "2", "3"], [1, 2], 1),  # a list that we made ourselves of labels from 1
        (["1", "2", "3"], [0, 1], 0),
        (["0", "1", "10", "2"], [0, 1, 2, 3], 0),  # positions, not names
    ],
)
def test_nameless_labels_are_positions_in_a_list(wanted: list[str], labels: list[int], first: int) -> None:
    assert ids_by_label(wanted, labels, "made") == (first, [label - first for label in labels])


@pytest.mark.parametrize(("labels", "words"), [([0, 3], "labels from 0 to 2.* has the label 3"), ([4], "the label 4")])
def test_labels_outside_of_the_list_are_refused(labels: list[int], words: str) -> None:
    with pytest.raises(DataError, match=words):
        ids_by_label(["a", "b", "c"], labels, "made")


def test_invented_names_are_no_names() -> None:
    data = data_of(["0", "1", "2"], [0, 2], named=False)
    given = data.with_classes(["cat", "dog", "owl", "pig"])
    assert given.classes == ("cat", "dog", "owl", "pig")
    assert given.labels("train").tolist() == [0, 2]
    assert given.remarks == (
        "The labels of made have no names: label 0 is taken for 'cat', the first of the 4 classes in the list, and so "
        "on.",
    )
    # a list that says the same needs no remark
    assert data.with_classes(["0", "1", "2", "3"]).remarks == ()
    with pytest.raises(DataError, match="also holds '0'"):
        replace(data, named=True).with_classes(["cat", "dog", "owl"])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 2], (0, ("0", "1", "2"))), ([1, 3], (1, ("1", "2", "3"))), ([2], (0, ("0", "1", "2")))],
)
def test_classes_without_names_are_called_by_their_labels(labels: list[int], expected: object) -> None:
    assert names_of_labels(labels, "made") == expected


def test_classes_on_one_side_only_are_said_with_counts() -> None:
    names = [f"class {k}" for k in range(1000)]
    data = replace(data_of(names, [0, 1, 2, 2], [0, 1, 3]), remarks=("The source says so.",))
    assert one_sided(data) == [
        "Of the 1,000 classes 996 have no image in made: 'class 4', 'class 5', 'class 6', 'class 7', 'class 8' and 991 "
        "more.",
        "Of the 1,000 classes 1 has training images and no test images in made: 'class 2'.",
        "Of the 1,000 classes 1 has test images and no training images in made: 'class 3'.",
    ]
    assert remarks_on(data)[0] == "The source says so."
    assert one_sided(data_of(["a", "b"], [0, 1])) == []
    assert not data.train.decoded.any()
