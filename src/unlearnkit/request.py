"""Defines the request: classes to forget, by name or id, and the classes that were forgotten earlier."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from unlearnkit.class_names import all_in_one_form, in_one_form, listed
from unlearnkit.errors import RequestError

ClassRef = str | int


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
class ResolvedRequest:
    """A request with sorted ids, checked against the model's class list."""

    forget: tuple[int, ...]
    already_forgotten: tuple[int, ...]
    classes: tuple[str, ...]

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
    """Classes to forget, and classes that earlier requests removed.

    Args:
        classes: names or ids of the classes to forget now; at least one.
        already_forgotten: names or ids of classes forgotten earlier. Their data is left out of every part,
            so that a later request cannot bring them back.
    """

    classes: tuple[ClassRef, ...]
    already_forgotten: tuple[ClassRef, ...] = ()

    def resolve(self, classes: Sequence[str]) -> ResolvedRequest:
        """Check the request against the model's class list.

        Raises:
            RequestError: no class, an unknown class, one named twice, one already forgotten, or no class left.
        """
        if isinstance(self.classes, str):
            raise RequestError(
                f"Expected a tuple of classes, but got the text {self.classes!r}; write ({self.classes!r},)."
            )
        if not self.classes:
            raise RequestError("Expected at least one class to forget, but got none; name one with --forget CLASS.")
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
        return ResolvedRequest(forget=forget, already_forgotten=earlier, classes=tuple(classes))
