"""Says of every statement of the article whether it held in the committed suites, setting by setting.

    python benchmarks/statements.py

Prints the table of docs/compare.md, from results/suites/*/results.json; nothing is run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unlearnkit.compare.reported import statements
from unlearnkit.disk.json_text import parse_json

SUITES = Path(__file__).parent / "results" / "suites"
OF = ("cifar10-small", "cifar100-small", "faces-small", "vit-small", "sequential-small", "digits", "methods-small")


def table() -> str:
    """Return the table as Markdown, one line for each statement."""
    groups: dict[str, dict[str, Any]] = {}
    for name in OF:
        file = SUITES / name / "results.json"
        for group in parse_json(file.read_bytes())["groups"] if file.is_file() else ():
            key = str([group[of] for of in ("data", "model", "recipe", "forget", "after")])
            known = groups.setdefault(key, group | {"rows": []})
            there = {row["method"] for row in known["rows"]}  # of an earlier suite, which may set it otherwise
            known["rows"] += [row for row in group["rows"] if row["method"] not in there]
    lines = ["| statement | outcome | figures |", "| --- | --- | --- |"]
    for each in statements({"groups": list(groups.values())}):
        figures = each.figures.replace("parquet:{data}/", "").replace("; ", "<br>")
        lines.append(f"| {each.text} | {each.outcome} | {figures} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")
