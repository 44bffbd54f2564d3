"""Turns columns of labels, of integers or of text, into class ids and class names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from unlearnkit.class_names import all_in_one_form, listed, numeric_order
from unlearnkit.data.class_lists import check_count, names_of_labels
from unlearnkit.data.sources.columns import is_text
from unlearnkit.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Class ids of every side, and what the classes are called.

    Args:
        ids: by side, (n,) int64.
        classes: the names.
        named: whether the source has them; else they are the labels as text.
        remarks: sentences on where the names come from.
    """

    ids: dict[str, Tensor]
    classes: tuple[str, ...]
    named: bool
    remarks: tuple[str, ...] = ()


def unlabelled(column: pa.ChunkedArray) -> bool:
    """Whether a column has no labels, as the test data of competitions: all of them are -1, or missing."""
    if column.null_count == len(column):
        return True
    return pa.types.is_integer(column.type) and bool(pc.all(pc.equal(column, -1)).as_py())


def read_labels(
    columns: Mapping[str, pa.ChunkedArray], names: tuple[str, ...] | None, titles: Mapping[str, str], *, listing: bool
) -> Labels:
    """Return the labels of every side.

    Integers are positions in `names`; without names the classes are called by their labels, which may start from 1.
    Text labels are the names themselves, sorted.

    Args:
        columns: by side.
        names: class names of integer labels, or None.
        titles: what messages call the sides.
        listing: whether the model's class list is known, so that nobody wonders about the order.

    Raises:
        DataError: labels are missing, negative, beyond the names, of different types, or too many.
    """
    for side, column in columns.items():
        if column.null_count or not len(column):
            what = "missing values" if len(column) else "no rows"
            raise DataError(
                f"Expected integer labels or text in every row of {titles[side]}, but got {what}; give data with a "
                "label in every row."
            )
    texts = {is_text(column.type) for column in columns.values()}
    if len(texts) > 1:
        raise DataError(
            f"Expected labels of one type in {' and '.join(titles.values())}, but some are text and some integers; "
            "write all alike."
        )
    if texts == {True}:
        return _of_text(columns, titles, listing=listing)
    ids = {side: torch.from_numpy(column.to_numpy().astype(np.int64)) for side, column in columns.items()}
    present = torch.cat(list(ids.values())).unique().tolist()
    named = names is not None
    first, classes = (0, names) if names is not None else names_of_labels(present, next(iter(titles.values())))
    for side, labels in ids.items():
        bad = labels[(labels < 0) | (labels >= first + len(classes))]
        if len(bad):
            raise DataError(
                f"Expected labels from 0 to {first + len(classes) - 1} in {titles[side]}, but got {int(bad[0])}; "
                "check the label column and the class names of the file."
            )
    remarks: tuple[str, ...] = ()
    if first == 1 and not listing:
        remarks = (
            f"The labels of {next(iter(titles.values()))} start from 1 and have no names: output "
            "0 of a model is taken for label 1.",
        )
    return Labels(
        ids={side: labels - first for side, labels in ids.items()}, classes=classes, named=named, remarks=remarks
    )


def _of_text(columns: Mapping[str, pa.ChunkedArray], titles: Mapping[str, str], *, listing: bool) -> Labels:
    codes: dict[str, Tensor] = {}
    words: dict[str, tuple[str, ...]] = {}
    for side, column in columns.items():
        encoded = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
        check_count(len(encoded.dictionary), titles[side])
        words[side] = all_in_one_form(encoded.dictionary.to_pylist())
        codes[side] = torch.from_numpy(encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64))
        if "" in words[side]:
            raise DataError(
                f"Expected a label in every row of {titles[side]}, but some are empty; give data with a label in every "
                "row."
            )
    classes = tuple(sorted({word for found in words.values() for word in found}))
    known = {word: k for k, word in enumerate(classes)}
    ids = {side: torch.tensor([known[word] for word in words[side]])[codes[side]] for side in columns}
    remarks = [
        f"The labels of {next(iter(titles.values()))} are text: its {len(classes):,} classes are in the order of their "
        f"names ({listed(classes)})."
    ]
    if numeric_order(classes) is not None:
        remarks.append(
            "They are numbers in the order of text; a model whose outputs are in the order of the numbers needs its "
            "class list (--classes)."
        )
    return Labels(ids=ids, classes=classes, named=True, remarks=() if listing else tuple(remarks))
