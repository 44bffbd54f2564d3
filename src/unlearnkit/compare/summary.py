"""Sums a suite up in the rows of a small table: a line for each method, the nearest to retraining first."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any

from unlearnkit.compare.groups import SHORT, finished, forgotten_part, shares, values_of, worst
from unlearnkit.compare.tables import heading
from unlearnkit.report.text import number

HEADS = ("method", "A_f %", "A_r %", "gap", "spread", "reading", "samples", "verdicts")
LEGEND = (
    "Medians, and the spread of the gap over the seeds. A_f, A_r: accuracy on what was forgotten and on what was kept; "
    "gap: the farthest reading, in bands of the retrained models; samples: passed, as a share of a retraining's."
)


@dataclass(frozen=True)
class Summary:
    """What was found of one setting and request: what it is, and a row of `HEADS` for each method."""

    heading: str
    rows: list[tuple[str, ...]]


def summaries(results: dict[str, Any]) -> list[Summary]:
    """Return medians over the seeds of each setting and request that has finished runs, with the spread of the gap."""
    groups = ((group, finished(group["rows"])) for group in results["groups"])
    return [
        Summary(heading(group), [_row(group, rows) for rows in _nearest_first(done)]) for group, done in groups if done
    ]


def _nearest_first(done: dict[tuple[str, str], list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    return sorted(done.values(), key=worst)


def _row(group: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[str, ...]:
    gaps = [row["verdict"]["worst_gap"] for row in rows]
    reading, _ = Counter(row["verdict"]["worst"] for row in rows).most_common(1)[0]
    cost = shares(group, rows, "samples")
    return (
        rows[0]["method"],  # a label of its own, whatever its settings
        *(_accuracy(rows, part) for part in (forgotten_part(group), "retain_test")),
        f"{worst(rows):.1f}",
        f"{min(gaps):.1f}-{max(gaps):.1f}" if len(gaps) > 1 else "",
        SHORT.get(reading, reading),
        number(statistics.median(cost)) if cost else "-",
        ", ".join(f"{count} {status}" for status, count in Counter(row["verdict"]["status"] for row in rows).items()),
    )


def _accuracy(rows: list[dict[str, Any]], part: str) -> str:
    values = values_of(rows, f"accuracy/{part}")
    return f"{100 * statistics.median(values):.1f}" if values else "-"
