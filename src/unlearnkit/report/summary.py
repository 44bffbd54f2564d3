"""Makes the top of the page: the request, the verdict, three figures, and the reads of forgotten classes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from unlearnkit.report.facts import Row, Run, weights_file
from unlearnkit.report.figures import strip
from unlearnkit.report.request import pictures_asked
from unlearnkit.report.sentences import (
    filled,
    in_flop,
    joined,
    marked,
    read_doubt,
    read_statement,
    shares_of_retraining,
    slowed,
    titled,
    to_turn,
)
from unlearnkit.report.text import isolated, listed, made_at, percent, points, quantity, seconds, several, span
from unlearnkit.report.words import Words

HARMED = ("retained_accuracy_lost", "retained_accuracy_by_heart")  # what the safeguard of a run warns of
MOST_NAMES = 5  # of classes without samples that a warning names


@dataclass(frozen=True, kw_only=True)
class Card:
    """One of the three figures: `before` and `after` as text, lines of context, doubts, a small picture."""

    title: str
    after: str
    before: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    picture: str = ""


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many samples of the forgotten classes a reader read, and what that means."""

    who: str
    count: str
    meaning: str


def asked(run: Run) -> dict[str, Any]:
    """Return the request, the method and the model, as the header shows them."""
    words = run.words
    name, digest = weights_file(run)
    ids: Sequence[int] = run.request.get("forget_ids") or ()
    method, overrides = str(run.config.get("method") or ""), run.config.get("overrides") or ()
    preset = str(run.config.get("preset") or "default")
    notes = run.config.get("notes") or {}
    if kept := (notes.get("auto") or {}).get("kept"):
        method += f": {kept}"
    statement = read_statement(notes, "config.json")
    return {
        "classes": [(name, str(ids[i]) if i < len(ids) else words.UNKNOWN) for i, name in enumerate(run.forgotten)],
        "pictures": pictures_asked(run),
        "subclasses": run.subclasses,
        "earlier": run.earlier,
        "of": len(run.request.get("classes") or ()),
        "method": method or None,
        "preset": preset + (words.CHANGED_SETTINGS.format(words.COMMA.join(map(str, overrides))) if overrides else ""),
        "statement": None if statement is None else marked(statement, words),
        "model": run.config.get("model") or words.NO_ARCHITECTURE,
        "weights": name,
        "hash": digest,
        "data": run.config.get("data") or words.NOT_RECORDED,
        "against": weights_file(run, "unlearned") if run.kind == "audit" else None,
        "made": made_at(run.manifest.get("created"), words),
    }


def verdict(run: Run) -> dict[str, str]:
    """Return status, glyph, sentence and reason of the verdict."""
    words = run.words
    if run.audit is None:
        glyph, sentence = words.VERDICTS["none"]
        return {
            "status": words.STATUSES["none"],
            "kind": "none",
            "glyph": glyph,
            "sentence": sentence,
            "why": "",
            "tier": "",
        }
    recorded = run.audit.get("verdict") or {}
    status = str(recorded.get("status") or "unknown")
    glyph, sentence = words.VERDICTS.get(status, words.VERDICTS["unknown"])
    kind = status if status in words.VERDICTS else "unknown"
    read = [read_doubt(doubt, "audit.json") for doubt in recorded.get("why") or ()]
    why = [doubt for doubt in read if doubt.code != "readings_unresolved"]  # these are listed below the verdict
    return {
        "status": words.STATUSES.get(status, status),
        "kind": kind,
        "glyph": glyph,
        "sentence": sentence,
        "why": joined([marked(titled(doubt, words), words) for doubt in why], words) or words.NOT_RECORDED,
        "tier": words.TIERS.get(str(run.audit.get("tier")), ""),
    }


def cards(run: Run) -> list[Card]:
    """Return the cards: accuracy on forgotten and on retained test data, and cost."""
    return [
        _accuracy(run, run.shown_part),
        _accuracy(run, "retain_test"),
        _cost(run),
    ]


