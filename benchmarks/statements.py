"""Says of every statement of the article whether it held in the committed suites, setting by setting.

    python benchmarks/statements.py

Prints the table of docs/compare.md, from results/suites/*/results.json; nothing is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearnkit.compare.reported import statements
from unlearnkit.disk.json_text import parse_json

SUITES = Path(__file__).parent / "results" / "suites"
OF = ("cifar10-small", "cifar100-small", "faces-small", "vit-small", "sequential-small", "digits", "methods-small")
DEEPER = ("methods-small", "digits")  # whose audits read relearning, which the quick ones of the others leave out
NEED_DEPTH = ("relearning",)


def table() -> str:
    """Return the table as Markdown, one line for each statement."""
    lines = ["| statement | outcome | figures |", "| --- | --- | --- |"]
    told, deeper = (statements({"groups": merged(names)}) for names in (OF, DEEPER))
    for each, deep in zip(told, deeper, strict=True):
        found = deep if each.id in NEED_DEPTH else each
        figures = found.figures.replace("parquet:{data}/", "").replace("; ", "<br>")
        lines.append(f"| {found.text} | {found.outcome} | {figures} |")
    return "\n".join(lines) + "\n"


def merged(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the settings and requests of some suites, with the rows of a method from the first that has it."""
    groups: dict[str, dict[str, Any]] = {}
    for name in names:
        file = SUITES / name / "results.json"
        for group in parse_json(file.read_bytes())["groups"] if file.is_file() else ():
            key = str([group[of] for of in ("data", "model", "recipe", "forget", "after")])
            known = groups.setdefault(key, group | {"rows": []})
            there = {row["method"] for row in known["rows"]}  # of an earlier suite, which may set it otherwise
            known["rows"] += [row for row in group["rows"] if row["method"] not in there]
    return list(groups.values())


if __name__ == "__main__":
    print(table(), end="")
