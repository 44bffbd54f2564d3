"""The first screen: what was asked, the verdict, the three figures, and who read data of the forgotten classes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from unlearnkit.report import words
from unlearnkit.report.facts import Row, Run, weights_file
from unlearnkit.report.figures import strip
from unlearnkit.report.text import UNKNOWN, isolated, listed, made_at, number, percent, points, quantity, seconds, span


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
    """How many samples of the forgotten classes somebody read, and what that means."""

    who: str
    count: str
    meaning: str
    none: bool


def asked(run: Run) -> dict[str, Any]:
    """The request, the method and the model, as the header shows them."""
    name, digest = weights_file(run)
    ids: Sequence[int] = run.request.get("forget_ids") or ()
    method, overrides = str(run.config.get("method") or ""), run.config.get("overrides") or ()
    preset = str(run.config.get("preset") or "default")
    return {
        "classes": [(name, str(ids[i]) if i < len(ids) else UNKNOWN) for i, name in enumerate(run.forgotten)],
        "earlier": run.earlier,
        "of": len(run.request.get("classes") or ()),
        "method": method.upper() if method else None,
        "preset": preset + (f", changed: {', '.join(map(str, overrides))}" if overrides else ""),
        "model": run.config.get("model") or "architecture not recorded",
        "weights": name,
        "hash": digest,
        "data": run.config.get("data") or "not recorded",
        "against": weights_file(run, "unlearned") if run.kind == "audit" else None,
        "made": made_at(run.manifest.get("created")),
    }


def verdict(run: Run) -> dict[str, str]:
    """Status, glyph, sentence and reason."""
    if run.audit is None:
        glyph, sentence = words.VERDICTS["none"]
        return {"status": "not audited", "kind": "none", "glyph": glyph, "sentence": sentence, "why": "", "tier": ""}
    given = run.audit.get("verdict") or {}
    status = str(given.get("status") or "unknown")
    glyph, sentence = words.VERDICTS.get(status, words.VERDICTS["unknown"])
    kind = status if status in words.VERDICTS else "unknown"
    return {
        "status": status,
        "kind": kind,
        "glyph": glyph,
        "sentence": sentence,
        "why": str(given.get("why") or "not recorded"),
        "tier": words.TIERS.get(str(run.audit.get("tier")), ""),
    }


def cards(run: Run) -> list[Card]:
    """Accuracy on forgotten and on retained test data, and cost."""
    return [
        _accuracy(run, "Accuracy on forgotten test data", "forget_test"),
        _accuracy(run, "Accuracy on retained test data", "retain_test"),
        _cost(run),
    ]


def counts(run: Run) -> list[Count]:
    """Samples of the forgotten classes read by the method, read by the audit, decoded."""
    access = run.access
    method = access.get("forget_samples_read") if run.kind == "forget" else None
    if method is None:
        meaning = words.READ_BY_METHOD_UNKNOWN
    else:
        meaning = words.READ_BY_METHOD_SOME if method else words.READ_BY_METHOD_NONE
    audited, decoded = access.get("forget_samples_read_by_audit"), access.get("forget_samples_decoded")
    return [
        _count("read by the method", method, meaning),
        _count("read by the audit", audited, words.READ_BY_AUDIT_NONE if audited == 0 else words.READ_BY_AUDIT),
        _count("decoded", decoded, words.DECODED_NONE if decoded == 0 else words.DECODED),
    ]


def warnings(run: Run) -> list[tuple[str, list[str]]]:
    """What limits the result, each with the commands that would mend it."""
    found: list[tuple[str, list[str]]] = []
    search = (run.config.get("notes") or {}).get("search") or {}
    if search.get("accepted") is False:
        found.append((words.SEARCH_FAILED, []))
    if run.audit is None:
        found.append(("To find out how well it forgot, run:", [shlex.join(["unlearnkit", "audit", str(run.folder)])]))
    elif not run.replicates:
        found.append((words.NO_RETRAINED + " To find out, run:", _retrain_commands(run)))
    return found


def _accuracy(run: Run, title: str, part: str) -> Card:
    rows = {model: run.find("accuracy", model, part) for model in words.MODELS}
    if not rows["unlearned"]:
        return Card(title=title, after=UNKNOWN, lines=[("", "not measured: no audit has been made")])
    after = rows["unlearned"][0]
    before = rows["original"][0] if rows["original"] else None
    values = {model: [r.value for r in found if r.value is not None] for model, found in rows.items()}
    lines = []
    if before is not None and before.value is not None and after.value is not None:
        lines.append(("change", points(after.value - before.value)))
    lines.append(_retrained(rows["retrained"], values["retrained"]))
    if after.interval:
        lines.append(("after, 95% interval", span(after.interval, "fraction")))
    return Card(
        title=title,
        before=quantity(before.value if before else None, "fraction"),
        after=quantity(after.value, "fraction"),
        lines=lines,
        doubts=list(after.doubts),
        picture=strip(values, percent, title=title),
    )


def _retrained(rows: Sequence[Row], values: Sequence[float]) -> tuple[str, str]:
    if not rows:
        return "retrained", "no model given"
    if len(values) < 2:
        return "retrained", quantity(values[0] if values else None, "fraction")
    mean = percent(sum(values) / len(values))
    return f"retrained, mean of {len(values)}", f"{mean} ({span((min(values), max(values)), 'fraction')})"


def _cost(run: Run) -> Card:
    total = (run.cost or {}).get("total") or {}
    spent = total.get("seconds", run.value("cost_seconds", "unlearned"))
    retrained = [r.value for r in run.find("cost_seconds", "retrained") if r.value is not None]
    ratio = run.value("cost_ratio", "unlearned")
    lines, doubts = [], []
    if ratio is not None and ratio >= 1:
        lines.append(("against retraining", f"{number(ratio)}× cheaper"))
    elif ratio is not None and ratio > 0:
        lines.append(("against retraining", f"{number(1 / ratio)}× as expensive"))
        doubts.append("forgetting cost more than retraining")
    else:
        lines.append(("against retraining", "unknown: the cost of a retrained model is not recorded"))
    if retrained:
        lines.append(("retraining took", seconds(sum(retrained) / len(retrained))))
    if "samples_backward" in total:
        lines.append(("samples passed backward", f"{total['samples_backward']:,}"))
    return Card(
        title="Cost of forgetting", after=UNKNOWN if spent is None else seconds(spent), lines=lines, doubts=doubts
    )


def _count(who: str, count: int | None, meaning: str) -> Count:
    return Count(who=who, count=UNKNOWN if count is None else f"{count:,}", meaning=meaning, none=count == 0)


def _retrain_commands(run: Run) -> list[str]:
    model, data = str(run.config.get("model") or "NAME"), str(run.config.get("data") or "DATA")
    train = ["unlearnkit", "train", "--model", model, "--data", data]
    for name in [*run.earlier, *run.forgotten]:
        train += ["--exclude", name]
    fed: list[str] = []
    if run.config.get("image_size"):
        fed += ["--image-size", str(run.config["image_size"])]
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
        for name in run.earlier:
            audit += ["--already-forgotten", name]
        audit += fed
        audit += [*reference, "--out", f"{run.folder}-with-retrained"]
    return [shlex.join([*train, "--out", "retrained"]), shlex.join(audit)]


def headline(run: Run) -> str:
    """One line for the title of the page: the request, not a claim."""
    names = [f"“{isolated(name)}”" for name in run.forgotten]
    if not names:
        return "Request to forget"
    if len(names) > 4:
        return f"Request to forget {len(names)} classes"
    return f"Request to forget {'class' if len(names) == 1 else 'classes'} {listed(names)}"