def counts(run: Run) -> list[Count]:
    """Return the samples of forgotten classes that were read by the method, read by the audit, and decoded."""
    access, words = run.access, run.words
    method = access.get("forget_samples_read") if run.kind == "forget" else None
    if method is None:
        meaning = words.READ_BY_METHOD_UNKNOWN
    else:
        meaning = words.READ_BY_METHOD_SOME if method else words.READ_BY_METHOD_NONE
    audited, decoded = access.get("forget_samples_read_by_audit"), access.get("forget_samples_decoded")
    found = (
        (method, meaning),
        (audited, words.READ_BY_AUDIT_NONE if audited == 0 else words.READ_BY_AUDIT),
        (decoded, words.DECODED_NONE if decoded == 0 else words.DECODED),
    )
    return [
        Count(who=who, count=words.UNKNOWN if count is None else f"{count:,}", meaning=what_it_means)
        for who, (count, what_it_means) in zip(words.READ_COLUMNS[1:], found, strict=True)
    ]


def warnings(run: Run) -> list[tuple[str, list[str]]]:
    """Return what limits the result, each with the commands that would remove the limit."""
    found: list[tuple[str, list[str]]] = []
    if notices := (run.audit or {}).get("notices"):
        method = [shlex.join(["unlearnkit", "methods", str(run.config["method"])])] if run.config.get("method") else []
        why = joined([marked(read_doubt(each, "audit.json"), run.words) for each in notices], run.words)
        turn = to_turn(run.config.get("method"), run.config.get("stronger"), run.words)
        found.append((filled(run.words.NOT_FORGOTTEN, why, turn), method))
    notes = run.config.get("notes") or {}
    if absent := notes.get("no_samples_of"):
        more = [run.words.MORE.format(f"{len(absent) - MOST_NAMES:,}")] if len(absent) > MOST_NAMES else []
        found.append((run.words.NO_SAMPLES_OF.format(run.words.COMMA.join([*absent[:MOST_NAMES], *more])), []))
    if (kept := notes.get("safeguard")) and (doubt := read_doubt(kept, "config.json")).code in HARMED:
        found.append((filled(run.words.LOST_ACCURACY, marked(doubt, run.words)), []))
    judged = ((run.audit or {}).get("verdict") or {}).get("status") in ("pass", "fail")
    if (raw := notes.get("doubt")) and not judged:
        found.append((filled(run.words.MAY_REMAIN, marked(read_doubt(raw, "config.json"), run.words)), []))
    if privacy := notes.get("privacy"):
        found.append((filled(run.words.REQUEST_PRIVACY, marked(read_doubt(privacy, "config.json"), run.words)), []))
    search = notes.get("search") or {}
    if search.get("accepted") is False:
        found.append((run.words.SEARCH_FAILED, []))
    if run.audit is None:
        found.append((run.words.RUN_AUDIT, [shlex.join(["unlearnkit", "audit", str(run.folder)])]))
    elif not run.replicates:
        found.append((run.words.RUN_RETRAINED.format(run.words.NO_RETRAINED), _retrain_commands(run)))
    return found


def _accuracy(run: Run, part: str) -> Card:
    words = run.words
    title = words.CARDS[part]
    rows = {model: run.find("accuracy", model, part) for model in words.NAMES}
    if not rows["unlearned"]:
        return Card(title=title, after=words.UNKNOWN, lines=[("", words.NO_AUDIT)])
    after = rows["unlearned"][0]
    before = rows["original"][0] if rows["original"] else None
    values = {model: [r.value for r in found if r.value is not None] for model, found in rows.items()}
    lines = []
    if before is not None and before.value is not None and after.value is not None:
        lines.append((words.CHANGE, points(after.value - before.value, words)))
    lines.append(_retrained(rows["retrained"], values["retrained"], words))
    if after.interval:
        lines.append((words.INTERVAL_AFTER, span(after.interval, "fraction", words)))
    return Card(
        title=title,
        before=quantity(before.value if before else None, "fraction", words),
        after=quantity(after.value, "fraction", words),
        lines=lines,
        doubts=[marked(doubt, words) for doubt in after.doubts],
        picture=strip(values, percent, title=title, words=words),
    )


def _retrained(rows: Sequence[Row], values: Sequence[float], words: Words) -> tuple[str, str]:
    if not rows:
        return words.RETRAINED, words.NO_MODEL
    if len(values) < 2:
        return words.RETRAINED, quantity(values[0] if values else None, "fraction", words)
    mean = percent(sum(values) / len(values))
    ends = span((min(values), max(values)), "fraction", words)
    return words.RETRAINED_MEAN.format(len(values)), words.MEAN_SPAN.format(mean, ends)


