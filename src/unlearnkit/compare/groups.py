"""Groups the rows of a comparison by method, and gives what tables and pictures take of them: medians, costs, names."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from unlearnkit.report.text import number

SHORT = {  # the primary readings, as the table calls them
    "accuracy/retain_test": "A_r",
    "accuracy/forget_test": "A_f",
    "prediction_tv/forget_test": "predictions",
    "activation_distance/forget_test": "outputs",
    "membership_auc_loss": "membership of samples",
    "class_membership_auc": "membership of the class",
    "probe_recovery/forget_test": "probe",
    "prototype_recovery/forget_test": "class means",
    "depth_recovery/forget_test": "depth",
    "return_recovery/forget_test": "return",
    "relearn_steps": "relearning",
    "accuracy/forget_train": "A_f",
    "activation_distance/forget_train": "outputs",
    "margin_distance/forget_train": "margins",
    "membership_auc_rmia": "membership of rows",
    "return_recovery/forget_train": "return",
}
SHOWN = {  # readings without a vote that a full audit adds, as their table calls them
    "relearn_steps": "relearning",
    "collateral_accuracy/retain_test": "nearest classes",
    "js_divergence/forget_test": "JS",
    "zrf/forget_test": "ZRF",
    "membership_auc_rmia": "RMIA",
    "membership_svc": "SVC",
    "knn_recovery/forget_test": "k-NN",
    "linear_idi/forget_test": "linear IDI",
    "cka_retrained/forget_test": "CKA",
    "anamnesis_index": "anamnesis",
    "few_shot_recovery/forget_test": "few shots",
    "weight_distance": "weights",
}
Rows = Sequence[dict[str, Any]]


def finished(rows: Rows) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the rows that did not fail, grouped by method and variant."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if not row["failure"]:
            groups.setdefault((row["method"], row["variant"]), []).append(row)
    return groups


def forgotten_part(result: dict[str, Any]) -> str:
    """Return the part that says how well what is to be forgotten is known: held-out samples of classes, else rows."""
    return str(result.get("part", "forget_test"))


def worst(group: Rows) -> float:
    """Return the median over the seeds of the worst gap; every run has one, of the retained accuracy at least."""
    return float(statistics.median(row["verdict"]["worst_gap"] for row in group))


def value_of(run: dict[str, Any], metric: str) -> float | None:
    """Return a reading of a run by its key, or by its name where it has one part; None: it has none, or several."""
    found = reading_of(run, metric)
    value: float | None = found["value"] if found else None
    return value


def reading_of(run: dict[str, Any], metric: str) -> dict[str, Any] | None:
    """Return all that is known of a reading, see `value_of`."""
    readings: dict[str, Any] = {**run.get("shown", {}), **run["primary"]}
    named = [metric] if metric in readings else [key for key in readings if key.partition("/")[0] == metric]
    return readings[named[0]] if len(named) == 1 else None


def values_of(rows: Rows, metric: str) -> list[float]:
    """Return a reading of all runs that have it, see `value_of`."""
    return [value for row in rows if (value := value_of(row, metric)) is not None]


def accuracies(rows: Rows, part: str) -> list[float]:
    """Return the accuracies of all runs on a part, in percent."""
    return [100 * value for value in values_of(rows, f"accuracy/{part}")]


def reads_forgotten(row: dict[str, Any]) -> bool:
    """Return whether the method declares that it reads samples of the classes to forget."""
    return any(part.startswith("forget") for part in row["needs"])


def shares(result: dict[str, Any], group: Rows, unit: str) -> list[float]:
    """Return the cost of every run as a share of the retrained models' median cost, in seconds or samples.

    Empty where no retrained model's seconds are known.
    """
    known = result["retraining"] if unit == "samples" else timed(result["retraining"])
    if not known:
        return []
    whole = statistics.median(_cost(cost, unit) for cost in known)
    return [_cost(row["cost"], unit) / whole for row in group]


def timed(costs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the costs whose seconds compare with a method's."""
    return [cost for cost in costs if cost["seconds"] is not None]


def _cost(cost: dict[str, Any], unit: str) -> float:
    return float(cost["seconds"] if unit == "seconds" else cost["samples_forward"] + cost["samples_backward"])


def spread(values: Sequence[float], digits: int | None = None) -> str:
    """Return the median as text, with the lowest and the highest value where they differ.

    Args:
        values: of the runs; a dash stands for none.
        digits: after the point; None: about three in all, for what may be a hundredth as well as a hundred.

    >>> spread([0.71, 0.69, 0.8], 1), spread([0.0113]), spread([])
    ('0.7 (0.7 to 0.8)', '0.011', '-')
    """
    if not values:
        return "-"
    found = (statistics.median(values), min(values), max(values))
    middle, low, high = (number(value) if digits is None else f"{value:.{digits}f}" for value in found)
    return middle if low == high else f"{middle} ({low} to {high})"


def in_a_line(names: Sequence[str]) -> str:
    """Return names with commas between them; of three numbers or more in a row, the first and the last.

    >>> in_a_line(["cat", "3", "4", "7", "8", "9", "11"])
    'cat, 3, 4, 7 to 9, 11'
    """
    runs: list[list[str]] = []
    for name in names:
        if runs and _follows(runs[-1][-1], name):
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)


def _follows(before: str, name: str) -> bool:
    return before.isdecimal() and name.isdecimal() and int(name) == int(before) + 1
