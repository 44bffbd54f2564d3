"""Draws the changes to the model as rows of marks: accuracy per class, predictions on forgotten data, weights."""

from __future__ import annotations

from unlearnkit.report.facts import Run
from unlearnkit.report.figures import Dots
from unlearnkit.report.panel import Panel, missing
from unlearnkit.report.rows import dots, first, names_of, panel_of, series_of
from unlearnkit.report.sentences import filled, joined, marked
from unlearnkit.report.svg import Scale, log_scale
from unlearnkit.report.text import isolated, listed, percent, points, several

LEAST_SHARE = 0.005  # share of the predictions below which a class joins the others


def accuracy(run: Run) -> Panel:
    """Draw the accuracy of each class on test data."""
    # where no whole class is forgotten, held-out samples like the forgotten ones would stand for their whole class
    series = series_of(run, "accuracy", *(["forget_test"] if not run.classes_of_rows else []), "retain_test")
    names = names_of(series)
    if not names:
        return missing(run, "accuracy", "accuracy")
    rows = [dots(run, name, series) for name in names]
    lost = {row.label: first(row, "original") - first(row, "unlearned") for row in rows if _both(row)}
    rows.sort(key=lambda row: (not row.flag, -lost.get(row.label, 0.0)))
    found = ""
    worst = next((row for row in rows if row.label in lost and not row.flag), None)
    if worst is not None and lost[worst.label] > 0:
        ends = percent(first(worst, "original")), percent(first(worst, "unlearned"))
        found = run.words.LOST_MOST.format(isolated(worst.label), *ends, points(-lost[worst.label], run.words))
    elif worst is not None:
        found = run.words.LOST_NONE
    return panel_of(run, "accuracy", rows, Scale(low=0, high=1), found, of="class")


def collateral(run: Run) -> Panel:
    """Draw the accuracy on the retained classes nearest to the forgotten ones, nearest first."""
    series = series_of(run, "collateral_accuracy", "retain_test")
    names = names_of(series)
    if not names:
        return missing(run, "collateral", "collateral_accuracy")
    rows = [dots(run, name, series) for name in names]
    return panel_of(run, "collateral", rows, Scale(low=0, high=1), of="class")


def predictions(run: Run) -> Panel:
    """Draw the predictions on forgotten test data; classes that are hardly predicted are summed in one row."""
    series = series_of(run, "prediction_max_share", "forget_test")
    names = names_of(series)
    if not names:
        return missing(run, "predictions", "prediction_max_share")
    most = {name: max(shares.get(name, 0.0) for found in series.values() for shares in found) for name in names}
    rest = [name for name in names if name not in run.forgotten and most[name] < LEAST_SHARE]
    rows = [dots(run, name, series) for name in names if name not in rest]
    rows.sort(key=lambda row: (not row.flag, -first(row, "unlearned"), -first(row, "retrained")))
    if rest:
        summed = {model: [sum(shares.get(n, 0.0) for n in rest) for shares in found] for model, found in series.items()}
        rows.append(Dots(label=several(run.words.OTHER_CLASSES, len(rest)), values=summed))
    found = ""
    for row in run.find("prediction_tv", "unlearned", "forget_test"):
        if row.value is not None:
            reasons = joined([marked(doubt, run.words) for doubt in row.doubts], run.words)
            doubts = filled(run.words.DOUBTED, reasons) if reasons else ""
            found = filled(run.words.DIFFERENCE, percent(row.value), doubts)
    return panel_of(run, "predictions", rows, Scale(low=0, high=1), found, of="class")


def weights(run: Run) -> Panel:
    """Draw the distance of every layer to the original, on a logarithmic scale."""
    series = series_of(run, "weight_distance", None)
    layers = names_of(series)
    if not layers:
        return missing(run, "weights", "weight_distance")
    rows = [dots(run, layer, series, flags=False) for layer in layers]
    still = [isolated(row.label) for row in rows if 0 in row.values.get("unlearned", ())]
    found = ""
    if still:
        shown = still if len(still) < 5 else [*still[:3], run.words.MORE.format(len(still) - 3)]
        found = run.words.STILL.format(listed(shown, run.words))
    values = (v for row in rows for several in row.values.values() for v in several)
    return panel_of(run, "weights", rows, log_scale(values), found, of="layer")


def _both(row: Dots) -> bool:
    return bool(row.values.get("original")) and bool(row.values.get("unlearned"))