def _cost(run: Run) -> Card:
    words = run.words
    total = (run.cost or {}).get("total") or {}
    spent = total.get("seconds", run.value("cost_seconds", "unlearned"))
    retrained = [r.value for r in run.find("cost_seconds", "retrained") if r.value is not None]
    ratio = next(iter(run.find("cost_ratio", "unlearned")), None)
    lines, doubts = [], []
    if ratio is not None and ratio.value:
        lines.append((words.AGAINST_RETRAINING, shares_of_retraining(ratio.value, ratio.series, words)))
        if ratio.value < 1:
            doubts.append(words.COST_MORE)
    else:
        lines.append((words.AGAINST_RETRAINING, words.COST_UNKNOWN))
    if retrained:
        lines.append((words.RETRAINING_TOOK, seconds(sum(retrained) / len(retrained), words)))
    if "samples_backward" in total:
        lines.append((words.PASSED_BACKWARD, f"{total['samples_backward']:,}"))
    if total.get("operations") is not None:
        lines.append((words.OPERATIONS, in_flop(total["operations"])))
    doubts += [marked(doubt, words) for doubt in slowed(total, ratio.doubts if ratio else ())]
    after = words.UNKNOWN if spent is None else seconds(spent, words)
    return Card(title=words.CARDS["cost"], after=after, lines=lines, doubts=doubts)


def _retrain_commands(run: Run) -> list[str]:
    of_shards = str(run.config.get("model") or "").startswith("sharded:")  # their training is no single `train --model`
    if run.kind == "forget" and (run.classes_of_rows or of_shards):
        retrain = ["unlearnkit", "retrain", "--of", str(run.folder)]
        return [shlex.join(retrain), shlex.join(["unlearnkit", "audit", str(run.folder), "--references", "auto"])]
    model, data = str(run.config.get("model") or "NAME"), str(run.config.get("data") or "DATA")
    train = ["unlearnkit", "train", "--model", model, "--data", data]
    for name in [*run.earlier, *run.forgotten]:
        train += ["--exclude", name]
    if run.classes_of_rows:
        train += ["--exclude-rows", "ROWS.csv"]
    fed: list[str] = []
    if run.config.get("image_size"):
        fed += ["--image-size", str(run.config["image_size"])]
        if run.config.get("crop_pct") not in (None, 1):
            fed += ["--crop-pct", str(run.config["crop_pct"])]
        if run.config.get("interpolation") not in (None, "bilinear"):
            fed += ["--interpolation", str(run.config["interpolation"])]
    for key in ("mean", "std"):
        if run.config.get(key):
            fed += [f"--{key}", ",".join(str(value) for value in run.config[key])]
    train += fed
    if run.config.get("precision") == "bf16":
        train += ["--precision", "bf16"]
    reference = ["--retrained", "retrained/model.safetensors"]
    if run.kind == "forget":
        audit = ["unlearnkit", "audit", str(run.folder), *reference]
    else:
        weights = ["--original", str(run.config.get("weights")), "--unlearned", str(run.config.get("unlearned"))]
        audit = ["unlearnkit", "audit", "--model", model, *weights, "--data", data]
        for name in run.forgotten:
            audit += ["--forget", name]
        if run.classes_of_rows:
            audit += ["--forget-rows", "ROWS.csv"]
        for name in run.earlier:
            audit += ["--already-forgotten", name]
        audit += fed
        audit += [*reference, "--out", f"{run.folder}-with-retrained"]
    return [shlex.join([*train, "--out", "retrained"]), shlex.join(audit)]


def headline(run: Run) -> str:
    """Return the page's title, which names the request and claims no result."""
    words = run.words
    names = [words.QUOTED.format(isolated(name)) for name in run.forgotten]
    pictures = pictures_asked(run)
    if pictures is not None:
        classes = [several(words.CLASSES, len(names))] if names else []
        return words.HEADLINE_PICTURES.format(listed([*classes, pictures], words))
    if not names:
        return words.HEADLINE
    if len(names) > 4:
        return words.HEADLINE_MANY.format(len(names))
    return (words.HEADLINE_ONE if len(names) == 1 else words.HEADLINE_SOME).format(listed(names, words))
