"""Draws readings over steps, shots or rates as a curve for each model, with the panel around them."""

from __future__ import annotations

from unlearnkit.report.facts import Run, label_of
from unlearnkit.report.figures import Curve, Write, curves
from unlearnkit.report.panel import MODELS, Panel, Picture, missing
from unlearnkit.report.svg import Scale
from unlearnkit.report.table import Table
from unlearnkit.report.text import percent


def curve_panel(
    run: Run,
    key: str,
    metric: str,
    part: str | None,
    *,
    x_name: str,
    column: str,
    log: bool = True,
    square: bool = False,
    found: str = "",
    write_x: Write = lambda v: f"{v:,.0f}",
) -> Panel:
    """Return the panel of a metric's series: shares from 0 to 100 % over numbers.

    Args:
        run: the run.
        key: the figure's words.
        metric, part: which readings.
        x_name: what the numbers are.
        column: what a program calls them.
        log: whether they lie on a logarithmic scale, from 1 up, with 0 at its edge where there is one; else from 0 up.
        square: whether they are shares too, drawn up to 100 % with the diagonal.
        found: what the figure comes down to.
        write_x: how a number is written.
    """
    lines, cells = [], []
    for row in (row for model in MODELS for row in run.find(metric, model, part)):
        measured = row.points
        if measured:
            lines.append(Curve(name=label_of(row, run), points=measured, model=row.model))
            cells += [(row.model, row.replicate + 1, x, value) for x, value in measured]
    if not lines:
        return missing(run, key, metric)
    ends = [(line.name, *line.points[0 if square else -1]) for line in lines]  # all squares end in the same corner
    last = 1.0 if square else max(2.0, *(line.points[-1][0] for line in lines))
    words = run.words
    zero = log and any(line.points[0][0] == 0 for line in lines)
    svg = curves(
        lines,
        Scale(low=0.5 if zero else 1, high=last, log=True, zero=zero) if log else Scale(low=0, high=last),
        Scale(low=0, high=1),
        title=words.FIGURES[key][0],
        description=words.SEMICOLON.join(
            words.CURVE_AT.format(name, percent(value), write_x(x), x_name) for name, x, value in ends
        ),
        write_x=write_x,
        write_y=lambda v: f"{v * 100:.0f}%",
        x_name=x_name,
        words=words,
        diagonal=square,
    )
    return Panel(
        key=key,
        pictures=[Picture(svg=svg)],
        found=found,
        models=tuple(model for model in MODELS if any(line.model == model for line in lines)),
        data=Table(columns=("model", "replicate", column, "value"), rows=cells),
    )
