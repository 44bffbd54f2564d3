"""Writes text for the page: quantities with units, shortened names and hashes, text that is safe in XML."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

from unlearnkit.report.words import Words

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_ISOLATES = re.compile("[\u2066-\u2069]")
_KEEPS = frozenset({"L", "EN", "ES", "ET", "CS", "NSM", "BN", "B", "S", "WS", "ON", ""})  # bidirectional classes


def clean(text: str) -> str:
    """Replace characters that XML or UTF-8 cannot hold (controls, lone surrogates) by U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", text)


def isolated(name: str) -> str:
    """Isolate a name with right-to-left or direction-changing characters, so that the sentence keeps its direction.

    Unicode Bidirectional Algorithm (UAX #9), first strong isolate; a name cannot end it early.
    """
    if all(unicodedata.bidirectional(character) in _KEEPS for character in name):
        return name
    return "\u2068" + _ISOLATES.sub("\ufffd", name) + "\u2069"


def shorten(text: str, columns: int) -> str:
    """Cut text to about `columns` character cells (wide characters count as two) and add an ellipsis."""
    used = 0
    for i, character in enumerate(text):
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > columns:
            return text[: max(1, i - 1)] + "…"
    return text


def short_hash(digest: str) -> str:
    """Return the first twelve digits of a hash."""
    return digest if len(digest) <= 12 else digest[:12] + "…"


def percent(fraction: float) -> str:
    """Write a fraction in percent, 0.9876 as 98.8%; only exact 0 and 1 become 0 and 100."""
    text = f"{fraction * 100:.1f}%"
    if text == "0.0%" and fraction > 0:
        return "<0.1%"
    if text == "100.0%" and fraction < 1:
        return ">99.9%"
    return text.removeprefix("-") if text == "-0.0%" else text


def number(value: float) -> str:
    """Write about three digits, with separated thousands: 12,345, 12.3, 4.58, 0.184, 0.0017, 5.7e-4."""
    size = abs(value)
    if size == 0:
        return "0"
    if size < 0.001:
        return f"{value:.1e}".replace("e-0", "e-")
    if size < 0.01:
        return f"{value:.4f}"
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


def seconds(value: float, words: Words) -> str:
    """Write a wall time: 9.9 ms, 3.40 s, 2 min 5 s, 1 h 3 min."""
    if 0 < value < 0.1:
        return words.MILLISECONDS.format(f"{value * 1000:.1f}")
    if value < 120:
        return words.SECONDS.format(f"{value:.2f}" if value < 10 else f"{value:.1f}")
    minutes, rest = divmod(round(value), 60)
    if minutes < 120:
        return words.MINUTES.format(minutes, rest)
    return words.HOURS.format(minutes // 60, minutes % 60)


def memory(count: float) -> str:
    """Write bytes in MiB or GiB."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def quantity(value: float | None, unit: str, words: Words) -> str:
    """Write a value with its unit; None is written as unknown."""
    if value is None:
        return words.UNKNOWN
    match unit:
        case "fraction":
            return percent(value)
        case "seconds":
            return seconds(value, words)
        case "ratio":
            return number(value)  # also CKA and indices, which are no multiples
        case "steps":
            return several(words.STEPS, value)
        case _:
            known = words.UNITS.get(unit)
            return known.format(number(value)) if known else f"{number(value)} {unit}".rstrip()


def span(interval: Sequence[float | None] | None, unit: str, words: Words) -> str:
    """Write an interval with its unit; empty where there is none. An end that is None is open."""
    if interval is None or len(interval) != 2:
        return ""
    low, high = interval
    if low is None or high is None:
        sign, end = ("≤", high) if low is None else ("≥", low)
        return "" if end is None else f"{sign} {quantity(end, unit, words)}"
    if unit == "fraction":
        return f"{percent(low).removesuffix('%')}–{percent(high)}"
    if unit == "steps":
        return words.STEP_SPAN.format(f"{low:,.0f}", f"{high:,.0f}")
    return f"{number(low)}–{quantity(high, unit, words)}"


def points(change: float, words: Words) -> str:
    """Write a difference of two fractions in percentage points, with its sign."""
    rounded = round(change * 100, 1)
    if rounded == 0:
        return words.POINTS.format("±0.0")
    return words.POINTS.format(f"{'+' if rounded > 0 else '−'}{abs(rounded):.1f}")


def made_at(stamp: str | None, words: Words) -> str:
    """Write 2026-11-20T18:02:18+00:00 as 20 November 2026, 18:02 UTC; other text is returned unchanged."""
    if stamp is None:
        return words.NO_DATE
    try:
        when = datetime.fromisoformat(stamp).astimezone(UTC)
    except ValueError:
        return stamp
    month = words.MONTHS[when.month - 1]
    return words.DATE.format(day=when.day, month=month, year=when.year, time=f"{when:%H:%M}")


def listed(names: Sequence[str], words: Words) -> str:
    """Write a list of names: a; a and b; a, b and c."""
    if len(names) < 2:
        return "".join(names)
    return words.LISTED.join(names[:-1]) + words.LAST + names[-1]


def several(forms: tuple[str, str], count: float) -> str:
    """Write a count with the singular or plural word for it."""
    return forms[count != 1].format(f"{count:,.0f}")
