"""Makes the page of a suite: one HTML file that needs no other, with a table to sort, pictures, and reported rows."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from unlearnkit.compare.groups import SHORT, finished, forgotten_part, in_a_line, shares, value_of, worst
from unlearnkit.compare.picture import picture
from unlearnkit.compare.provenance import measured_with
from unlearnkit.compare.reported import beside, statements
from unlearnkit.report.sentences import plain, read_doubt
from unlearnkit.report.text import clean, number
from unlearnkit.report.words import ENGLISH

HEADS = (  # of the table of runs, and whether numbers stand below
    ("Model, data: classes", False),
    ("Method", False),
    ("Settings", False),
    ("Seeds", False),
    ("Verdict", False),
    ("Worst gap", True),
    ("Where", False),
    ("Forgotten %", True),
    ("Retained %", True),
    ("Forgotten samples read", True),
    ("Seconds", True),
    ("Samples / retraining's", True),
)
UP = "../../"  # from the suite's folder to that of the cells


def leaderboard(results: dict[str, Any], folder: Path) -> str:
    """Return the page.

    Args:
        results: as `collected` returns them.
        folder: that the page will lie in: runs whose report lies beside it, in `cells`, get a link.
    """
    page = Environment(
        loader=ChoiceLoader([PackageLoader("unlearnkit.compare", "."), PackageLoader("unlearnkit.report", ".")]),
        autoescape=True,
        finalize=lambda value: clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = resources.files("unlearnkit.report").joinpath("page.js").read_text(encoding="utf-8")
    metrics = results["suite"]["metrics"]
    rows = [row for group in results["groups"] for row in _rows(group, metrics, folder)]
    linked = any(row["report"] for row in rows)
    return page.get_template("leaderboard.html.j2").render(
        results=results,
        suite=results["suite"],
        rows=rows,
        measured=measured_with(results),
        linked=linked,
        heads=[*HEADS, *((metric, True) for metric in metrics), *([("Report", False)] if linked else [])],
        failed=[
            {"group": _where(group), "method": row["method"], "seed": row["seed"], "why": row["failure"]}
            for group in results["groups"]
            for row in group["rows"]
            if row["failure"]
        ],
        warned=[
            {"group": _where(group), "method": row["method"], "seed": row["seed"], "why": _doubt(row["doubt"])}
            for group in results["groups"]
            for row in group["rows"]
            if row.get("doubt") and row["verdict"]["status"] not in ("pass", "fail")
        ],
        pictures=[(_where(group), _image(picture(group))) for group in results["groups"] if finished(group["rows"])],
        beside=beside(results),
        statements=statements(results),
        script=Markup(script),  # nosec B704  # our own file; the page's policy lets nothing run that has another hash
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
    )


def _rows(group: dict[str, Any], metrics: list[str], folder: Path) -> list[dict[str, Any]]:
    """Return what the table shows of every finished run, the nearest to retraining first."""
    rows = []
    for (method, variant), runs in sorted(finished(group["rows"]).items(), key=lambda item: worst(item[1])):
        for run in sorted(runs, key=lambda each: each["verdict"]["worst_gap"]):
            report = f"{UP}{run['run']}/report.html"
            spent = run["cost"]["samples_forward"] + run["cost"]["samples_backward"]
            rows.append(
                {
                    "where": _where(group),
                    "method": method,
                    "variant": variant,
                    "seed": run["seed"],
                    "control": run["control"],
                    "reads": run["forget_samples_read"],
                    "verdict": run["verdict"]["status"],
                    "worst": SHORT.get(run["verdict"]["worst"], run["verdict"]["worst"]),
                    "gap": _number(run["verdict"]["worst_gap"]),
                    "forgotten": _number(run["primary"][f"accuracy/{forgotten_part(group)}"]["value"], 100),
                    "retained": _number(run["primary"]["accuracy/retain_test"]["value"], 100),
                    "seconds": _number(run["cost"]["seconds"]),
                    "share": _number(shares(group, [run], "samples")[0]) if spent else ("0", "0"),
                    "metrics": [_number(value_of(run, metric)) for metric in metrics],
                    "report": report if (folder / report).is_file() else None,
                }
            )
    return rows


def _doubt(raw: dict[str, Any]) -> str:
    """Return why the method itself doubts that the class is gone."""
    return plain(read_doubt(raw, "the results"), ENGLISH)


def _where(group: dict[str, Any]) -> str:
    before = "".join(f"{in_a_line(earlier)}, then " for earlier in group["after"])
    return f"{group['model']}, {group['data']}: {before}{in_a_line(group['forget'])}"


def _number(value: float | None, scale: float = 1.0) -> tuple[str, str]:
    """Return a number as it is shown, and as it is sorted by; what is unknown is sorted last."""
    return ("unknown", "") if value is None else (number(scale * value), repr(scale * float(value)))


def _image(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode('ascii')}"
