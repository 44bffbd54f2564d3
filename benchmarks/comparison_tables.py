"""Makes the tables of docs/comparison.md from the committed results; nothing is run.

    python benchmarks/comparison_tables.py [--write]

Prints the tables, or puts each into the page, between `<!-- table: NAME -->` and `<!-- end of table -->`.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import speed
from unlearnkit.compare.groups import (
    SHORT,
    Rows,
    accuracies,
    in_a_line,
    reading_of,
    reads_forgotten,
    shares,
    spread,
    worst,
)
from unlearnkit.compare.method_table import table
from unlearnkit.disk.json_text import parse_json

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "comparison.md"
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n\n).*?(\n<!-- end of table -->)", re.DOTALL)
ROWS = {  # reading of a request for rows -> its heading, its digits, and what it is multiplied by
    "accuracy/forget_train": ("rows %", 0, 100),
    "membership_auc_rmia": ("RMIA", 2, 1),
    "margin_distance/forget_train": ("margins", 2, 1),
    "accuracy/retain_test": ("A_r %", 0, 100),
}
OWN_COLUMNS = {  # readings of the older full audit that have left the usual tables
    "prototype_recovery/forget_test": "prototypes",
    "fine_tune_recovery/forget_test": "retained alone",
}


def every_method() -> str:
    """Return every method in three settings, one run of each: accuracies, worst gap and cost."""
    found = [*groups("methods-small"), *groups("methods-digits")]
    heads, retrained = ["method", "reads forgotten"], ["retrained models", ""]
    for name, group in zip(("CIFAR-10, airplane", "digits, 3", "digits, odd"), found, strict=True):
        heads += [f"{name}: A_f % / A_r %", "worst gap", "cost"]
        retrained += [accuracy_of_retrained(group), "", "1"]
    lines = [retrained]
    for method in in_order(found[0]):
        cells = named(found[0], method)
        for group in found:
            done = runs(group, method)
            judged = f"{gap(done)} {readings(done)}, {done[0]['verdict']['status']}" if done else "refuses"
            cells += [accuracy(done), judged, cost(group, done)]
        lines.append(cells)
    return drawn(heads, lines)


def field() -> str:
    """Return every method on three originals: medians of its runs, lowest and highest, and how many of them pass."""
    (group,) = groups("field-small")
    heads = ["method", "reads forgotten", "worst gap", "its reading", "passes", "A_f % / A_r %", "samples"]
    lines = [["retrained models", "", "", "", "", accuracy_of_retrained(group), "1"]]
    for method in in_order(group):
        done = runs(group, method)
        cells = [gap(done) or "refuses", readings(done), passes(done), accuracy(done), cost(group, done)]
        lines.append(named(group, method) + cells)
    return drawn(heads, lines)


def default(suites: Sequence[str], others: Sequence[str] = ()) -> str:
    """Return the default beside the article's method in each setting of some suites, and the worst gap of others."""
    heads = ["network, forgotten"]
    for method in ("auto", "unsir"):
        heads += [f"`{method}`: worst gap", "passes", "samples"]
    lines = []
    for group in itertools.chain.from_iterable(map(groups, suites)):
        network = "small transformer" if group["model"].startswith("timm:vit") else f"`{group['model']}`"
        cells = [f"{network}: {in_a_line(group['forget'])}"]
        for method in ("auto", "unsir"):
            done = runs(group, method)
            cells += [gap(done), passes(done), cost(group, done)]
        lines.append(cells + [gap(runs(group, method)) for method in others])
    return drawn([*heads, *(f"`{method}`: worst gap" for method in others)], lines)


def single_rows(suite: str, parts: Sequence[str]) -> str:
    """Return what was found of requests for rows, bold where outside the band.

    Args:
        suite: name of the suite, of one run for each method.
        parts: what each of its requests is called in a heading.
    """
    found = groups(suite)
    heads, retrained = ["method"], ["retrained models"]
    for part, group in zip(parts, found, strict=True):
        heads += [f"{head}{part}" for head in (*(head for head, _, _ in ROWS.values()), "verdict")]
        known = first_run(group)["primary"]
        for key, (_, digits, times) in ROWS.items():
            retrained.append(spread([times * value for value in known[key]["retrained"]], digits))
        retrained.append("")
    lines = [retrained]
    for method in in_order(found[0]):
        name, _ = named(found[0], method)
        lines.append([name, *(cell for group in found for cell in judged_rows(runs(group, method)))])
    return drawn(heads, lines)


