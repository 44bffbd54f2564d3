"""Defines the request: classes, subclasses and rows to forget, and what was forgotten earlier."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unlearnkit.class_names import all_in_one_form, in_one_form, listed
from unlearnkit.errors import RequestError

ClassRef = str | int
Kind = Literal["classes", "subclasses", "rows"]
CLASSES: frozenset[Kind] = frozenset({"classes"})
EVERY_KIND: frozenset[Kind] = frozenset({"classes", "subclasses", "rows"})


def resolve_class(ref: ClassRef, classes: Sequence[str]) -> int:
    """Return the id of a class given by name or id; a name wins over an id written as text.

    Names are compared in Unicode's normal form C.

    Raises:
        RequestError: no class has this name (the message lists close names) or the id is out of range.
    """
    if isinstance(ref, str):
        ref, classes = in_one_form(ref), all_in_one_form(classes)
        if ref in classes:
            return classes.index(ref)
        if not re.fullmatch(r"-?\d+", ref):
            close = difflib.get_close_matches(ref, classes, n=3, cutoff=0.4)
            known = f"did you mean {listed(close)}?" if close else f"the classes are {listed(classes, most=12)}."
            raise RequestError(
                f"Expected the name or id of a class, but got {ref!r}, which is unknown; {known} Where the data has "
                "lost the class, give the model's class list (--classes)."
            )
        ref = int(ref)
    if not 0 <= ref < len(classes):
        raise RequestError(
            f"Expected a class id from 0 to {len(classes) - 1}, but got {ref}; the model has {len(classes)} classes."
        )
    return ref


def resolve_classes(refs: Sequence[ClassRef], classes: Sequence[str]) -> tuple[int, ...]:
    """Return sorted, distinct class ids of `refs`.

    Raises:
        RequestError: a class is unknown or named twice (also once by name and once by id).
    """
    ids: list[int] = []
    for ref in refs:
        class_id = resolve_class(ref, classes)
        if class_id in ids:
            raise RequestError(
                f"Expected each class once, but class {classes[class_id]!r} (id {class_id}) is named twice; "
                "name it once."
            )
        ids.append(class_id)
    return tuple(sorted(ids))


@dataclass(frozen=True, kw_only=True)
class Subclass:
    """A part of a class that has no output of its own, such as the rockets among the vehicles.

    Args:
        name: `COARSE:FINE`, the class and the part of it.
        train, test: its rows in the two stored sets, counted from 0.
    """

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ResolvedRequest:
    """A request with sorted ids, checked against the model's class list.

    Args:
        forget, already_forgotten: ids of classes.
        classes: the model's class list.
        rows: training rows to forget one by one, ascending.
        subclasses: parts of classes to forget.
        already_forgotten_rows, already_forgotten_test_rows: rows of the two stored sets forgotten earlier, one by one
            or with a subclass.
    """

    forget: tuple[int, ...]
    already_forgotten: tuple[int, ...]
    classes: tuple[str, ...]
    rows: tuple[int, ...] = ()
    subclasses: tuple[Subclass, ...] = ()
    already_forgotten_rows: tuple[int, ...] = ()
    already_forgotten_test_rows: tuple[int, ...] = ()

    @property
    def kinds(self) -> frozenset[Kind]:
        """What the request consists of."""
        parts: dict[Kind, bool] = {
            "classes": bool(self.forget),
            "subclasses": bool(self.subclasses),
            "rows": bool(self.rows),
        }
        return frozenset(kind for kind, there in parts.items() if there)

    @property
    def train_rows(self) -> tuple[int, ...]:
        """Training rows to forget one by one or with a subclass, ascending; those of whole classes are not in it."""
        return tuple(sorted({*self.rows, *(row for each in self.subclasses for row in each.train)}))

    @property
    def test_rows(self) -> tuple[int, ...]:
        """Held-out rows of the subclasses to forget, ascending."""
        return tuple(sorted({row for each in self.subclasses for row in each.test}))

    @property
    def retained(self) -> tuple[int, ...]:
        """Ids of the classes that stay."""
        forgotten_ids = {*self.forget, *self.already_forgotten}
        return tuple(k for k in range(len(self.classes)) if k not in forgotten_ids)

    @property
    def forget_names(self) -> tuple[str, ...]:
        """Names of the classes to forget now."""
        return tuple(self.classes[k] for k in self.forget)


@dataclass(frozen=True, kw_only=True)
class ForgetRequest:
    """What to forget: classes, subclasses, single rows, or several of these; and what earlier requests removed.

    Args:
        classes: names or ids of the classes to forget now.
        rows: numbers of the training rows to forget now, counted from 0, in classes that stay.
        subclasses: parts of classes to forget now.
        already_forgotten: names or ids of classes forgotten earlier. Their data is left out of every part,
            so that a later request cannot bring them back.
        already_forgotten_rows, already_forgotten_test_rows: rows of the two stored sets that were forgotten earlier,
            which are left out alike.

    >>> ForgetRequest(classes=("dog",), rows=(9, 4)).resolve(["cat", "dog"]).rows
    (4, 9)
    """

    classes: tuple[ClassRef, ...] = ()
    rows: tuple[int, ...] = ()
    subclasses: tuple[Subclass, ...] = ()
    already_forgotten: tuple[ClassRef, ...] = ()
    already_forgotten_rows: tuple[int, ...] = ()
    already_forgotten_test_rows: tuple[int, ...] = ()

    def resolve(self, classes: Sequence[str]) -> ResolvedRequest:
        """Check the request against the model's class list; `split_for` checks its rows against the data.

        Raises:
            RequestError: nothing to forget, an unknown class, a class or a row named twice or already forgotten, or no
                class left.
        """
        if isinstance(self.classes, str):
            raise RequestError(
                f"Expected a tuple of classes, but got the text {self.classes!r}; write ({self.classes!r},)."
            )
        if not self.classes and not self.rows and not self.subclasses:
            raise RequestError(
                "Expected at least one class to forget, or rows, but got none; name one with --forget CLASS, or rows "
                "with --forget-rows FILE."
            )
        forget = resolve_classes(self.classes, classes)
        earlier = resolve_classes(self.already_forgotten, classes)
        for class_id in forget:
            if class_id in earlier:
                raise RequestError(
                    f"Expected classes that these weights know, but {classes[class_id]!r} is already forgotten (or was "
                    "left out of their training); leave it out of the request."
                )
        if len(forget) + len(earlier) >= len(classes):
            raise RequestError(
                f"Expected at least one class to stay, but the request leaves none of the {len(classes)} classes; "
                "a model with nothing to retain should simply be deleted."
            )
        gone = set(self.already_forgotten_rows)
        asked = [*self.rows, *(row for each in self.subclasses for row in each.train)]
        for row in sorted(asked):
            if row in gone:
                raise RequestError(
                    f"Expected rows that these weights know, but row {row} is already forgotten (or was left out of "
                    "their training); leave it out of the request."
                )
        twice = next((row for row, count in Counter(asked).items() if count > 1), None)
        if twice is not None:
            raise RequestError(f"Expected each row once, but row {twice} is named twice; name it once.")
        return ResolvedRequest(
            forget=forget,
            already_forgotten=earlier,
            classes=tuple(classes),
            rows=tuple(sorted(self.rows)),
            subclasses=self.subclasses,
            already_forgotten_rows=tuple(sorted(gone)),
            already_forgotten_test_rows=tuple(sorted({*self.already_forgotten_test_rows})),
        )
