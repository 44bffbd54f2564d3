"""Collects the cells of a suite, and writes them as JSON, Parquet, Markdown, LaTeX and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unlearnkit.compare.cells import SuiteCell, cells_of, suite_record
from unlearnkit.compare.groups import SHOWN
from unlearnkit.compare.leaderboard import leaderboard
from unlearnkit.compare.provenance import measured_by
from unlearnkit.compare.suite import Suite
from unlearnkit.compare.tables import latex, markdown, parquet
from unlearnkit.compare.work import Place, kept
from unlearnkit.disk.files import read_regular, replace_file
from unlearnkit.disk.json_text import parse_json
from unlearnkit.errors import ConfigError, reason
from unlearnkit.request import CLASSES
from unlearnkit.run_dir import encoded

RESULTS, PAGE = "results.json", "index.html"
LEFT_OUT = ("read", "settings", "sha256", "hardware", "versions")  # of a row, as the cell's own file has them


def collected(name: str, suite: Suite, place: Place) -> dict[str, Any]:
    """Return the results of a suite: its cells in groups of one setting and request, those not run yet included.

    Args:
        name, suite: which suite.
        place: where its cells lie.
    """
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    finished = []
    for cell in cells_of(suite):
        content = kept(place, cell)
        key = (cell.setting.model_dump_json(exclude={"requests"}), cell.request.model_dump_json())
        group = groups.setdefault(key, _group(suite, cell))
        row = _row(suite, cell, content)
        group["rows"].append(row)
        if content is not None and not row["failure"]:
            group["retraining"] = content["retraining"]
            finished.append(content)
    return {
        "benchmark": "suite",
        "name": name,
        "suite": suite_record(suite),
        "measured": measured_by(finished),
        "groups": list(groups.values()),
    }


def draw(results: dict[str, Any], folder: Path) -> None:
    """Write results, tables and page to a folder.

    Raises:
        OSError: it cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / RESULTS, encoded(results))
    _draw_tables(results, folder)


def redraw(path: Path) -> dict[str, Any]:
    """Write tables and page again from results that are there, which stay as they are, without any run.

    Args:
        path: results.json, or the folder that it lies in.

    Raises:
        ConfigError: it holds no results of a suite.
    """
    path = path / RESULTS if path.is_dir() else path
    try:
        results: dict[str, Any] = parse_json(read_regular(path))
        if not isinstance(results, dict) or results.get("benchmark") != "suite":
            raise ValueError("the file holds something else")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Expected results of a suite in {path}, but they cannot be read ({reason(error)}); name the results.json "
            "that `unlearnkit compare SUITE --out DIR` wrote in DIR/suites."
        ) from error
    _draw_tables(results, path.parent)
    return results


def redraw_all(path: Path) -> None:
    """Write the tables and the page of one suite again, or of all suites in the folders of a folder.

    Args:
        path: results.json, the folder that it lies in, or the folder of such folders.

    Raises:
        ConfigError: there are no results of a suite.
    """
    several = sorted(found.parent for found in path.glob(f"*/{RESULTS}")) if not (path / RESULTS).exists() else []
    for folder in several or [path]:
        redraw(folder)


def _draw_tables(results: dict[str, Any], folder: Path) -> None:
    files: dict[str, bytes] = {
        "results.parquet": parquet(results),
        "results.md": markdown(results).encode(),
        "results.tex": latex(results).encode(),
        PAGE: leaderboard(results, folder).encode(),
    }
    for name, content in files.items():
        replace_file(folder / name, content)


def _group(suite: Suite, cell: SuiteCell) -> dict[str, Any]:
    return {
        "data": cell.setting.data,
        "model": cell.setting.model,
        "recipe": list(cell.setting.recipe),
        "pretrained": cell.setting.pretrained,
        "image_size": cell.setting.image_size,
        "samples": cell.setting.samples,
        "label_column": cell.setting.label_column,
        "forget": list(cell.request.named),
        "part": "forget_test" if cell.request.kinds <= CLASSES else "forget_train",
        "after": [[str(name) for name in earlier] for earlier in cell.request.after],
        "seeds": len(suite.training_seeds) * len(suite.unlearning_seeds),
        "trials": max(method.trials for method in suite.methods),
        "tuning": {},
        "retraining": [],
        "rows": [],
    }


def _row(suite: Suite, cell: SuiteCell, content: dict[str, Any] | None) -> dict[str, Any]:
    """Return a row as the tables read it; what was not run has a reason for a failure."""
    method = cell.method
    row: dict[str, Any] = {
        "cell": cell.name,
        "method": method.shown,
        "variant": method.variant,
        "training_seed": cell.training_seed,
        "seed": f"{cell.training_seed}/{cell.seed}",
        "control": method.choice().make().control,
        "needs": sorted(part.value for part in method.choice().make().needs),
        "failure": "not run yet",
    }
    if content is None:
        return row
    row |= {key: value for key, value in content.items() if key not in ("cell", "retraining", *LEFT_OUT)}
    if "shown" in row:
        asked = set(suite.metrics)
        row["shown"] = {
            key: reading
            for key, reading in row["shown"].items()
            if key in SHOWN or asked & {key, key.partition("/")[0]}
        }
    return row
