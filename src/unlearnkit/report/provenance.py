"""Makes the tables on where a result comes from: readings, request, settings, machine, hashes, counts, command."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from unlearnkit.report.facts import Run, label_of
from unlearnkit.report.request import pictures_asked
from unlearnkit.report.sentences import in_flop, marked, title_of
from unlearnkit.report.text import isolated, listed, memory, quantity, span
from unlearnkit.report.words import Words

REPORT = "report.html"  # its own hash cannot stand in it
PICTURES = ("personal", "include_images")  # what pictures.json says of the data


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row of the table of readings, as text; `number` and `width` (of the interval) are its sort keys."""

    part: str
    model: str
    kind: str
    value: str
    interval: str
    target: str
    doubts: list[Markup]
    number: str
    width: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """All readings of one metric."""

    title: str
    gloss: str
    lines: list[Line]


def readings(run: Run) -> list[Group]:
    """Return the readings by metric, in the order of audit.json."""
    words = run.words
    groups: dict[str, Group] = {}
    for row in run.rows:
        title, (_, gloss) = title_of(row.metric, words), words.METRICS.get(row.metric, ("", ""))
        shown = quantity(row.value, row.unit, words)
        groups.setdefault(row.metric, Group(title=title, gloss=gloss, lines=[])).lines.append(
            Line(
                part=words.PARTS.get(row.part, row.part) if row.part else "",
                model=label_of(row, run),
                kind=row.model,
                value=f"> {shown}" if row.censored else shown,
                interval=span(row.interval, row.unit, words),
                target=words.TARGETS.get(row.target, row.target),
                doubts=[marked(doubt, words) for doubt in row.doubts],
                number="" if row.value is None else repr(row.value),
                width="" if row.interval is None else repr(row.interval[1] - row.interval[0]),
            )
        )
    return list(groups.values())


