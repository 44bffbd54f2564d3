"""Turns a finished run folder into a row: the readings that vote, the others, the verdict, the cost and the reads."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from unlearnkit.audit.metrics.registry import METRICS
from unlearnkit.compare.cells import SuiteCell
from unlearnkit.run_dir import MANIFEST, WEIGHTS, read_json, versions

FAMILIES = {vote.key: vote.family for metric in METRICS.values() for vote in metric.votes}


def row_of(folder: Path, cell: SuiteCell, retrained: Sequence[Path]) -> dict[str, Any]:
    """Return the row of a cell.

    Args:
        folder: its run folder, audited.
        cell: what it is.
        retrained: run folders of the retrained models.

    Raises:
        OutputError: a file of a folder is missing or damaged.
    """
    config = read_json(folder, "config.json", "needs", "notes", "runtime", "settings")
    cost = read_json(folder, "cost.json", "total")["total"]
    access = read_json(folder, "access.json", "parts", "forget_samples_read")
    manifest = read_json(folder, MANIFEST, "artefacts", "inputs")
    request = read_json(folder, "request.json", "forget", "already_forgotten")
    return {
        "run": f"cells/{folder.name}",
        "control": cell.method.choice().make().control,
        "needs": config["needs"],
        "settings": config["settings"],
        "forget_names": request["forget"],
        "forgotten_before": request["already_forgotten"],
        "read": {
            part: sum(counts["read_by_method"] or 0 for counts in classes.values())
            for part, classes in access["parts"].items()
        },
        "forget_samples_read": access["forget_samples_read"],
        "doubt": config["notes"].get("doubt"),
        "cost": cost,
        "retraining": [_spent(path) for path in retrained],
        **judged(read_json(folder, "audit.json", "readings", "verdict", "votes")),
        "sha256": {"unlearned": manifest["artefacts"][WEIGHTS], "original": next(iter(manifest["inputs"].values()))},
        "hardware": {
            "device": config["runtime"]["device"],
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "versions": versions(),
    }


def judged(audit: dict[str, Any]) -> dict[str, Any]:
    """Return the readings of an audit that vote, with their judgements, those without a vote, and the verdict.

    Args:
        audit: content of audit.json.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for reading in audit["readings"]:
        key = f"{reading['metric']}/{reading['part']}" if reading["part"] else reading["metric"]
        groups.setdefault(key, []).append(reading)
    primary: dict[str, Any] = {}
    for key in audit["votes"]:
        group = groups.pop(key, [])
        own = next((r for r in group if r["model"] == "unlearned"), None)
        if own is not None and key in FAMILIES:
            primary[key] = {
                "family": FAMILIES[key],
                "status": own["verdict"],
                "gap": own["gap"],
                "band": own["band"],
                **_values(group),
            }
    shown = {key: _values(group) for key, group in groups.items() if not key.startswith("cost")}
    return {"primary": primary, "shown": shown, "verdict": audit["verdict"]}


def _values(group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a reading's value for every model, None where it does not apply, and the doubts about it."""
    single = {name: next((r for r in group if r["model"] == name), None) for name in ("unlearned", "original")}
    doubts = {name: reading["doubts"] for name, reading in single.items() if reading is not None}
    doubts |= {f"retrained-{r['replicate']}": r["doubts"] for r in group if r["model"] == "retrained"}
    return {
        "value": None if single["unlearned"] is None else single["unlearned"]["value"],
        "original": None if single["original"] is None else single["original"]["value"],
        "retrained": [r["value"] for r in group if r["model"] == "retrained"],
        "doubts": {name: found for name, found in doubts.items() if found},
    }


def _spent(folder: Path) -> dict[str, Any]:
    """Return what a retraining cost; no seconds where its operations were counted."""
    cost = read_json(folder, "cost.json", "total")["total"]
    seconds = cost["seconds"] if cost.get("operations") is None else None  # counting operations takes time
    return {"seconds": seconds, **{key: cost[key] for key in ("samples_forward", "samples_backward")}}
