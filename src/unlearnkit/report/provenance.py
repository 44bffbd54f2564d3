"""Where the result comes from: tables of readings, request, settings, machine, hashes, counts and the command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unlearnkit.report import words
from unlearnkit.report.facts import Run, label_of
from unlearnkit.report.text import isolated, listed, memory, quantity, span

ABSENT = "not recorded"
REPORT = "report.html"  # its own hash cannot stand in it


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table of readings, as text; `number` and `width` (of the interval) are what it is sorted by."""

    part: str
    model: str
    kind: str
    value: str
    interval: str
    target: str
    doubts: tuple[str, ...]
    number: str
    width: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """All readings of one metric."""

    title: str
    gloss: str
    lines: list[Line]


def readings(run: Run) -> list[Group]:
    """The readings by metric, in the order of audit.json."""
    groups: dict[str, Group] = {}
    for row in run.rows:
        title, gloss = words.METRICS.get(row.metric, (row.metric.replace("_", " ").capitalize(), ""))
        shown = quantity(row.value, row.unit)
        groups.setdefault(row.metric, Group(title=title, gloss=gloss, lines=[])).lines.append(
            Line(
                part=words.PARTS.get(row.part, row.part) if row.part else "",
                model=label_of(row, run.replicates),
                kind=row.model,
                value=f"> {shown}" if row.censored else shown,
                interval=span(row.interval, row.unit),
                target=words.TARGETS.get(row.target, row.target),
                doubts=row.doubts,
                number="" if row.value is None else repr(row.value),
                width="" if row.interval is None else repr(row.interval[1] - row.interval[0]),
            )
        )
    return list(groups.values())


def sections(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Titled lists of name and value."""
    config, manifest = run.config, run.manifest
    request = [
        ("classes to forget", listed([*map(isolated, run.forgotten)]) or ABSENT),
        ("their ids", _said(run.request.get("forget_ids"))),
        ("forgotten earlier", listed([*map(isolated, run.earlier)]) or "none"),
        ("classes of the model", _said(len(run.request.get("classes") or ()) or None)),
    ]
    model = [
        ("architecture", _said(config.get("model"))),
        ("weights before", _said(config.get("weights"))),
        *([("weights after", _said(config["unlearned"]))] if "unlearned" in config else []),
        ("data", _said(config.get("data"))),
        *_personal(run),
        ("input shape", _said(config.get("shape"))),
        ("mean, std", f"{_said(config.get('mean'))}, {_said(config.get('std'))}"),
    ]
    versions = manifest.get("versions") or {}
    machine = [
        ("made at", _said(manifest.get("created"))),
        ("device", _said(manifest.get("device"))),
        ("precision", _said(config.get("precision"))),
        ("seed", _said(manifest.get("seed", config.get("seed")))),
        *([("seed of the audit", _said(run.audit.get("seed")))] if run.audit is not None else []),
        *((name, str(version)) for name, version in versions.items()),
    ]
    found = [("Request", request), ("Model and data", model), ("Machine and versions", machine)]
    if run.kind == "forget":
        method = [
            ("method", _said(config.get("method"))),
            ("data it may read", listed([words.PARTS.get(p, p) for p in config.get("needs") or ()]) or "none"),
            *_flat(config.get("settings") or {}),
        ]
        found.insert(1, ("Method and settings", method))
    if config.get("notes"):
        found.append(("Notes of the method", _flat(config["notes"])))
    return found


def hashes(run: Run) -> list[tuple[str, str, str]]:
    """(what, file, sha256) of the input weights, the retrained models and the artefacts."""
    inputs = [("input", str(path), str(digest)) for path, digest in (run.manifest.get("inputs") or {}).items()]
    references = (run.audit or {}).get("retrained") or ()
    compared = [("retrained", str(r.get("path", ABSENT)), str(r.get("sha256", ABSENT))) for r in references]
    artefacts = run.manifest.get("artefacts") or {}
    made = [("artefact", str(name), str(digest)) for name, digest in artefacts.items() if name != REPORT]
    return inputs + compared + made


def command(run: Run) -> str:
    """Return the command that made the folder, quoted for a shell."""
    given = run.manifest.get("command") or ()
    return shlex.join(str(word) for word in given) if given else ABSENT


def access(run: Run) -> list[tuple[str, list[str], list[tuple[str, list[str]]]]]:
    """Per part its name, its totals, and the same per class: samples, read by method, read by audit, decoded."""
    keys = ("samples", "read_by_method", "read_by_audit", "decoded")
    found = []
    for part, classes in (run.access.get("parts") or {}).items():
        if not classes:
            continue
        rows = [(str(name), [_count(run, key, counts.get(key)) for key in keys]) for name, counts in classes.items()]
        sums = [_count(run, key, _sum([counts.get(key) for counts in classes.values()])) for key in keys]
        found.append((words.PARTS.get(part, part), sums, rows))
    return found


def stages(run: Run) -> list[list[str]]:
    """Rows of the cost: stage, seconds, samples forward, samples backward, peak memory."""
    cost = run.cost or {}
    rows = [*(cost.get("stages") or {}).items(), *([(words.TOTAL, cost["total"])] if "total" in cost else [])]
    return [
        [
            str(name),
            quantity(spent.get("seconds"), "seconds"),
            *(f"{spent[key]:,}" if key in spent else ABSENT for key in ("samples_forward", "samples_backward")),
            memory(spent["peak_memory_bytes"]) if spent.get("peak_memory_bytes") else ABSENT,
        ]
        for name, spent in rows
    ]


def _personal(run: Run) -> list[tuple[str, str]]:
    said = run.pictures
    if said is None:
        return []
    return [(words.PERSONAL, _said(said.get("personal"))), (words.INCLUDED, _said(said.get("include_images")))]


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _count(run: Run, key: str, count: int | None) -> str:
    if count is None or (key == "read_by_method" and run.kind != "forget"):
        return "unknown"
    return f"{count:,}"


def _said(value: Any) -> str:
    match value:
        case None:
            return ABSENT
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case Mapping():
            return ", ".join(f"{key} {_said(item)}" for key, item in value.items())
        case list():
            return ", ".join(_said(item) for item in value) or "none"
        case _:
            return str(value)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            rows += [(f"{prefix}{name} {i + 1}", _said(item)) for i, item in enumerate(value)]
        else:
            rows.append((f"{prefix}{name}", "none" if value is None else _said(value)))
    return rows
