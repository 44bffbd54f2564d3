"""Reads JSON text that may be anybody's: one meaning for each text, of bounded depth, numbers that fit everywhere."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

DEEPEST = 64  # lists and objects inside of each other; ours are below ten
LARGEST_INTEGER = 2**64  # a seed is the largest number that we write
LONGEST_NUMBER = 400  # characters; Python's own limit for integers is its own error


def parse_json(data: bytes | str) -> Any:
    """Return what a JSON text means.

    Raises:
        ValueError: it is no JSON in UTF-8, a name stands twice in an object, a number is not finite or beyond 64 bits,
            it is nested more than `DEEPEST` deep, or a text holds half of a surrogate pair.
    """
    text = data.decode("utf-8") if isinstance(data, bytes) else data
    try:
        content = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
        _check(content, DEEPEST)
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice[:80]!r} stands twice in one object")
    return content


def _integer(text: str) -> int:
    if len(text) > LONGEST_NUMBER or abs(int(text)) > LARGEST_INTEGER:
        raise ValueError(f"the number {text[:20]}... is beyond 64 bits")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is beyond 64 bits")
    return value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _check(content: object, depth: int) -> None:
    """Refuse what is nested too deep, and text that UTF-8 cannot hold."""
    if isinstance(content, str):
        content.encode("utf-8")  # a UnicodeEncodeError is a ValueError
        return
    if not isinstance(content, dict | list):
        return
    if depth == 0:
        raise RecursionError
    for item in content if isinstance(content, list) else (*content.keys(), *content.values()):
        _check(item, depth - 1)
