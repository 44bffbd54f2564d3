"""Writes the method cards: what each method does, reads and costs, from the docstring of its module."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable
from typing import Any, get_args

from unlearnkit.methods.method import ConfiguredMethod
from unlearnkit.methods.registry import CONDITIONAL, METHODS, method_kind
from unlearnkit.request import Kind

LISTED = (*METHODS, *CONDITIONAL)


def describe_methods(names: Iterable[str] = LISTED) -> list[dict[str, Any]]:
    """Return one entry for each method, or for each method named, for `unlearnkit methods`.

    Its idea, what it reads and costs, presets, settings with defaults, and bounds of those that are tuned.

    Raises:
        ConfigError: a name is unknown.
    """
    return [
        {
            "name": name,
            "idea": _card(kind)[0].splitlines()[0],
            "control": kind.control,
            "forgets": [each for each in get_args(Kind) if each in kind.kinds],
            "reads": sorted(part.value for part in kind().needs),
            "cost": next((" ".join(p.removeprefix(COST).split()) for p in _card(kind) if p.startswith(COST)), UNSTATED),
            "presets": list(kind.presets()),
            "settings": kind().described_settings(),
            "tuned": {key: [bounds.low, bounds.high] for key, bounds in kind().space().items()},
        }
        for name, kind in ((name, method_kind(name)) for name in names)
    ]


def method_cards(names: Iterable[str] = LISTED) -> str:
    """Return the cards of all methods, or of those named, as one Markdown page: docs/methods.md.

    In front stands a table of what each reads and costs. The method of another package has as much of a card as its
    module's text gives.

    Args:
        names: see `method_kind`.

    Raises:
        ConfigError: a name is unknown.
    """
    described = describe_methods(names)
    lines = [
        "# The methods",
        "",
        "Written by `unlearnkit methods --cards` from the text of each module in `src/unlearnkit/methods`.",
        "",
        "| method | forgets | reads | cost per run |",
        "| --- | --- | --- | --- |",
    ]
    for entry in described:
        name = f"`{entry['name']}`" + (" (control)" if entry["control"] else "")
        forgets, reads = ", ".join(entry["forgets"]), ", ".join(entry["reads"]) or "nothing"
        lines.append(f"| {name} | {forgets} | {reads} | {entry['cost']} |")
    for entry in described:
        title, *paragraphs = _card(method_kind(entry["name"]))
        lines += ["", f"## {entry['name']}", "", title]
        for paragraph in paragraphs:
            if paragraph.lstrip().startswith(">>> "):
                lines += ["", "```python", *textwrap.dedent(paragraph).splitlines(), "```"]
                continue
            head, mark, rest = paragraph.partition(". " if paragraph.startswith(("Idea.", "Update.")) else ": ")
            known = mark and (head in CARD_PARTS or head.startswith("Deviations"))
            lines += ["", f"**{head}.** {rest[:1].upper()}{rest[1:]}" if known else paragraph]
    return "\n".join(lines) + "\n"


CARD_PARTS = ("Idea", "Update", "Reads", "Hyperparameters", "Cost per run", "When it fails", "Source", "Example")
COST = "Cost per run: "
UNSTATED = "not stated"


def _card(kind: type[ConfiguredMethod]) -> list[str]:
    """Return the paragraphs of a method's card: the docstring of its module, or of its class where that has none."""
    return (inspect.getdoc(inspect.getmodule(kind)) or inspect.cleandoc(kind.__doc__ or kind.__name__)).split("\n\n")
