"""Draws histograms of loss and entropy, with the outlines of all models over the same bins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unlearnkit.errors import OutputError
from unlearnkit.report.facts import Row, Run, label_of
from unlearnkit.report.figures import Curve, Write, axes, down, hit, trace
from unlearnkit.report.panel import MODELS, Panel, Picture, missing
from unlearnkit.report.rows import written
from unlearnkit.report.svg import Scale, linear_scale, mark, picture
from unlearnkit.report.table import Table
from unlearnkit.report.text import number, percent
from unlearnkit.report.words import Words

OPEN = "loss"  # the reading whose last bin has no upper end
COLUMNS = ("data", "reading", "model", "replicate", "from", "to", "share")  # of the file


def histograms(run: Run) -> Panel:
    """Return the panel with one picture for each reading; its file holds the other parts of the data too."""
    words = run.words
    found = {name: _rows(run, name, run.shown_part) for name in words.HISTOGRAMS}
    pictures = [_picture(run, name, rows) for name, rows in found.items() if rows]
    if not pictures:
        return missing(run, "histograms", "loss")
    models = tuple(model for model in MODELS if any(row.model == model for rows in found.values() for row in rows))
    return Panel(
        key="histograms",
        pictures=pictures,
        models=models,
        numbers=[(words.MEAN_OF.format(words.METRICS[name][0]), _means(found[name], models, words)) for name in found],
        data=Table(columns=COLUMNS, rows=[cell for name in found for cell in _cells(run, name)]),
    )


def steps(
    lines: Sequence[Curve],
    edges: Sequence[float],
    *,
    title: str,
    description: str,
    write_x: Write,
    write_bin: Callable[[int], str],
    x_name: str,
    words: Words,
    height: int = 190,
) -> str:
    """Draw outlines of histograms; a line's points are the shares of all bins, and its mark is at the largest.

    Args:
        lines: one for each model; its points are (number of the bin, share).
        edges: where the bins begin, and where the last one ends.
        title, description: of the picture.
        write_x, x_name: how a place on the axis is written, and what it is.
        write_bin: how a bin is written, by its number.
        words: the language.
        height: of the plot, in pixels.
    """
    x = Scale(low=edges[0], high=edges[-1])
    y = linear_scale([share for line in lines for _, share in line.points], from_zero=True)
    parts = [axes(x, y, write_x, lambda v: f"{v * 100:.0f}%", x_name, height)]
    for line in lines:
        corners = [(edges[int(i) + end], share) for i, share in line.points for end in (0, 1)]
        parts.append(trace(line.model, [(edges[0], 0.0), *corners, (edges[-1], 0.0)], x, y, height))
    marks = []
    for line in lines:
        top = max(range(len(line.points)), key=lambda i: line.points[i][1])
        for i, (_, share) in enumerate(line.points):
            place = x.position((edges[i] + edges[i + 1]) / 2), down(share, y, height)
            tip = words.AT.format(line.name, x_name, write_bin(i), percent(share))
            if i == top:
                marks.append(mark(line.model, *place, tip))
            elif share > 0:
                parts.append(hit(tip, *place))
    return picture(title, description, height + 40, "".join([*parts, *marks]), style="curves")


def _rows(run: Run, metric: str, part: str) -> list[Row]:
    return [row for model in MODELS for row in run.find(metric, model, part) if len(row.series) > 1]


def _bins(row: Row) -> dict[float, float]:
    """Return the share of each bin by its lower edge, in ascending order."""
    return dict(row.points)


def _picture(run: Run, name: str, rows: Sequence[Row]) -> Picture:
    edges = _edges(rows[0])
    last, words = len(edges) - 2, run.words

    def write_bin(i: int) -> str:
        if i == last and name == OPEN:
            return words.AND_MORE.format(number(edges[i]))
        return words.BIN.format(number(edges[i]), number(edges[i + 1]))

    other = next((row for row in rows if list(_bins(row)) != edges[:-1]), None)
    if other is not None:
        raise OutputError(
            f"Expected the same bins for {name} of every model in audit.json, but {label_of(other, run)} has others "
            f"than {label_of(rows[0], run)}; run `unlearnkit audit` again."
        )
    lines = [
        Curve(name=label_of(row, run), points=list(enumerate(_bins(row).values())), model=row.model) for row in rows
    ]
    title = words.METRICS[name][0]
    peaks = [(line.name, max(line.points, key=lambda point: point[1])) for line in lines]
    svg = steps(
        lines,
        edges,
        title=words.FIGURES["histograms"][0] + words.COLON + title,
        description=words.SEMICOLON.join(
            who + words.COLON + percent(share) + words.COMMA + write_bin(int(i)) for who, (i, share) in peaks
        ),
        write_x=lambda v: f"{v:g}",
        write_bin=write_bin,
        x_name=words.HISTOGRAMS[name],
        words=words,
    )
    return Picture(svg=svg, name=title)


def _edges(row: Row) -> list[float]:
    """Return the lower edges of a series' bins, and an upper end that makes the last bin as wide as the others."""
    begins = list(_bins(row))
    return [*begins, 2 * begins[-1] - begins[-2]]


def _means(rows: Sequence[Row], models: Sequence[str], words: Words) -> list[str]:
    values = [[row.value for row in rows if row.model == model and row.value is not None] for model in models]
    return [written(each, number, words) for each in values]


def _cells(run: Run, name: str) -> list[tuple[str | float | None, ...]]:
    cells: list[tuple[str | float | None, ...]] = []
    for part in ("forget_train", "forget_test", "retain_test"):
        for row in _rows(run, name, part):
            edges = _edges(row)
            ends: list[float | None] = [*edges[1:-1], None if name == OPEN else edges[-1]]
            for begin, end, share in zip(edges, ends, _bins(row).values(), strict=False):
                cells.append((part, name, row.model, row.replicate + 1, begin, end, share))
    return cells
