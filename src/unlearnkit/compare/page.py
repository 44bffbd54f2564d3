"""Writes a comparison as a page: a Markdown table, the settings that tuning chose, and a picture of gap against cost.

Pure functions of the results that `compare_methods.py` writes.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from unlearnkit.compare.trade_off import Point, trade_off
from unlearnkit.report.sentences import Doubt, plain, read_doubt
from unlearnkit.report.words import ENGLISH

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
NAMED = {  # doubts with a name that is shorter than their sentence, which the line under a table has no room for
    "unknown": "unknown",
    "unresolved": "not resolved",
    "small_sample": "small sample",
    "partial_part": "{part}",
    "weak_attack": "weak attack",
    "censored": "censored",
    "equal_scores": "degenerate",
    "one_class_predicted": "degenerate",
}
MARK = "\\*"  # of a value in doubt, as Markdown takes it literally
Rows = Sequence[dict[str, Any]]


def table(result: dict[str, Any]) -> str:
    """Return a Markdown table with a line for each method and variant.

    The nearest to retraining comes first, and the controls last.

    Medians over the seeds, with lowest and highest; then what could not be run, the readings that vote, what full
    audits read besides, and what tuning chose.
    """
    lines = [
        "| method | settings | reads forgotten data | A_f % | A_r % | families passed | worst gap | where "
        "| seconds / retraining's | samples / retraining's |",
        "| --- " * 10 + "|",
        *_reference_lines(result),
    ]
    done = finished(result["rows"])
    order = sorted(done, key=lambda key: (done[key][0]["control"], worst(done[key])))
    lines += [_line(result, *key, done[key]) for key in order]
    failed = [row for row in result["rows"] if row["failure"]]
    if failed:
        lines += ["", "Not run:", ""]
        seeds: dict[tuple[str, str, str], list[int]] = {}
        for row in failed:
            seeds.setdefault((row["method"], row["variant"], row["failure"]), []).append(row["seed"])
        for (method, variant, failure), missing in seeds.items():
            which = "" if len(missing) == result["seeds"] else f", seed {', '.join(map(str, missing))}"
            lines.append(f"- `{method}`, {variant}{which}: {failure}")
    if done:
        lines += ["", *_voting({key: done[key] for key in order})]
    audited = {key: group for key in order if (group := [row for row in done[key] if in_full(row)])}
    if audited:
        lines += ["", *_shown(audited)]
    if result["tuning"]:
        lines += ["", *_tuning(result)]
    return "\n".join(lines)


def finished(rows: Rows) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the rows that did not fail, grouped by method and variant."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if not row["failure"]:
            groups.setdefault((row["method"], row["variant"]), []).append(row)
    return groups


def in_full(row: dict[str, Any]) -> bool:
    """Return whether the row's audit was a full one, not one of the primary readings alone."""
    shown: dict[str, Any] = row.get("shown", {})
    return "few_shot_recovery/forget_test" in shown


def forgotten_part(result: dict[str, Any]) -> str:
    """Return the part that says how well what is to be forgotten is known: held-out samples of classes, else rows."""
    return str(result.get("part", "forget_test"))


def worst(group: Rows) -> float:
    """Return the median over the seeds of the worst gap; every run has one, of the retained accuracy at least."""
    return float(statistics.median(row["verdict"]["worst_gap"] for row in group))


