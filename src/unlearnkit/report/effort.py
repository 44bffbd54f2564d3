"""Draws what the run took, as bars and curves: relearning, the losses of the method's stages, and the cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from unlearnkit.report.curves import curve_panel
from unlearnkit.report.facts import Row, Run, label_of
from unlearnkit.report.figures import Bar, Curve, bars, curves
from unlearnkit.report.panel import MODELS, Panel, Picture, missing
from unlearnkit.report.sentences import told
from unlearnkit.report.svg import Scale, linear_scale
from unlearnkit.report.table import Table
from unlearnkit.report.text import number, quantity
from unlearnkit.report.words import ENGLISH, Words

MOST_POINTS = 120  # of a training curve; longer ones are averaged
REPEATED = ("impair", "repair")  # stages that the search for rates runs again


def relearn(run: Run) -> Panel:
    """Draw the steps until relearned, one bar for each model."""
    rows = [row for model in MODELS for row in run.find("relearn_steps", model)]
    values = [row.value for row in rows if row.value is not None]
    if not values:
        return missing(run, "relearn", "relearn_steps")
    words = run.words
    drawn = [_steps(row, run) for row in rows]
    svg = bars(
        drawn,
        linear_scale(values, from_zero=True),
        title=words.FIGURES["relearn"][0],
        description=words.SEMICOLON.join(bar.label + words.COLON + bar.shown for bar in drawn),
        words=words,
    )
    cells = [
        (row.model, row.replicate + 1, row.value, *(row.interval or (None, None)), told(row.doubts, ENGLISH))
        for row in rows
    ]
    columns = ("model", "replicate", "steps", "from", "to", "doubts")
    return Panel(key="relearn", pictures=[Picture(svg=svg)], data=Table(columns=columns, rows=cells))


def relearn_curves(run: Run) -> Panel:
    """Draw the accuracy on forgotten test data over relearning steps."""
    return curve_panel(run, "relearn_curves", "relearn_steps", None, x_name=run.words.STEP, column="step")


def training(run: Run) -> Panel:
    """Draw one loss curve for each stage of the method."""
    search = (run.config.get("notes") or {}).get("search") or {}
    tried = search.get("attempts") or ()
    attempts = 1 if any(attempt.get("accuracy") is None for attempt in tried) else len(tried)  # a failed one is short
    pictures, cells = [], []
    for stage, losses in (run.history or {}).items():
        if losses:
            lines = _lines(stage, losses, attempts if stage in REPEATED else 1)
            pictures.append(_stage(stage, losses, lines, run.words))
            cells += [(stage, step, loss) for line in lines for step, loss in line.points]
    return Panel(key="training", pictures=pictures, data=Table(columns=("stage", "step", "loss"), rows=cells))


def cost(run: Run) -> Panel:
    """Draw the seconds of each stage, of all stages together, and of retraining."""
    spent = run.cost or {}
    words = run.words
    stages = {name: stage.get("seconds") for name, stage in (spent.get("stages") or {}).items()}
    total = (spent.get("total") or {}).get("seconds")
    retrained = run.find("cost_seconds", "retrained")
    rows = [_seconds(name, value, words) for name, value in stages.items()]
    rows.append(_seconds(words.TOTAL, total, words, strong=True))
    rows += [_seconds(label_of(row, run), row.value, words, model="retrained") for row in retrained]
    svg = bars(
        rows,
        linear_scale((row.value for row in rows if row.value is not None), from_zero=True),
        title=words.FIGURES["cost"][0],
        description=words.SEMICOLON.join(row.label + words.COLON + row.shown for row in rows),
        words=words,
    )
    cells = [*stages.items(), ("total", total)]
    cells += [
        (f"retrained {row.replicate + 1}" if len(run.replicates) > 1 else "retrained", row.value) for row in retrained
    ]
    return Panel(key="cost", pictures=[Picture(svg=svg)], data=Table(columns=("stage", "seconds"), rows=cells))


def _seconds(name: str, value: float | None, words: Words, *, model: str = "", strong: bool = False) -> Bar:
    return Bar(label=name, value=value, shown=quantity(value, "seconds", words), model=model, strong=strong)


def _steps(row: Row, run: Run) -> Bar:
    shown = quantity(row.value, "steps", run.words)
    if row.value is None and row.doubts:
        shown = told(row.doubts, run.words)
    elif row.censored:
        shown = f"> {shown}"
    return Bar(
        label=label_of(row, run),
        value=row.value,
        shown=shown,
        model=row.model,
        interval=row.interval,
        open_end=row.censored,
    )


def _lines(stage: str, losses: Sequence[float], attempts: int) -> list[Curve]:
    """Return one line for each attempt of a stage, thinned to means."""
    length = len(losses) // attempts if attempts > 1 and len(losses) % attempts == 0 else len(losses)
    count = max(1, length // _each(losses))
    return [
        Curve(name=stage, points=_means(losses[start : start + length], start, count))
        for start in range(0, len(losses), length)
    ]


def _stage(stage: str, losses: Sequence[float], lines: Sequence[Curve], words: Words) -> Picture:
    length = len(losses) // len(lines)
    note = words.STAGES.get(stage, "")
    if len(lines) > 1:
        note = words.NOTES.format(note, words.ATTEMPTS.format(len(lines))).strip()
    if _each(losses) > 1:
        note = words.NOTES.format(note, words.MEANS.format(_each(losses))).strip()
    values = [value for line in lines for _, value in line.points]
    svg = curves(
        lines,
        Scale(low=1, high=max(2.0, float(len(losses)))),
        linear_scale(values, from_zero=min(values) >= 0),
        title=words.TRAINING.format(stage),
        description=words.STEPS_FROM_TO.format(len(losses), number(losses[0]), number(losses[-1])),
        write_x=lambda v: f"{v:,.0f}" if v == int(v) else "",
        write_y=lambda v: f"{v:g}".replace("-", "−"),
        x_name=words.STEP,
        words=words,
        dividers=[start + 0.5 for start in range(length, len(losses), length)],
        height=130,
    )
    return Picture(svg=svg, name=stage, note=note)


def _each(losses: Sequence[float]) -> int:
    """Return how many steps one point of the curve averages."""
    return -(-len(losses) // MOST_POINTS)


def _means(losses: Sequence[float], start: int, count: int) -> list[tuple[float, float]]:
    """Return (last step, mean) of `count` groups of nearly equal length; steps are counted from `start` + 1."""
    bounds = [len(losses) * i // count for i in range(count + 1)]
    return [(float(start + high), sum(losses[low:high]) / (high - low)) for low, high in pairwise(bounds)]
