"""Defines Panel, a figure of the page: pictures with words around them, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearnkit.report.facts import Run
from unlearnkit.report.sentences import filled, joined, marked
from unlearnkit.report.table import Table

MODELS = ("original", "unlearned", "retrained")


@dataclass(frozen=True, kw_only=True)
class Image:
    """A raster image that is embedded in the page.

    Args:
        source: data: address.
        said: what it shows, for those who cannot see it.
        width, height: in pixels.
    """

    source: str
    said: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One SVG or one image, with a name and a note above it where a figure has several.

    Args:
        svg: our own markup.
        image: in its place.
        name, note: above it.
        heads: of the image's columns.
    """

    svg: str = ""
    image: Image | None = None
    name: str = ""
    note: str = ""
    heads: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One figure of the page.

    Args:
        key: its words in `FIGURES` of the language.
        pictures: what is shown, one after another; none where there is nothing to show.
        axis: the scale that stays in sight above a tall picture.
        found: what the figure comes down to, in a sentence.
        missing: why there is no picture.
        tall: whether it scrolls.
        numbers: the same as a table, a row's name and a value for each of `models` and each of `more`.
        models: the models whose marks the key explains.
        marks: further marks that it explains, as SVG, with their names.
        more: heads of further columns of that table.
        data: what the figure shows, to be kept as a file.
    """

    key: str
    pictures: list[Picture] = field(default_factory=list)
    axis: str = ""
    found: str = ""
    missing: str = ""
    tall: bool = False
    models: tuple[str, ...] = ()
    marks: tuple[tuple[str, str], ...] = ()
    numbers: list[tuple[str, list[str]]] = field(default_factory=list)
    more: tuple[str, ...] = ()
    data: Table | None = None


def missing(run: Run, key: str, metric: str) -> Panel:
    """Return a panel that gives the doubts of the metric's readings as the reason why there is no picture."""
    reasons = list(dict.fromkeys(doubt for row in run.rows if row.metric == metric for doubt in row.doubts))
    why = joined([marked(reason, run.words) for reason in reasons], run.words) or run.words.UNMEASURED
    return Panel(key=key, missing=filled(run.words.NOT_AVAILABLE, why))
