"""What it took: relearning, the losses of the method's stages, and the cost; drawn as bars and curves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from unlearnkit.report import words
from unlearnkit.report.facts import Row, Run, label_of
from unlearnkit.report.figures import Bar, Curve, bars, curves
from unlearnkit.report.panel import MODELS, Panel, Picture, missing
from unlearnkit.report.svg import Scale, linear_scale
from unlearnkit.report.text import number, percent, quantity

MOST_POINTS = 120  # of a training curve; longer ones are averaged
REPEATED = ("impair", "repair")  # stages that the search for rates runs again


def relearn(run: Run) -> Panel:
    """Steps until relearned, one bar per model."""
    rows = [row for model in MODELS for row in run.find("relearn_steps", model)]
    values = [row.value for row in rows if row.value is not None]
    if not values:
        return missing(run, "relearn", "relearn_steps")
    drawn = [_steps(row, run) for row in rows]
    svg = bars(
        drawn,
        linear_scale(values, from_zero=True),
        title=words.FIGURES["relearn"][0],
        description="; ".join(f"{bar.label}: {bar.shown}" for bar in drawn),
    )
    return Panel(key="relearn", pictures=[Picture(svg=svg)])


def relearn_curves(run: Run) -> Panel:
    """Accuracy on forgotten test data by relearning step."""
    lines = []
    for row in (row for model in MODELS for row in run.find("relearn_steps", model)):
        measured = sorted((float(step), value) for step, value in row.series.items())
        if measured:
            lines.append(Curve(name=label_of(row, run.replicates), points=measured, model=row.model))
    if not lines:
        return missing(run, "relearn_curves", "relearn_steps")
    ends = [(line.name, *line.points[-1]) for line in lines]
    svg = curves(
        lines,
        Scale(low=1, high=max(2.0, *(step for _, step, _ in ends)), log=True),
        Scale(low=0, high=1),
        title=words.FIGURES["relearn_curves"][0],
        description="; ".join(f"{name}: {percent(value)} after {step:.0f} steps" for name, step, value in ends),
        write_x=lambda v: f"{v:.0f}",
        write_y=lambda v: f"{v * 100:.0f}%",
        x_name=words.STEP,
    )
    models = tuple(model for model in MODELS if any(line.model == model for line in lines))
    return Panel(key="relearn_curves", pictures=[Picture(svg=svg)], models=models)


def training(run: Run) -> Panel:
    """One curve per stage of the method."""
    search = (run.config.get("notes") or {}).get("search") or {}
    tried = search.get("attempts") or ()
    attempts = 1 if any(attempt.get("accuracy") is None for attempt in tried) else len(tried)  # a failed one is short
    pictures = [
        _stage(stage, losses, attempts if stage in REPEATED else 1)
        for stage, losses in (run.history or {}).items()
        if losses
    ]
    return Panel(key="training", pictures=pictures)


def cost(run: Run) -> Panel:
    """Seconds per stage, in total, and of retraining."""
    spent = run.cost or {}
    rows = [_seconds(name, stage.get("seconds")) for name, stage in (spent.get("stages") or {}).items()]
    rows.append(_seconds(words.TOTAL, (spent.get("total") or {}).get("seconds"), strong=True))
    rows += [
        _seconds(label_of(row, run.replicates), row.value, model="retrained")
        for row in run.find("cost_seconds", "retrained")
    ]
    svg = bars(
        rows,
        linear_scale((row.value for row in rows if row.value is not None), from_zero=True),
        title=words.FIGURES["cost"][0],
        description="; ".join(f"{row.label}: {row.shown}" for row in rows),
    )
    return Panel(key="cost", pictures=[Picture(svg=svg)])


def _seconds(name: str, value: float | None, *, model: str = "", strong: bool = False) -> Bar:
    return Bar(label=name, value=value, shown=quantity(value, "seconds"), model=model, strong=strong)


def _steps(row: Row, run: Run) -> Bar:
    shown = quantity(row.value, "steps")
    if row.value is None and row.doubts:
        shown = "; ".join(row.doubts)
    elif row.censored:
        shown = f"> {shown}"
    return Bar(
        label=label_of(row, run.replicates),
        value=row.value,
        shown=shown,
        model=row.model,
        interval=row.interval,
        open_end=row.censored,
    )


def _stage(stage: str, losses: Sequence[float], attempts: int) -> Picture:
    repeated = attempts > 1 and len(losses) % attempts == 0
    length = len(losses) // attempts if repeated else len(losses)
    each = -(-len(losses) // MOST_POINTS)
    lines = [
        Curve(name=stage, points=_means(losses[start : start + length], start, max(1, length // each)))
        for start in range(0, len(losses), length)
    ]
    notes = [words.STAGES.get(stage, "")]
    if repeated:
        notes.append(words.ATTEMPTS.format(attempts))
    if each > 1:
        notes.append(words.MEANS.format(each))
    values = [value for line in lines for _, value in line.points]
    svg = curves(
        lines,
        Scale(low=1, high=max(2.0, float(len(losses)))),
        linear_scale(values, from_zero=min(values) >= 0),
        title=words.TRAINING.format(stage),
        description=f"{len(losses)} steps, from {number(losses[0])} to {number(losses[-1])}",
        write_x=lambda v: f"{v:,.0f}" if v == int(v) else "",
        write_y=lambda v: f"{v:g}".replace("-", "−"),
        x_name=words.STEP,
        dividers=[start + 0.5 for start in range(length, len(losses), length)],
        height=130,
    )
    return Picture(svg=svg, name=stage, note=" ".join(filter(None, notes)))


def _means(losses: Sequence[float], start: int, count: int) -> list[tuple[float, float]]:
    """(last step, mean) of `count` runs of nearly equal length; steps are counted from `start` + 1."""
    bounds = [len(losses) * i // count for i in range(count + 1)]
    return [(float(start + high), sum(losses[low:high]) / (high - low)) for low, high in pairwise(bounds)]
