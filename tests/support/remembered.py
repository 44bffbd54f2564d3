"""Fits nothing twice: an audit of another network against the same models fits their classifiers from memory.

Both are functions of their arguments alone, so what is remembered is what would be computed. The fits are most of what
an audit of a small network costs, and four of its five models are those of the audit before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import pytest
from torch import Tensor

from unlearnkit.audit.metrics import class_membership, classifiers, similarity

Result = TypeVar("Result")
_KNOWN: dict[tuple[object, ...], Any] = {}


@contextmanager
def fits() -> Iterator[None]:
    """Remember for a while."""
    with pytest.MonkeyPatch.context() as patch:
        remember_fits(patch)
        yield


def remember_fits(patch: pytest.MonkeyPatch) -> None:
    """Remember the probes of features, those of an index of information too, and the SVMs of outputs."""
    for module, name in ((classifiers, "fitted"), (similarity, "fitted"), (class_membership, "discriminate")):
        patch.setattr(module, name, _remembering(getattr(module, name)))


def _remembering(function: Callable[..., Result]) -> Callable[..., Result]:
    @wraps(function)  # where it is asked for twice, both know the same
    def remembered(*args: object, **named: object) -> Result:
        key = (function.__qualname__, *map(_key, args), *((name, _key(value)) for name, value in named.items()))
        if key not in _KNOWN:
            _KNOWN[key] = function(*args, **named)
        found: Result = _KNOWN[key]
        return found

    return remembered


def _key(value: object) -> object:
    if isinstance(value, Tensor):
        content = value.detach().contiguous().numpy()
        return str(value.dtype), tuple(value.shape), hashlib.blake2b(content, digest_size=16).digest()
    return tuple(map(_key, value)) if isinstance(value, Iterable) and not isinstance(value, str) else value
