"""Says in words how many single pictures are to be forgotten, and of which classes."""

from __future__ import annotations

from unlearnkit.report.facts import Run
from unlearnkit.report.text import isolated, several


def pictures_asked(run: Run) -> str | None:
    """Return in words how many single pictures of which classes are to be forgotten; None where there are none."""
    words, found = run.words, run.classes_of_rows
    if not found:
        return None
    pictures = several(words.PICTURES, sum(found.values()))
    if len(found) == 1:
        return words.PICTURES_OF_ONE.format(pictures, words.QUOTED.format(isolated(next(iter(found)))))
    return words.PICTURES_OF.format(pictures, f"{len(found):,}")