def picture(result: dict[str, Any]) -> str:
    """Return an SVG of worst gap against cost: the tuned variant of each method if there is one, else the default."""
    groups = finished(result["rows"])
    points = []
    for (method, variant), group in groups.items():
        if variant == "paper" or (variant == "default" and (method, "tuned") in groups):
            continue
        gaps = [row["verdict"]["worst_gap"] for row in group]
        shape = "cross" if group[0]["control"] else "hollow" if reads_forgotten(group[0]) else "filled"
        points.append(
            Point(
                name=method,
                x=statistics.median(shares(result, group, "samples")),
                y=worst(group),
                shape=shape,
                span=(min(gaps), max(gaps)) if len(gaps) > 1 else None,
                contender=shape != "cross",
            )
        )
    forgotten = in_a_line(result["forget"])
    return trade_off(
        points,
        title=f"{result['model']} on {result['data']}, forgetting {forgotten}: distance from retraining against cost",
        description="Each mark is a method: to the left cheaper, lower down nearer to retrained models. "
        "The stairs join the methods that no other beats in both.",
        x_name="samples passed forward and backward, as a share of one retraining",
        y_name="worst of the readings that vote, in bands of the retrained models",
        shapes={
            "filled": "reads no forgotten sample",
            "hollow": "reads forgotten samples",
            "cross": "control, forgets nothing",
        },
        x_limit=(1.0, "one retraining"),
        y_limit=(1.0, "end of the band: below, nothing tells the model from a retrained one"),
    )


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


def _line(result: dict[str, Any], method: str, variant: str, group: Rows) -> str:
    accuracies = [
        [100 * value for row in group if (value := row["primary"][f"accuracy/{part}"]["value"]) is not None]
        for part in (forgotten_part(result), "retain_test")
    ]
    families = [(len(row["verdict"]["families_passed"]), _resolved(row)) for row in group]
    passed = _range([a for a, _ in families], 0) + f" of {max(n for _, n in families)}"
    gaps = [row["verdict"]["worst_gap"] for row in group]
    where = dict.fromkeys(_short(row["verdict"]["worst"]) for row in group)
    read = [row["forget_samples_read"] for row in group]
    cells = [
        _name(method, group),
        variant if len(group) == result["seeds"] else f"{variant}, {len(group)} of {result['seeds']} seeds",
        f"{max(read):,}" if reads_forgotten(group[0]) or max(read) else "no",
        *(_range(values, 1) for values in accuracies),
        passed,
        _range(gaps, 1),
        ", ".join(where),
        *(_range(shares(result, group, unit), 2) for unit in ("seconds", "samples")),
    ]
    return "| " + " | ".join(cells) + " |"


def _short(key: str) -> str:
    """Return the table's name for a reading that has a vote."""
    return SHORT.get(key, key.replace("_", " "))


def _name(method: str, group: Rows) -> str:
    return f"`{method}`" + (" (control)" if group[0]["control"] else "")


def _middle(values: Sequence[float | None]) -> list[float]:
    """Return the median of the known values as text; nothing where none is known."""
    known = [value for value in values if value is not None]
    return [statistics.median(known)] if known else []


def _reference_lines(result: dict[str, Any]) -> list[str]:
    row = next((row for row in result["rows"] if not row["failure"]), None)
    if row is None:
        return []
    found = [row["primary"][f"accuracy/{part}"]["retrained"] for part in (forgotten_part(result), "retain_test")]
    accuracies = " | ".join(_range([100 * value for value in values], 1) for values in found)
    return [f"| {len(found[0])} retrained models | | | {accuracies} | | | | 1 | 1 |"]


def _resolved(row: dict[str, Any]) -> int:
    return len({reading["family"] for reading in row["primary"].values() if reading["status"] != "unknown"})