def sections(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return lists of name and value, each with the key of its title in `SECTIONS`."""
    config, manifest, words = run.config, run.manifest, run.words

    def said(value: Any) -> str:
        return _said(value, words)

    pictures, alike = pictures_asked(run), run.request.get("duplicates")
    request = [
        *([("rows", pictures)] if pictures else []),
        *([("duplicates", said([alike.get("exact"), alike.get("near")]))] if alike else []),
        ("forget", listed([*map(isolated, run.forgotten)], words) or (words.NONE if pictures else words.NOT_RECORDED)),
        ("ids", said(run.request.get("forget_ids"))),
        ("earlier", listed([*map(isolated, run.earlier)], words) or words.NONE),
        ("classes", said(len(run.request.get("classes") or ()) or None)),
    ]
    model = [
        ("architecture", said(config.get("model"))),
        ("before", said(config.get("weights"))),
        *([("after", said(config["unlearned"]))] if "unlearned" in config else []),
        ("data", said(config.get("data"))),
        *([(key, said(run.pictures.get(key))) for key in PICTURES] if run.pictures is not None else []),
        ("shape", said(config.get("shape"))),
        ("normalisation", said(config.get("mean")) + words.COMMA + said(config.get("std"))),
    ]
    machine = [
        ("made", said(manifest.get("created"))),
        ("device", said(manifest.get("device"))),
        ("precision", said(config.get("precision"))),
        ("seed", said(manifest.get("seed", config.get("seed")))),
        *([("audit_seed", said(run.audit.get("seed")))] if run.audit is not None else []),
    ]
    versions = [(str(name), str(version)) for name, version in (manifest.get("versions") or {}).items()]
    found = [
        ("request", _named(request, words)),
        ("model", _named(model, words)),
        ("machine", [*_named(machine, words), *versions]),
    ]
    if run.kind == "forget":
        needs = listed([words.PARTS.get(p, p) for p in config.get("needs") or ()], words) or words.NONE
        method = [("method", said(config.get("method"))), ("needs", needs)]
        found.insert(1, ("method", [*_named(method, words), *_flat(config.get("settings") or {}, words)]))
    if config.get("notes"):
        found.append(("notes", _flat(config["notes"], words)))
    return found


def hashes(run: Run) -> list[tuple[str, str, str]]:
    """Return (what, file, sha256) of the input weights, the reference models and the artefacts."""
    absent, kinds = run.words.NOT_RECORDED, run.words.FILES
    inputs = [(kinds["input"], str(path), str(digest)) for path, digest in (run.manifest.get("inputs") or {}).items()]
    compared = [
        (kinds[kind], str(checkpoint.get("path", absent)), str(checkpoint.get("sha256", absent)))
        for kind in ("retrained", "shadows")
        for checkpoint in (run.audit or {}).get(kind) or ()
    ]
    artefacts = run.manifest.get("artefacts") or {}
    artefact_rows = [
        (kinds["artefact"], str(name), str(digest)) for name, digest in artefacts.items() if name != REPORT
    ]
    return inputs + compared + artefact_rows


def command(run: Run) -> str:
    """Return the command that made the folder, quoted for a shell."""
    words = run.manifest.get("command") or ()
    return shlex.join(str(word) for word in words) if words else run.words.NOT_RECORDED


def access(run: Run) -> list[tuple[str, list[str], list[tuple[str, list[str]]]]]:
    """Return, by part and by class in it: samples, read by method, read by audit, decoded."""
    keys = ("samples", "read_by_method", "read_by_audit", "decoded")
    found = []
    for part, classes in (run.access.get("parts") or {}).items():
        if not classes:
            continue
        rows = [(str(name), [_count(run, key, counts.get(key)) for key in keys]) for name, counts in classes.items()]
        sums = [_count(run, key, _sum([counts.get(key) for counts in classes.values()])) for key in keys]
        found.append((run.words.PARTS.get(part, part), sums, rows))
    return found


def stage_columns(run: Run) -> list[str]:
    """Return what the columns of `stages` are; operations are among them where some stage's were counted."""
    return [*run.words.COST_COLUMNS, *([run.words.OPERATIONS] if _counted(run) else [])]


def stages(run: Run) -> list[list[str]]:
    """Return the rows of the cost: stage, seconds, samples forward, samples backward, peak memory, operations."""
    words, counted = run.words, _counted(run)
    return [
        [
            name,
            quantity(spent.get("seconds"), "seconds", words),
            *(
                f"{spent[key]:,}" if key in spent else words.NOT_RECORDED
                for key in ("samples_forward", "samples_backward")
            ),
            memory(spent["peak_memory_bytes"]) if spent.get("peak_memory_bytes") else words.NOT_RECORDED,
            *([in_flop(spent["operations"]) if _has_count(spent) else words.NOT_RECORDED] if counted else []),
        ]
        for name, spent in _spent(run)
    ]


def _spent(run: Run) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what each stage cost, and all together."""
    cost = run.cost or {}
    found = [(str(name), spent) for name, spent in (cost.get("stages") or {}).items()]
    return [*found, *([(run.words.TOTAL, cost["total"])] if "total" in cost else [])]


def _counted(run: Run) -> bool:
    return any(_has_count(spent) for _, spent in _spent(run))


def _has_count(spent: Mapping[str, Any]) -> bool:
    return spent.get("operations") is not None


def work(run: Run) -> list[list[str]]:
    """Return the rows of what the audit cost: part, seconds, samples forward, samples backward; the dearest first."""
    spent = sorted(((run.audit or {}).get("spent") or {}).items(), key=lambda pair: -(pair[1].get("seconds") or 0.0))
    keys = ("samples_forward", "samples_backward")
    rows = [
        (run.words.WORK.get(name, name), part.get("seconds"), [part.get(key, 0) for key in keys])
        for name, part in spent
    ]
    if rows:
        sums = [sum(counts) for counts in zip(*(counts for _, _, counts in rows), strict=True)]
        rows.append((run.words.TOTAL, sum(took or 0.0 for _, took, _ in rows), sums))
    return [
        [name, quantity(took, "seconds", run.words), *(f"{count:,}" for count in counts)] for name, took, counts in rows
    ]


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _count(run: Run, key: str, count: int | None) -> str:
    if count is None or (key == "read_by_method" and run.kind != "forget"):
        return run.words.UNKNOWN
    return f"{count:,}"


def _named(facts: Sequence[tuple[str, str]], words: Words) -> list[tuple[str, str]]:
    return [(words.FACTS[key], value) for key, value in facts]


def _said(value: Any, words: Words) -> str:
    match value:
        case None:
            return words.NOT_RECORDED
        case bool():
            return words.YES if value else words.NO
        case float():
            return f"{value:.6g}"
        case Mapping():
            return words.COMMA.join(f"{key} {_said(item, words)}" for key, item in value.items())
        case list():
            return words.COMMA.join(_said(item, words) for item in value) or words.NONE
        case _:
            return words.NOTED.get(str(value), str(value))


def _flat(settings: Mapping[str, Any], words: Words, prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            rows += _flat(value, words, f"{prefix}{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            rows += [(f"{prefix}{name} {i + 1}", _said(item, words)) for i, item in enumerate(value)]
        else:
            rows.append((f"{prefix}{name}", words.NONE if value is None else _said(value, words)))
    return rows
