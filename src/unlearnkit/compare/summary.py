"""Sums a suite up in the rows of a small table: a line for each method, the nearest to retraining first."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import Any

from unlearnkit.compare.groups import SHORT, accuracies, finished, forgotten_part, shares, worst
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
        Summary(heading(group), [_row(group, rows) for rows in sorted(done.values(), key=worst)])
        for group, done in groups
        if done
    ]


def _row(group: dict[str, Any], rows: list[dict[str, Any]]) -> tuple[str, ...]:
    gaps = [row["verdict"]["worst_gap"] for row in rows]
    reading, _ = Counter(row["verdict"]["worst"] for row in rows).most_common(1)[0]
    right = (accuracies(rows, part) for part in (forgotten_part(group), "retain_test"))
    cost = shares(group, rows, "samples")
    return (
        rows[0]["method"],  # a label of its own, whatever its settings
        *(f"{statistics.median(values):.1f}" if values else "-" for values in right),
        f"{worst(rows):.1f}",
        f"{min(gaps):.1f}-{max(gaps):.1f}" if len(gaps) > 1 else "",
        SHORT.get(reading, reading),
        number(statistics.median(cost)) if cost else "-",
        ", ".join(f"{count} {status}" for status, count in Counter(row["verdict"]["status"] for row in rows).items()),
    )