def _range(values: Sequence[float], digits: int) -> str:
    """Return the median as text, with the lowest and the highest value where they differ."""
    if not values:
        return "-"
    middle, low, high = (f"{v:.{digits}f}" for v in (statistics.median(values), min(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def _voting(groups: dict[tuple[str, str], list[dict[str, Any]]]) -> list[str]:
    """Return the medians of the readings that vote: bold if most runs fail, in brackets if none is judged."""

    def cell(key: str, values: Sequence[float | None]) -> str:
        return _range([value for value in values if value is not None], 0 if key == "relearn_steps" else 2)

    first = next(iter(groups.values()))[0]["primary"]
    keys = list(first)
    lines = [
        "The readings that vote (medians, fractions; depth in log-odds, relearning in steps). "
        "Bold: told from retrained models. In brackets: not judged, as the original itself cannot be told from them.",
        "",
        f"| method | settings | {' | '.join(map(_short, keys))} |",
        "| --- " * (2 + len(keys)) + "|",
        f"| retrained models | | {' | '.join(cell(key, first[key]['retrained']) for key in keys)} |",
    ]
    for (method, variant), group in groups.items():
        cells = []
        for key in keys:
            found = [row["primary"][key] for row in group]
            failed = sum(reading["status"] == "fail" for reading in found)
            text = cell(key, _middle([reading["value"] for reading in found]))
            bold, open_ = 2 * failed > len(found), all(reading["status"] == "unknown" for reading in found)
            cells.append(f"**{text}**" if bold else f"({text})" if open_ else text)
        lines.append(f"| {_name(method, group)} | {variant} | {' | '.join(cells)} |")
    return lines


def _shown(groups: dict[tuple[str, str], list[dict[str, Any]]]) -> list[str]:
    """Return the readings without a vote: medians, with a range for retrained models, and with doubts marked."""
    first = next(iter(groups.values()))[0]["shown"]
    keys = [key for key in SHOWN if key in first]
    doubted: dict[str, None] = {}

    def cell(key: str, values: Sequence[float | None], doubts: Sequence[Doubt]) -> str:
        known = [value for value in values if value is not None]
        doubted.update(dict.fromkeys(f"{SHOWN[key]} ({_named(doubt)})" for doubt in doubts))
        return f"{_range(known, 2)}{MARK if known and doubts else ''}"

    def line(*cells: str) -> str:
        return f"| {' | '.join(cells)} |"

    lines = [
        "What else a full audit reads, without a vote (fractions, not per cent):",
        "",
        line("method", "settings", *(SHOWN[key] for key in keys)),
        "| --- " * (2 + len(keys)) + "|",
        line("retrained models", "", *(cell(k, first[k]["retrained"], _doubts(first[k], "retrained")) for k in keys)),
        line("the original", "", *(cell(k, [first[k]["original"]], _doubts(first[k], "original")) for k in keys)),
    ]
    for (method, variant), group in groups.items():
        if method == "original":
            continue
        found = {key: [row["shown"].get(key, {"value": None}) for row in group] for key in keys}
        middles = {key: _middle([reading["value"] for reading in found[key]]) for key in keys}
        doubts = {key: [doubt for reading in found[key] for doubt in _doubts(reading, "unlearned")] for key in keys}
        cells = (cell(key, middles[key], doubts[key]) for key in keys)
        lines.append(line(_name(method, group), variant, *cells))
    if doubted:
        lines += ["", f"{MARK} in doubt: {', '.join(doubted)}."]
    return lines


def _doubts(values: dict[str, Any], model: str) -> list[Doubt]:
    """Return the doubts about one model's reading, or about those of all retrained models."""
    found = [doubts for name, doubts in values.get("doubts", {}).items() if name.startswith(model)]
    return [read_doubt(doubt, "the results") for doubts in found for doubt in doubts]


def _named(doubt: Doubt) -> str:
    return NAMED[doubt.code].format(**doubt.values) if doubt.code in NAMED else plain(doubt, ENGLISH)


def _tuning(result: dict[str, Any]) -> list[str]:
    lines = [
        f"What {result['trials']} trials chose (score: retained validation accuracy won or lost, less what is left):",
        "",
        "| method | judged by | score as it was | best | settings | samples / retraining's, all trials |",
        "| --- " * 6 + "|",
    ]
    for name, found in result["tuning"].items():
        if found["failure"]:
            continue
        first, best = found["scores"][0], found["scores"][found["best"]]
        cells = [
            f"`{name}`",
            found["signal"],
            "failed" if first is None else f"{first:.3f}",
            f"{best:.3f}",
            ", ".join(found["chosen"]) or "as they were",
            f"{shares(result, [found], 'samples')[0]:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


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
