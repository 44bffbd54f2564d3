"""Refuses, before a run, a method that does not serve the request, or that reads a part without samples."""

from __future__ import annotations

from typing import get_args

from torch import Tensor

from unlearnkit.errors import DataError, RequestError
from unlearnkit.methods.method import ConfiguredMethod, Method
from unlearnkit.methods.registry import METHODS
from unlearnkit.request import CLASSES, Kind, ResolvedRequest
from unlearnkit.split import Part, Split

# classes with a single sample have none to hold out: what reads them must do without
OPTIONAL = frozenset({Part.RETAIN_VAL})


def check_kinds(method: Method, request: ResolvedRequest) -> None:
    """Refuse a method that is not made for what the request consists of.

    Raises:
        RequestError: it is not; the message names the registered methods that are.
    """
    served = kinds_of(method)
    missing = request.kinds - served
    if not missing:
        return
    name = getattr(type(method), "name", type(method).__name__)
    able = [known for known, kind in METHODS.items() if not kind.control and request.kinds <= kind.kinds]
    raise RequestError(
        f"Expected a method that can forget {_listed(missing)}, but {name} forgets {_listed(served)} alone; choose one "
        f"that can ({', '.join(able)})."
    )


def kinds_of(method: Method) -> frozenset[Kind]:
    """Return what a method may be asked to forget; an object that does not say so serves classes."""
    kinds: frozenset[Kind] = getattr(method, "kinds", CLASSES)
    return kinds


def _listed(kinds: frozenset[Kind]) -> str:
    return " and ".join(kind for kind in get_args(Kind) if kind in kinds)


def check_parts(method: Method, split: Split, *, tunable: bool = False) -> None:
    """Refuse a method that does not serve the request or declares an empty part; only `retain_val` may be empty.

    Args:
        method: with its needs.
        split: the parts.
        tunable: propose only methods that have something to tune.

    Raises:
        RequestError: see `check_kinds`.
        DataError: a part is empty; the message names it, and the registered methods that do without.
    """
    check_kinds(method, split.request)
    missing = _missing(method, split)
    if not missing:
        return
    name = getattr(type(method), "name", type(method).__name__)
    alternatives = {
        name: kind()
        for name, kind in METHODS.items()
        if not kind.control and (kind().space() or not tunable) and split.request.kinds <= kind.kinds
    }
    shown = any(len(split[part]) for part in Part)  # without a single image nobody knows their shape
    able = [known + how for known, other in alternatives.items() for how in _ways(other, split) if shown]
    instead = f"or choose a method that does without ({', '.join(able)})" if able else "no method does without"
    raise DataError(
        f"Expected samples in {' and '.join(missing)}, which {name} reads, but the data has none; "
        f"give data that holds them, {instead}."
    )


def retained_without_samples(method: Method, split: Split, labels: Tensor) -> list[str]:
    """Return the retained classes without training samples, which a method that reads `retain_train` cannot keep.

    Args:
        method: with its needs.
        split: the parts.
        labels: of all training rows.
    """
    if Part.RETAIN_TRAIN not in method.needs:
        return []
    present = set(labels[split[Part.RETAIN_TRAIN]].tolist())
    return [split.request.classes[k] for k in split.request.retained if k not in present]


def _missing(method: Method, split: Split) -> list[Part]:
    """Return the empty parts that the method must read, in the order of `Part`."""
    return [part for part in Part if part in method.needs - OPTIONAL and not len(split[part])]


def _ways(method: ConfiguredMethod, split: Split) -> list[str]:
    """Return the changes of settings with which the method runs without the empty parts.

    Each is text for a sentence: "" where the method runs as it is, " with SETTING=false" where a setting must be off.
    The list is empty where no change is enough.
    """
    if not _missing(method, split):
        return [""]
    switches = [field for field, value in method if value is True]
    off = [field for field in switches if not _missing(method.model_copy(update={field: False}), split)]
    return [f" with {field}=false" for field in off]
