"""What changed in the model: accuracy per class, predictions on forgotten data, weights; drawn as rows of marks."""

from __future__ import annotations

from collections.abc import Sequence

from unlearnkit.report import words
from unlearnkit.report.facts import Run
from unlearnkit.report.figures import Dots, Write, dot_axis, dot_rows
from unlearnkit.report.panel import MODELS, Panel, Picture, missing
from unlearnkit.report.svg import Scale, log_scale
from unlearnkit.report.text import UNKNOWN, listed, number, percent, points

MOST_ROWS = 30  # rows that are shown without scrolling
CHUNK = 25  # rows of one picture where there are more, so that paper can break between them
LEAST_SHARE = 0.005  # share of the predictions below which a class joins the others
Series = dict[str, list[dict[str, float]]]  # model -> one series per replicate


def accuracy(run: Run) -> Panel:
    """Accuracy per class on test data."""
    series = _series(run, "accuracy", "forget_test", "retain_test")
    names = _names(series)
    if not names:
        return missing(run, "accuracy", "accuracy")
    rows = [_dots(run, name, series) for name in names]
    lost = {row.label: _first(row, "original") - _first(row, "unlearned") for row in rows if _both(row)}
    rows.sort(key=lambda row: (not row.flag, -lost.get(row.label, 0.0)))
    found = ""
    worst = next((row for row in rows if row.label in lost and not row.flag), None)
    if worst is not None and lost[worst.label] > 0:
        found = (
            f"The retained class that lost most: {worst.label}, from {percent(_first(worst, 'original'))} to "
            f"{percent(_first(worst, 'unlearned'))} ({points(-lost[worst.label])})."
        )
    elif worst is not None:
        found = "No retained class lost accuracy."
    return _panel("accuracy", rows, Scale(low=0, high=1), found)


def predictions(run: Run) -> Panel:
    """What forgotten test data is taken for; classes that hardly occur are summed in one row."""
    series = _series(run, "prediction_max_share", "forget_test")
    names = _names(series)
    if not names:
        return missing(run, "predictions", "prediction_max_share")
    most = {name: max(one.get(name, 0.0) for found in series.values() for one in found) for name in names}
    rest = [name for name in names if name not in run.forgotten and most[name] < LEAST_SHARE]
    rows = [_dots(run, name, series) for name in names if name not in rest]
    rows.sort(key=lambda row: (not row.flag, -_first(row, "unlearned"), -_first(row, "retrained")))
    if rest:
        summed = {model: [sum(one.get(n, 0.0) for n in rest) for one in found] for model, found in series.items()}
        rows.append(Dots(label=f"{len(rest)} other class{'es' if len(rest) > 1 else ''}", values=summed))
    found = ""
    for row in run.find("prediction_tv", "unlearned", "forget_test"):
        if row.value is not None:
            doubts = f" ({'; '.join(row.doubts)})" if row.doubts else ""
            found = f"Difference between the dots and the diamonds, in total variation: {percent(row.value)}{doubts}."
    return _panel("predictions", rows, Scale(low=0, high=1), found)


def weights(run: Run) -> Panel:
    """Distance of every layer to the original, logarithmic."""
    series = _series(run, "weight_distance", None)
    layers = _names(series)
    if not layers:
        return missing(run, "weights", "weight_distance")
    rows = [_dots(run, layer, series, flags=False) for layer in layers]
    still = [row.label for row in rows if 0 in row.values.get("unlearned", ())]
    found = ""
    if still:
        shown = still if len(still) < 5 else [*still[:3], f"{len(still) - 3} more"]
        found = f"Not moved at all, drawn at the left edge: {listed(shown)}."
    values = (v for row in rows for several in row.values.values() for v in several)
    return _panel("weights", rows, log_scale(values), found)


def _series(run: Run, metric: str, *parts: str | None) -> Series:
    """Series of a metric by model, one per replicate, the parts joined."""
    found: Series = {}
    for model in MODELS:
        joined: dict[int, dict[str, float]] = {}
        for row in (row for part in parts for row in run.find(metric, model, part)):
            joined.setdefault(row.replicate, {}).update(row.series)
        if any(joined.values()):
            found[model] = [joined[replicate] for replicate in sorted(joined)]
    return found


def _names(series: Series) -> list[str]:
    return list(dict.fromkeys(name for found in series.values() for one in found for name in one))


def _dots(run: Run, name: str, series: Series, *, flags: bool = True) -> Dots:
    flag = ""
    if flags and name in run.forgotten:
        flag = words.FORGOTTEN
    elif flags and name in run.earlier:
        flag = words.FORGOTTEN_EARLIER
    values = {model: [one[name] for one in found if name in one] for model, found in series.items()}
    return Dots(label=name, values=values, flag=flag)


def _both(row: Dots) -> bool:
    return bool(row.values.get("original")) and bool(row.values.get("unlearned"))


def _first(row: Dots, model: str) -> float:
    return next(iter(row.values.get(model, ())), 0.0)


def _panel(key: str, rows: Sequence[Dots], scale: Scale, found: str) -> Panel:
    title = words.FIGURES[key][0]
    write: Write = number if scale.log else percent
    tick: Write = _power if scale.log else (lambda v: f"{v * 100:.0f}%")
    models = tuple(model for model in MODELS if any(model in row.values for row in rows))
    tall = len(rows) > MOST_ROWS
    chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)] if tall else [rows]
    pictures = [
        Picture(svg=dot_rows(chunk, scale, write, title=title, description=_said(chunk, write), dense=tall))
        for chunk in chunks
    ]
    return Panel(
        key=key,
        pictures=pictures,
        axis=dot_axis(scale, tick, title=f"{title}: scale", models=models),
        found=found,
        tall=tall,
        models=models,
        numbers=[(row.label, [_all(row.values.get(model, ()), write) for model in models]) for row in rows],
    )


def _said(rows: Sequence[Dots], write: Write) -> str:
    return "; ".join(
        f"{row.label}: " + ", ".join(f"{model} {_all(values, write)}" for model, values in row.values.items())
        for row in rows
    )


def _all(values: Sequence[float], write: Write) -> str:
    return " / ".join(map(write, values)) if values else UNKNOWN


def _power(value: float) -> str:
    return f"{value:g}" if 0.01 <= value < 1e5 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
