"""Maps the classes of a data source onto the class list of a model: by name, or by label where there are no names."""

from __future__ import annotations

from collections.abc import Sequence

from unlearnkit.class_names import listed
from unlearnkit.errors import DataError

MOST_CLASSES = 100_000  # ImageNet's largest list has 21,841; tables by class and the head are made for all of them


def check_count(count: int, source: str) -> None:
    """Refuse more classes than a list may have, before anything is made for each of them.

    Args:
        count: of the classes; of labels without names, the largest one and one more.
        source: of the data, for the message.

    Raises:
        DataError: there are more than `MOST_CLASSES`.
    """
    if count > MOST_CLASSES:
        raise DataError(
            f"Expected at most {MOST_CLASSES:,} classes, but the labels of {source} stand for {count:,}; number the "
            "classes from 0 without gaps, or name the column or the list that holds class labels."
        )


def ids_by_name(wanted: Sequence[str], classes: Sequence[str], source: str) -> list[int]:
    """Return the id in the list `wanted` of each of the `classes` of a source.

    Raises:
        DataError: one of them is not in the list.
    """
    known = {name: k for k, name in enumerate(wanted)}
    unknown = [name for name in classes if name not in known]
    if unknown:
        missing = [name for name in wanted if name not in classes]
        raise DataError(
            f"Expected only classes that the model knows, but {source} also holds {listed(unknown)}: of its "
            f"{len(classes):,} classes the model's list of {len(wanted):,} lacks {len(unknown):,}, and the data lacks "
            f"{len(missing):,} of the list{f' ({listed(missing)})' if missing else ''}; give the data that the model "
            "was trained on, or its class list with --classes (and, of a table, the column with --label-column)."
        )
    return [known[name] for name in classes]


def ids_by_label(wanted: Sequence[str], labels: Sequence[int], source: str) -> tuple[int, list[int]]:
    """Return the label that the first class of a list has, and the id in the list of each of some nameless labels.

    Labels start from 0. Where 0 does not occur they start from 1 if the largest one would else lie outside the list, or
    if the list says so itself by being "1", "2", ...; a 0 may also be missing because its class has been deleted.

    Args:
        wanted: the list.
        labels: those that occur.
        source: of the data, for the message.

    Raises:
        DataError: a label lies outside the list.
    """
    from_one = 0 not in labels and (
        max(labels, default=0) == len(wanted) or list(wanted) == [str(k) for k in range(1, len(wanted) + 1)]
    )
    first = 1 if from_one else 0
    outside = [label for label in labels if not 0 <= label - first < len(wanted)]
    if outside:
        raise DataError(
            f"Expected labels from {first} to {first + len(wanted) - 1}, as the class list has {len(wanted):,} names, "
            f"but {source} has the label {outside[-1]}; give the class list of the model that these labels are for."
        )
    return first, [label - first for label in labels]


def names_of_labels(labels: Sequence[int], source: str) -> tuple[int, tuple[str, ...]]:
    """Return the first label and the names of classes that have none: their labels as text, from 0.

    Where the smallest label is 1 they start from 1.

    Args:
        labels: those that occur.
        source: of the data, for the message.

    Raises:
        DataError: there are too many.
    """
    first = 1 if min(labels) == 1 else 0
    check_count(1 + max(labels) - first, source)
    return first, tuple(str(k) for k in range(first, 1 + max(labels)))
