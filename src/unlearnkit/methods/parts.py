"""Checks, before a method runs, that there are samples in every part of the data that it reads."""

from __future__ import annotations

from torch import Tensor

from unlearnkit.errors import DataError
from unlearnkit.methods.method import ConfiguredMethod, Method
from unlearnkit.methods.registry import METHODS
from unlearnkit.split import Part, Split

# classes with a single sample have none to hold out: what reads them must do without
OPTIONAL = frozenset({Part.RETAIN_VAL})


def check_parts(method: Method, split: Split, *, tunable: bool = False) -> None:
    """Refuse a method that declares a part which has no samples; `retain_val` may be empty.

    Args:
        method: with its needs.
        split: the parts.
        tunable: propose only methods that have something to tune.

    Raises:
        DataError: a part is empty; the message names it, and the registered methods that do without.
    """
    missing = _missing(method, split)
    if not missing:
        return
    name = getattr(type(method), "name", type(method).__name__)
    others = {name: kind() for name, kind in METHODS.items() if not kind.control and (kind().space() or not tunable)}
    able = [known + how for known, other in others.items() for how in _ways(other, split)]
    instead = f"or choose a method that does without ({', '.join(able)})" if able else "no method does without"
    raise DataError(
        f"Expected samples in {' and '.join(missing)}, which {name} reads, but the data has none; "
        f"give data that holds them, {instead}."
    )


def retained_without_samples(method: Method, split: Split, labels: Tensor) -> list[str]:
    """Retained classes that a method which reads `retain_train` cannot keep, as there is no sample of them in it.

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
    """Parts that the method cannot do without and that are empty, in the order of `Part`."""
    return [part for part in Part if part in method.needs - OPTIONAL and not len(split[part])]


def _ways(method: ConfiguredMethod, split: Split) -> list[str]:
    """How the method does without the empty parts: as it is (""), by switching a setting off, or not at all ([])."""
    if not _missing(method, split):
        return [""]
    switches = [field for field, value in method if value is True]
    off = [field for field in switches if not _missing(method.model_copy(update={field: False}), split)]
    return [f" with {field}=false" for field in off]
