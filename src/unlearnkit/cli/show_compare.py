"""Prints the table of a suite on standard output: a line for each method, the nearest to retraining first."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearnkit.compare.groups import SHORT, finished, forgotten_part, shares, values_of, worst
from unlearnkit.compare.tables import heading
from unlearnkit.report.text import number
from unlearnkit.runtime.terminal import escaped

LEGEND = (
    "Medians, and the spread of the gap over the seeds. A_f, A_r: accuracy on what was forgotten and on what was kept; "
    "gap: the farthest reading, in bands of the retrained models; samples: passed, as a share of a retraining's."
)


def show_suite(results: dict[str, Any]) -> None:
    """Print medians over the seeds for each setting and request, with the lowest and the highest gap."""
    console = Console(highlight=False)
    for group in results["groups"]:
        done = finished(group["rows"])
        if not done:
            continue
        console.print(_text(heading(group)), soft_wrap=True)
        table = Table(box=None, padding=(0, 1), pad_edge=False)
        table.add_column("method", overflow="fold", min_width=12)
        for title in ("A_f %", "A_r %", "gap", "spread"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("reading", min_width=7)
        for title in ("samples", "verdicts"):
            table.add_column(title, justify="right", no_wrap=True)
        for (method, _), rows in sorted(done.items(), key=lambda item: worst(item[1])):
            gaps = [row["verdict"]["worst_gap"] for row in rows]
            reading, _ = Counter(row["verdict"]["worst"] for row in rows).most_common(1)[0]
            verdicts = Counter(row["verdict"]["status"] for row in rows)
            table.add_row(
                _text(method),  # a label of its own, whatever its settings
                *(_accuracy(rows, part) for part in (forgotten_part(group), "retain_test")),
                f"{worst(rows):.1f}",
                f"{min(gaps):.1f}-{max(gaps):.1f}" if len(gaps) > 1 else "",
                _text(SHORT.get(reading, reading)),
                number(statistics.median(shares(group, rows, "samples"))),
                ", ".join(f"{count} {status}" for status, count in verdicts.items()),
            )
        console.print(table)
    console.print(LEGEND, soft_wrap=True)


def _accuracy(rows: list[dict[str, Any]], part: str) -> str:
    values = values_of(rows, f"accuracy/{part}")
    return f"{100 * statistics.median(values):.1f}" if values else "-"


def _text(text: str) -> Text:
    return Text(escaped(text))
