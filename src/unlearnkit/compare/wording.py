"""Writes numbers of things and lengths of time in words, for what a comparison says of itself."""

from __future__ import annotations


def counted(count: int, what: str) -> str:
    """Return a number of things.

    >>> counted(1, "cell"), counted(2_000, "cell")
    ('1 cell', '2,000 cells')
    """
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def duration(seconds: float) -> str:
    """Return a length of time in the unit that suits it.

    >>> duration(89), duration(600), duration(7_200)
    ('89 s', '10 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
