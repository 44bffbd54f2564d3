"""Method cards: what each method does, reads and costs, read from the docstring of its module."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from unlearnkit.methods.method import ConfiguredMethod
from unlearnkit.methods.registry import METHODS, method_kind


def describe_methods(names: Iterable[str] = METHODS) -> list[dict[str, Any]]:
    """One entry per method, or per method named, for `unlearnkit methods`.

    Its idea, what it reads and costs, presets, settings with defaults, and bounds of those that are tuned.

    Raises:
        ConfigError: a name is unknown.
    """
    return [
        {
            "name": name,
            "idea": _card(kind)[0].splitlines()[0],
            "control": kind.control,
            "reads": sorted(part.value for part in kind().needs),
            "cost": next(" ".join(p.partition(": ")[2].split()) for p in _card(kind) if p.startswith("Cost per run: ")),
            "presets": list(kind.presets()),
            "settings": kind().described_settings(),
            "tuned": {key: [bounds.low, bounds.high] for key, bounds in kind().space().items()},
        }
        for name, kind in ((name, method_kind(name)) for name in names)
    ]


def method_cards(names: Iterable[str] = METHODS) -> str:
    """The cards of all methods, or of those named, as one Markdown page: docs/methods.md.

    In front stands a table of what each reads and costs.

    Raises:
        ConfigError: a name is unknown.
    """
    described = describe_methods(names)
    lines = [
        "# The methods",
        "",
        "Written by `unlearnkit methods --cards` from the text of each module in `src/unlearnkit/methods`.",
        "",
        "| method | reads | cost per run |",
        "| --- | --- | --- |",
    ]
    for entry in described:
        name = f"`{entry['name']}`" + (" (control)" if entry["control"] else "")
        lines.append(f"| {name} | {', '.join(entry['reads']) or 'nothing'} | {entry['cost']} |")
    for entry in described:
        title, *paragraphs = _card(METHODS[entry["name"]])
        lines += ["", f"## {entry['name']}", "", title]
        for paragraph in paragraphs:
            head, mark, rest = paragraph.partition(". " if paragraph.startswith(("Idea.", "Update.")) else ": ")
            known = mark and (head in CARD_PARTS or head.startswith("Deviations"))
            lines += ["", f"**{head}.** {rest[:1].upper()}{rest[1:]}" if known else paragraph]
    return "\n".join(lines) + "\n"


CARD_PARTS = ("Idea", "Update", "Reads", "Hyperparameters", "Cost per run", "When it fails", "Source")


def _card(kind: type[ConfiguredMethod]) -> list[str]:
    """Paragraphs of a method's card, the text of its module."""
    return (inspect.getdoc(inspect.getmodule(kind)) or "").split("\n\n")
