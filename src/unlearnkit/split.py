"""Splits labels by a request into index arrays for every part, disjoint and complete."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

import torch
from torch import Tensor

from unlearnkit.errors import ConfigError, DataError, RequestError
from unlearnkit.request import ForgetRequest, ResolvedRequest

Side = Literal["train", "test"]


class Part(StrEnum):
    """A part of the data that a method or a metric may read."""

    RETAIN_TRAIN = "retain_train"
    RETAIN_VAL = "retain_val"
    FORGET_TRAIN = "forget_train"
    RETAIN_TEST = "retain_test"
    FORGET_TEST = "forget_test"

    @property
    def side(self) -> Side:
        """The stored set that the part's rows belong to."""
        return "test" if self.value.endswith("test") else "train"

    @property
    def forgotten(self) -> bool:
        """Whether the part holds what is to be forgotten."""
        return self.value.startswith("forget")


class Labelled(Protocol):
    """What a split is computed from: the class list and the labels of both stored sets."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The model's class list."""
        ...

    def labels(self, side: Side) -> Tensor:
        """Labels of one stored set, (N,) int64."""
        ...


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row indices of every part of the data.

    The five parts and `excluded` (rows that were forgotten earlier, handed out to nobody) are disjoint, and
    together they are all rows of both stored sets. A part is empty where its data is gone; `forget_test` also where
    single rows are forgotten, which have no held-out samples of their kind.

    Args:
        request: what is forgotten.
        rows: of every part.
        excluded: rows forgotten earlier, alone or with their class.
        never_learned: rows to forget one by one that every training here holds out for validation.
        held_out: training rows that are held out for validation as long as their class stays, whatever is forgotten.
    """

    request: ResolvedRequest
    rows: Mapping[Part, Tensor]
    excluded: Mapping[Side, Tensor]
    never_learned: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    held_out: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __getitem__(self, part: Part) -> Tensor:
        return self.rows[part]

    def retained_row(self, reader: str) -> int:
        """Return a retained training row; refuse data that has none.

        Args:
            reader: who needs it, for the message.

        Raises:
            DataError: there is none.
        """
        rows = self[Part.RETAIN_TRAIN]
        if not len(rows):
            raise DataError(
                f"Expected training samples of the retained classes, which {reader} needs, but the data has none; "
                "give data that still holds the classes to keep."
            )
        return int(rows[0])


def split_for(request: ForgetRequest, data: Labelled, *, val_fraction: float = 0.05, seed: int = 0) -> Split:
    """Split the data by a request.

    `retain_val` is carved out of the retained training rows, class by class, at least one row of each class that
    has two. The draw of a class depends on `seed` and on that class alone: the same rows are held out whatever
    is forgotten, so a model trained here has never seen the validation rows of any later request.

    Args:
        request: what to forget.
        data: class list and labels.
        val_fraction: share of every retained class held out, in [0, 0.5].
        seed: seed of the draw. It is no run seed: keep it the same for training and forgetting.

    Raises:
        RequestError: the request does not fit the class list, or its rows do not fit the data.
        ConfigError: `val_fraction` is out of range.
    """
    if not 0 <= val_fraction <= 0.5:
        raise ConfigError(f"Expected val_fraction from 0 to 0.5, but got {val_fraction}; 0.05 is the default.")
    resolved = request.resolve(data.classes)
    check_rows(resolved, data)
    return split_resolved(resolved, data, val_fraction=val_fraction, seed=seed)


def split_resolved(request: ResolvedRequest, data: Labelled, *, val_fraction: float = 0.05, seed: int = 0) -> Split:
    """Split by a checked request; `request.forget` may be empty (training without some classes).

    Parts without samples are empty: who needs them refuses. Only training has nothing else to turn to.

    Raises:
        DataError: nothing is to be forgotten and no retained training row is left.
    """
    forget = torch.tensor(request.forget, dtype=torch.int64)
    earlier = torch.tensor(request.already_forgotten, dtype=torch.int64)
    rows: dict[Part, Tensor] = {}
    excluded: dict[Side, Tensor] = {}
    sides: tuple[Side, ...] = ("train", "test")
    single = {"train": request.train_rows, "test": request.test_rows}
    gone = {"train": request.already_forgotten_rows, "test": request.already_forgotten_test_rows}
    for side in sides:
        labels = data.labels(side)
        is_earlier = torch.isin(labels, earlier) | _marked(gone[side], len(labels))
        is_forget = (torch.isin(labels, forget) | _marked(single[side], len(labels))) & ~is_earlier
        excluded[side] = torch.nonzero(is_earlier).flatten()
        rows[Part(f"forget_{side}")] = torch.nonzero(is_forget).flatten()
        rows[Part(f"retain_{side}")] = torch.nonzero(~is_forget & ~is_earlier).flatten()
    if not request.kinds and not len(rows[Part.RETAIN_TRAIN]):
        raise DataError(
            "Expected training samples of the retained classes, but the data has none; "
            "give data that still holds the classes to keep."
        )
    labels = data.labels("train")
    held_out_always = _held_out(torch.arange(len(labels)), labels, val_fraction, seed)
    held_out = held_out_always & ~torch.isin(labels, torch.cat([forget, earlier]))  # of classes that stay
    retained = rows[Part.RETAIN_TRAIN]
    rows[Part.RETAIN_VAL] = retained[held_out[retained]]
    rows[Part.RETAIN_TRAIN] = retained[~held_out[retained]]
    learned = rows[Part.FORGET_TRAIN]
    return Split(
        request=request,
        rows=rows,
        excluded=excluded,
        never_learned=learned[held_out[learned]],
        held_out=torch.nonzero(held_out_always).flatten(),
    )


def check_rows(request: ResolvedRequest, data: Labelled) -> None:
    """Refuse rows that the data does not have, and rows that go with their class.

    Raises:
        RequestError: a row is out of range, its class is forgotten whole now or was earlier, or nothing of its class
            would be left.
    """
    sides = (
        ("train", (*request.train_rows, *request.already_forgotten_rows)),
        ("test", (*request.test_rows, *request.already_forgotten_test_rows)),
    )
    for side, single in sides:
        count = len(data.labels("train" if side == "train" else "test"))
        wrong = next((row for row in single if not 0 <= row < count), None)
        if wrong is not None:
            raise RequestError(
                f"Expected rows of the {'training' if side == 'train' else 'test'} data, 0 to {count - 1}, but got "
                f"{wrong}; rows are counted from 0."
            )
    labels = data.labels("train")
    asked = torch.tensor(request.train_rows, dtype=torch.int64)
    for row, class_id in zip(asked.tolist(), labels[asked].tolist(), strict=True):
        if class_id in request.forget:
            raise RequestError(
                f"Expected rows of classes that stay, but row {row} is of class {request.classes[class_id]!r}, which "
                "the request forgets whole; leave the row out."
            )
        if class_id in request.already_forgotten:
            raise RequestError(
                f"Expected rows that these weights know, but row {row} is of class {request.classes[class_id]!r}, "
                "which is already forgotten; leave it out of the request."
            )
    left = ~(_marked(request.train_rows, len(labels)) | _marked(request.already_forgotten_rows, len(labels)))
    for class_id in labels[asked].unique().tolist():
        if not bool(left[labels == class_id].any()):
            name = request.classes[class_id]
            raise RequestError(
                f"Expected rows that leave something of their class, but they are all that is left of class {name!r}; "
                f"ask for the class: --forget {shlex.quote(name)}."
            )


def _marked(rows: tuple[int, ...], count: int) -> Tensor:
    """Mark single rows among `count`, (count,) bool."""
    mark = torch.zeros(count, dtype=torch.bool)
    mark[torch.tensor(rows, dtype=torch.int64)] = True
    return mark


def _held_out(rows: Tensor, labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Mark the validation rows among `rows`, class by class."""
    mark = torch.zeros(len(rows), dtype=torch.bool)
    labels = labels[rows]
    for class_id in labels.unique().tolist():
        positions = torch.nonzero(labels == class_id).flatten()
        count = round(fraction * len(positions))
        if fraction > 0 and count == 0 and len(positions) > 1:
            count = 1
        generator = torch.Generator().manual_seed(seed * 1_000_003 + class_id)
        mark[positions[torch.randperm(len(positions), generator=generator)[:count]]] = True
    return mark
