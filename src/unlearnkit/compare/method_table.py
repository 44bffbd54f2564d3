"""Writes a comparison as a Markdown table: a line for each method, then the readings, and what tuning chose."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from unlearnkit.compare.groups import (
    SHORT,
    SHOWN,
    Rows,
    accuracies,
    finished,
    forgotten_part,
    reading_of,
    reads_forgotten,
    shares,
    spread,
    values_of,
    worst,
)
from unlearnkit.compare.markdown_text import as_text
from unlearnkit.report.sentences import Doubt, plain, read_doubt
from unlearnkit.report.words import ENGLISH

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


def table(result: dict[str, Any], metrics: Sequence[str] = ()) -> str:
    """Return a Markdown table with a line for each method and variant.

    The nearest to retraining comes first, and the controls last.

    Medians over the seeds, with lowest and highest; then what could not be run, the readings that vote, what full
    audits read besides, and what tuning chose.

    Args:
        result: of one setting and request.
        metrics: readings that get a column of their own.
    """
    heads = [
        *("method", "settings", "reads forgotten data", "A_f %", "A_r %", "families passed", "worst gap", "where"),
        *("seconds / retraining's", "samples / retraining's"),
        *(metric.replace("_", " ") for metric in metrics),
    ]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|", *_reference_lines(result, metrics)]
    done = finished(result["rows"])
    order = sorted(done, key=lambda key: (done[key][0]["control"], worst(done[key])))
    lines += [_line(result, *key, done[key], metrics) for key in order]
    failed = [row for row in result["rows"] if row["failure"]]
    if failed:
        lines += ["", "Not run:", ""]
        seeds: dict[tuple[str, str, str], list[int]] = {}
        for row in failed:
            seeds.setdefault((row["method"], row["variant"], row["failure"]), []).append(row["seed"])
        for (method, variant, failure), missing in seeds.items():
            which = "" if len(missing) == result["seeds"] else f", seed {', '.join(map(str, missing))}"
            lines.append(f"- `{method}`, {variant}{which}: {as_text(failure)}")
    if done:
        lines += ["", *_voting({key: done[key] for key in order})]
    audited = {key: group for key in order if (group := [row for row in done[key] if in_full(row)])}
    if audited:
        lines += ["", *_shown(audited)]
    if result["tuning"]:
        lines += ["", *_tuning(result)]
    return "\n".join(lines)


def in_full(row: dict[str, Any]) -> bool:
    """Return whether the row's audit was a full one, not one of the primary readings alone."""
    shown: dict[str, Any] = row.get("shown", {})
    return "few_shot_recovery/forget_test" in shown


def _line(result: dict[str, Any], method: str, variant: str, group: Rows, metrics: Sequence[str]) -> str:
    families = [(len(row["verdict"]["families_passed"]), _resolved(row)) for row in group]
    passed = spread([a for a, _ in families], 0) + f" of {max(n for _, n in families)}"
    gaps = [row["verdict"]["worst_gap"] for row in group]
    where = dict.fromkeys(_short(row["verdict"]["worst"]) for row in group)
    read = [row["forget_samples_read"] for row in group]
    cells = [
        _name(method, group),
        variant if len(group) == result["seeds"] else f"{variant}, {len(group)} of {result['seeds']} seeds",
        f"{max(read):,}" if reads_forgotten(group[0]) or max(read) else "no",
        *(spread(accuracies(group, part), 1) for part in (forgotten_part(result), "retain_test")),
        passed,
        spread(gaps, 1),
        ", ".join(where),
        *(spread(shares(result, group, unit)) for unit in ("seconds", "samples")),
        *(spread(values_of(group, metric), 2) for metric in metrics),
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


def _reference_lines(result: dict[str, Any], metrics: Sequence[str]) -> list[str]:
    row = next((row for row in result["rows"] if not row["failure"]), None)
    if row is None:
        return []
    found = [row["primary"][f"accuracy/{part}"]["retrained"] for part in (forgotten_part(result), "retain_test")]
    right = (spread([100 * value for value in values if value is not None], 1) for values in found)
    readings = (reading_of(row, metric) or {"retrained": ()} for metric in metrics)
    more = [spread([value for value in reading["retrained"] if value is not None], 2) for reading in readings]
    cells = [f"{len(found[0])} retrained models", "", "", *right, "", "", "", "1", "1", *more]
    return ["|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"]


def _resolved(row: dict[str, Any]) -> int:
    return len({reading["family"] for reading in row["primary"].values() if reading["status"] != "unknown"})


def _voting(groups: dict[tuple[str, str], list[dict[str, Any]]]) -> list[str]:
    """Return the medians of the readings that vote: bold if most runs fail, in brackets if none is judged."""

    def cell(key: str, values: Sequence[float | None]) -> str:
        return spread([value for value in values if value is not None], 0 if key == "relearn_steps" else 2)

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
        return f"{spread(known, 2)}{MARK if known and doubts else ''}"

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
