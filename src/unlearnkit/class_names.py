"""Class names: one spelling (Unicode NFC) for each, the order of numbers among them, and lists of a few of many."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def in_one_form(name: str) -> str:
    """Return a name in Unicode's normal form C.

    The same word is spelled in several ways: macOS hands out folder names with accents as characters of their own,
    while a keyboard types one character. All of them are one name.
    """
    return unicodedata.normalize("NFC", name)


def all_in_one_form(names: Iterable[str]) -> tuple[str, ...]:
    """Return names in normal form C, in their order."""
    return tuple(in_one_form(name) for name in names)


def unprintable(text: str) -> bool:
    """Return whether a name or a path holds what no name has: control characters, line breaks, half surrogate pairs.

    Names are printed, and written as UTF-8; what these do there is no part of a name.
    """
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)


def repeated(names: Sequence[str]) -> str | None:
    """Return the first name that stands twice, in whatever form, or None."""
    seen: set[str] = set()
    for name in all_in_one_form(names):
        if name in seen:
            return name
        seen.add(name)
    return None


def numeric_order(names: Sequence[str]) -> tuple[str, ...] | None:
    """Return the names in the order of their numbers, where all are numbers and they stand in another order.

    Folders and text labels are sorted as text ("0", "1", "10", "2"), while many models have their outputs in the order
    of the numbers. None: some name is no integer, or both orders are the same.
    """
    if not all(re.fullmatch(r"[+-]?[0-9]+", name) for name in names):
        return None
    ordered = tuple(sorted(names, key=int))
    return None if ordered == tuple(names) else ordered


def listed(names: Sequence[str], most: int = 5, *, quoted: bool = True) -> str:
    """Return the first names, and how many more there are."""
    shown = ", ".join(repr(name) if quoted else name for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")


def decoded_lines(raw: bytes) -> tuple[str, ...]:
    """Return the lines of a class list that hold something, stripped and in normal form C.

    The text is UTF-8, with or without a byte-order mark, or UTF-16 with one, as Windows writes both.

    Raises:
        UnicodeError: the bytes are no such text.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if raw.startswith(mark)), "utf-8")
    text = raw.decode(encoding)
    if "\0" in text:
        raise UnicodeError("it has NUL characters, as UTF-16 without a byte-order mark has")
    lines = (line.strip() for line in re.split(r"\r\n|\r|\n", text))
    return all_in_one_form(line for line in lines if line)