def judged_rows(done: Rows) -> list[str]:
    """Return the cells of a run that forgot rows."""
    if not done:
        return [*[""] * len(ROWS), "refuses"]
    (row,) = done
    cells = []
    for key, (_, digits, times) in ROWS.items():
        text = f"{times * row['primary'][key]['value']:.{digits}f}"
        cells.append(f"**{text}**" if row["primary"][key]["status"] == "fail" else text)
    return [*cells, row["verdict"]["status"]]


def older(name: str) -> str:
    """Return the tables of a comparison that an earlier version judged, as `unlearnkit compare` writes them."""
    result = results(f"compare_methods-cifar10-{name}.json")
    own = [metric for metric in OWN_COLUMNS if reading_of(first_run(result), metric)]
    text = table(result, own)
    for metric in own:
        text = text.replace(metric.replace("_", " "), OWN_COLUMNS[metric])
    return text + "\n"


def beside_other_ways() -> str:
    """Return what forgetting costs beside other ways, as benchmarks/speed.py prints it."""
    lines = speed.markdown(results("speed.json"))
    return "\n".join(lines[: lines.index("")]) + "\n"


TABLES: dict[str, Callable[[], str]] = {
    "every-method": every_method,
    "field": field,
    "default": partial(default, ["default-small"]),
    "default-digits": partial(default, ["default-digits", "vit-small"], ["erase", "ct"]),
    "speed": beside_other_ways,
    "full-width": partial(older, "fast"),
    "resnet18": partial(older, "resnet18"),
    "rows": partial(single_rows, "rows-small", [", 10 %", ", 1 %"]),
    "subclass": partial(single_rows, "subclass-small", [""]),
}


def results(name: str) -> dict[str, Any]:
    found: dict[str, Any] = parse_json((RESULTS / name).read_bytes())
    return found


def groups(suite: str) -> list[dict[str, Any]]:
    """Return the settings and requests of a suite."""
    found: list[dict[str, Any]] = results(f"suites/{suite}/results.json")["groups"]
    return found


def runs(group: dict[str, Any], method: str) -> list[dict[str, Any]]:
    """Return the rows of a method that did not fail."""
    return [row for row in group["rows"] if row["method"] == method and not row["failure"]]


def first_run(group: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in group["rows"] if not row["failure"])


def in_order(group: dict[str, Any]) -> list[str]:
    """Return the methods from the nearest to retraining to the farthest, then the controls; last what refuses."""
    controls = {row["method"]: bool(row["control"]) for row in group["rows"]}

    def place(method: str) -> tuple[bool, bool, float]:
        done = runs(group, method)
        return not done, controls[method], worst(done) if done else 0.0

    return sorted(controls, key=place)


def named(group: dict[str, Any], method: str) -> list[str]:
    """Return a method's name, with what there is to say of all its runs, and whether it reads forgotten samples."""
    rows = [row for row in group["rows"] if row["method"] == method]
    done = len(runs(group, method))
    some = f" ({done} of {len(rows)} runs)" if 0 < done < len(rows) else ""
    control = " (control)" if rows[0]["control"] else ""
    return [f"`{method}`{control}{some}", "yes" if reads_forgotten(rows[0]) else "no"]


def gap(rows: Rows) -> str:
    return spread([row["verdict"]["worst_gap"] for row in rows], 1) if rows else ""


def readings(rows: Rows) -> str:
    """Return which readings are farthest, the most frequent first."""
    counts = Counter(row["verdict"]["worst"] for row in rows)
    return ", ".join(SHORT[reading] for reading, _ in counts.most_common())


def passes(rows: Rows) -> str:
    return f"{sum(row['verdict']['status'] == 'pass' for row in rows)} of {len(rows)}" if rows else ""


def accuracy(rows: Rows) -> str:
    return both(accuracies(rows, "forget_test"), accuracies(rows, "retain_test")) if rows else ""


def accuracy_of_retrained(group: dict[str, Any]) -> str:
    known = first_run(group)["primary"]
    shown = (known[f"accuracy/{part}"]["retrained"] for part in ("forget_test", "retain_test"))
    return both(*([100 * value for value in values] for values in shown))


def both(forgotten: Sequence[float], kept: Sequence[float]) -> str:
    return f"{spread(forgotten, 0)} / {spread(kept, 1)}"


def cost(group: dict[str, Any], rows: Rows) -> str:
    return spread(shares(group, rows, "samples")) if rows else ""


def drawn(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head, *rest = (f"| {' | '.join(line)} |" for line in (heads, *lines))
    return "\n".join([head, "| --- " * len(heads) + "|", *rest]) + "\n"


def renewed(page: str) -> str:
    """Return the page with every marked table made from the results."""
    return MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], page)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    if parser.parse_args().write:
        PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n".join(made() for made in TABLES.values()), end="")
