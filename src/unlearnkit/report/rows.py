"""Draws readings with one value for each class or layer as rows of marks, with the panel around them."""

from __future__ import annotations

from collections.abc import Sequence

from unlearnkit.report.facts import Run
from unlearnkit.report.figures import Dots, Write, dot_axis, dot_rows
from unlearnkit.report.panel import MODELS, Panel, Picture
from unlearnkit.report.svg import Scale
from unlearnkit.report.table import Table
from unlearnkit.report.text import number, percent
from unlearnkit.report.words import Words

MOST_ROWS = 30  # rows that are shown without scrolling
CHUNK = 25  # rows of one picture where there are more, so that paper can break between them
Series = dict[str, list[dict[str, float]]]  # model -> one series per replicate


def series_of(run: Run, metric: str, *parts: str | None) -> Series:
    """Return a metric's series by model, one for each replicate, with the parts joined."""
    found: Series = {}
    for model in MODELS:
        joined: dict[int, dict[str, float]] = {}
        for row in (row for part in parts for row in run.find(metric, model, part)):
            joined.setdefault(row.replicate, {}).update(row.series)
        if any(joined.values()):
            found[model] = [joined[replicate] for replicate in sorted(joined)]
    return found


def names_of(series: Series) -> list[str]:
    """Return every class or layer that occurs, in the order of its first occurrence."""
    return list(dict.fromkeys(name for found in series.values() for replicate in found for name in replicate))


def dots(run: Run, name: str, series: Series, *, flags: bool = True) -> Dots:
    """Return one row of marks; with `flags`, a forgotten class is flagged."""
    flag = ""
    if flags and name in run.forgotten:
        flag = run.words.FORGOTTEN
    elif flags and name in run.earlier:
        flag = run.words.FORGOTTEN_EARLIER
    values = {model: [replicate[name] for replicate in found if name in replicate] for model, found in series.items()}
    return Dots(label=name, values=values, flag=flag)


def first(row: Dots, model: str) -> float:
    """Return a model's first value in a row; 0 where there is none."""
    return next(iter(row.values.get(model, ())), 0.0)


def panel_of(run: Run, key: str, rows: Sequence[Dots], scale: Scale, found: str = "", *, of: str) -> Panel:
    """Return the panel with these rows; `of` is the name of a row in the CSV file (class, layer)."""
    words = run.words
    title = words.FIGURES[key][0]
    write: Write = number if scale.log else percent
    tick: Write = _power if scale.log else (lambda v: f"{v * 100:.0f}%")
    models = tuple(model for model in MODELS if any(model in row.values for row in rows))
    tall = len(rows) > MOST_ROWS
    chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)] if tall else [rows]
    pictures = [
        Picture(
            svg=dot_rows(
                chunk, scale, write, title=title, description=_said(chunk, write, words), words=words, dense=tall
            )
        )
        for chunk in chunks
    ]
    return Panel(
        key=key,
        pictures=pictures,
        axis=dot_axis(scale, tick, title=words.SCALE_OF.format(title), models=models, words=words),
        found=found,
        tall=tall,
        models=models,
        numbers=[(row.label, [written(row.values.get(model, ()), write, words) for model in models]) for row in rows],
        data=Table(
            columns=(of, "model", "replicate", "value"),
            rows=[
                (row.label, model, i + 1, value)
                for row in rows
                for model in models
                for i, value in enumerate(row.values.get(model, ()))
            ],
        ),
    )


def written(values: Sequence[float], write: Write, words: Words) -> str:
    """Write all values of a cell as text."""
    return " / ".join(map(write, values)) if values else words.UNKNOWN


def _said(rows: Sequence[Dots], write: Write, words: Words) -> str:
    def said(row: Dots) -> str:
        return words.COMMA.join(f"{words.NAMES[m]} {written(values, write, words)}" for m, values in row.values.items())

    return words.SEMICOLON.join(row.label + words.COLON + said(row) for row in rows)


def _power(value: float) -> str:
    return f"{value:g}" if 0.01 <= value < 1e5 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
