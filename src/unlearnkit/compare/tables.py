"""Writes the results of a suite as Markdown, LaTeX and Parquet."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unlearnkit.compare.groups import (
    accuracies,
    finished,
    forgotten_part,
    in_a_line,
    shares,
    spread,
    values_of,
    worst,
)
from unlearnkit.compare.markdown_text import as_text, printable
from unlearnkit.compare.method_table import table
from unlearnkit.compare.provenance import measured_with
from unlearnkit.compare.reported import beside, statements

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def heading(group: dict[str, Any]) -> str:
    """Return what a group of rows is about."""
    before = "".join(f", after {in_a_line(earlier)}" for earlier in group["after"])
    return f"{group['model']} on {group['data']}: forget {in_a_line(group['forget'])}{before}"


def markdown(results: dict[str, Any]) -> str:
    """Return a section with the table of each setting and request, what was reported, and the article's statements."""
    suite = results["suite"]
    lines = [f"# {as_text(suite['title'])}", ""]
    if suite["note"]:
        lines += [as_text(suite["note"]), ""]
    if said := measured_with(results):
        lines += [as_text(said), ""]
    for group in results["groups"]:
        lines += [f"## {as_text(heading(group))}", "", table(group, suite["metrics"]), ""]
    rows = beside(results)
    if rows:
        lines += [
            "## Reported and measured",
            "",
            "| row | source | reading | reported | measured | tolerance | within | note |",
            "| --- " * 8 + "|",
        ]
        lines += [
            f"| `{row.id}` | {as_text(row.source)} | {row.reading} | {row.reported:g} | {row.shown} "
            f"| {row.tolerance:g} | {row.holds} | {as_text(row.note)} |"
            for row in rows
        ]
        lines.append("")
    stated = statements(results)
    if stated:
        lines += ["## The article's statements", "", "| statement | outcome | figures |", "| --- " * 3 + "|"]
        lines += [f"| {as_text(each.text)} | {each.outcome} | {as_text(each.figures)} |" for each in stated]
    return "\n".join(lines).rstrip() + "\n"


def latex(results: dict[str, Any]) -> str:
    """Return a tabular for each setting and request: medians over the seeds, with lowest and highest."""
    parts, metrics = [], results["suite"]["metrics"]
    for group in results["groups"]:
        lines = [
            f"% {printable(heading(group))}",
            rf"\begin{{tabular}}{{llrrrr{'r' * len(metrics)}l}}",
            r"\hline",
            " & ".join(
                ["method", "settings", "$A_f$", "$A_r$", "worst gap", "samples", *map(_tex, metrics), r"verdicts \\"]
            ),
            r"\hline",
        ]
        for (method, variant), rows in sorted(finished(group["rows"]).items(), key=lambda item: worst(item[1])):
            cells = [
                _tex(method),
                _tex(variant),
                *(spread(accuracies(rows, part), 1) for part in (forgotten_part(group), "retain_test")),
                spread([row["verdict"]["worst_gap"] for row in rows], 2),
                spread(shares(group, rows, "samples")),
                *(spread(values_of(rows, metric), 2) for metric in metrics),
                _tex(", ".join(dict.fromkeys(row["verdict"]["status"] for row in rows))),
            ]
            lines.append(" & ".join(cells) + r" \\")
        parts.append("\n".join([*lines, r"\hline", r"\end{tabular}"]))
    return "\n\n".join(parts) + "\n"


def parquet(results: dict[str, Any]) -> bytes:
    """Return one row for each cell, with a column for each reading that votes."""
    rows = [_flat(results["name"], group, row) for group in results["groups"] for row in group["rows"]]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{key: row.get(key) for key in columns} for row in rows]), file)
    return file.getvalue()


def _flat(suite: str, group: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {
        "suite": suite,
        "data": group["data"],
        "model": group["model"],
        "forget": group["forget"],
        "after": [", ".join(earlier) for earlier in group["after"]],
        **{key: row[key] for key in ("cell", "method", "variant", "training_seed", "seed", "control", "failure")},
    }
    if row["failure"]:
        return flat
    flat |= {"run": row["run"], "verdict": row["verdict"]["status"], "worst": row["verdict"]["worst"]}
    flat |= {"worst_gap": row["verdict"]["worst_gap"], "forget_samples_read": row["forget_samples_read"]}
    flat |= {key: row["cost"][key] for key in ("seconds", "samples_forward", "samples_backward")}
    flat |= {f"primary/{key}": reading["value"] for key, reading in row["primary"].items()}
    return flat | {f"shown/{key}": reading["value"] for key, reading in row["shown"].items()}


def _tex(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in printable(text))
