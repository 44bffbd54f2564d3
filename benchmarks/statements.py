"""Says of every statement of the article whether it held in the committed suites, setting by setting.

    python benchmarks/statements.py [--write]

Prints the table of docs/compare.md, from results/suites/*/results.json and two older comparisons, or puts it into the
page; nothing is run.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearnkit.compare.reported import statements
from unlearnkit.disk.json_text import parse_json

SUITES = Path(__file__).parent / "results" / "suites"
PAGE = Path(__file__).parents[1] / "docs" / "compare.md"
USUAL = (
    "cifar10-small",
    "resnet18-small",
    "allcnn-small",
    "cifar100-small",
    "cifar100-resnet18-small",
    "cifar100-mobilenet-small",
    "faces-small",
    "vit-small",
    "sequential-small",
    "digits",
    "methods-small",
)
# UNSIR as it comes; cifar10-small, which forgets several classes, reads a twentieth of the data
AS_IT_COMES = (
    "field-small",
    "default-small",
    "default-networks-small",
    "resnet18-small",
    "allcnn-small",
    "cifar100-small",
    "cifar100-resnet18-small",
    "cifar100-mobilenet-small",
    "faces-small",
    "vit-small",
    "digits",
    "mobilenet-small",
)
OF = {  # statement -> suites
    "weight-distance": AS_IT_COMES,
    "spread": AS_IT_COMES,
    "relearning": ("methods-small", "digits"),  # whose audits read it, which the quick ones of the others leave out
}
# Longer trainings, 16 and 6 passes at 32 pixels, of which the original is known again sooner than a retrained model
OLDER = {"relearning": ("compare_methods-cifar10-fast", "compare_methods-cifar10-airbench16")}


def table() -> str:
    """Return the table as Markdown, one line for each statement."""
    lines = ["| statement | outcome | figures |", "| --- | --- | --- |"]
    for usual in statements({"groups": merged(USUAL)}):
        found = usual
        if usual.id in OF:
            groups = [*merged(OF[usual.id]), *map(older, OLDER.get(usual.id, ()))]
            (found,) = (each for each in statements({"groups": groups}) if each.id == usual.id)
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


def older(name: str) -> dict[str, Any]:
    """Return a comparison that an earlier program made as a setting of a suite: its methods as they come."""
    result = parse_json((SUITES.parent / f"{name}.json").read_bytes())
    rows = [{"shown": {}} | row for row in result["rows"] if row["variant"] == "default"]
    data = f"{result['data']}, {name}.json"
    return {
        "model": result["model"],
        "data": data,
        "forget": result["forget"],
        "after": [],
        "retraining": [],
        "rows": rows,
    }


def renewed(page: str) -> str:
    """Return the page with the table made from the results."""
    return re.sub(r"(?m)^\| statement \| outcome \|.*\n(\|.*\n)*", lambda _: table(), page)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    if parser.parse_args().write:
        PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table(), end="")
