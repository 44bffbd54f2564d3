"""The unlearning methods by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from unlearnkit.errors import ConfigError
from unlearnkit.methods.bad_teacher import BadTeacher
from unlearnkit.methods.base import ConfiguredMethod, Context, Method, Unlearned, unlearn
from unlearnkit.methods.boundary_shrink import BoundaryShrink
from unlearnkit.methods.delete import DELETE
from unlearnkit.methods.finetune import FineTune
from unlearnkit.methods.fisher import FisherForgetting
from unlearnkit.methods.head_mask import HeadMask, masked
from unlearnkit.methods.l1_sparse import L1Sparse
from unlearnkit.methods.neggrad import NegGrad
from unlearnkit.methods.neggrad_plus import NegGradPlus
from unlearnkit.methods.original import Original
from unlearnkit.methods.random_label import RandomLabel
from unlearnkit.methods.retrain import Retrain
from unlearnkit.methods.salun import SalUn
from unlearnkit.methods.scrub import SCRUB
from unlearnkit.methods.ssd import SSD
from unlearnkit.methods.unsir import UNSIR

__all__ = [
    "DELETE",
    "METHODS",
    "SCRUB",
    "SSD",
    "UNSIR",
    "BadTeacher",
    "BoundaryShrink",
    "ConfiguredMethod",
    "Context",
    "FineTune",
    "FisherForgetting",
    "HeadMask",
    "L1Sparse",
    "Method",
    "NegGrad",
    "NegGradPlus",
    "Original",
    "RandomLabel",
    "Retrain",
    "SalUn",
    "Unlearned",
    "describe_methods",
    "make_method",
    "masked",
    "method_cards",
    "unlearn",
]

METHODS: dict[str, type[ConfiguredMethod]] = {
    "unsir": UNSIR,
    "retrain": Retrain,
    "original": Original,
    "head-mask": HeadMask,
    "finetune": FineTune,
    "neggrad": NegGrad,
    "neggrad+": NegGradPlus,
    "random-label": RandomLabel,
    "l1-sparse": L1Sparse,
    "fisher": FisherForgetting,
    "ssd": SSD,
    "scrub": SCRUB,
    "salun": SalUn,
    "bad-teacher": BadTeacher,
    "boundary-shrink": BoundaryShrink,
    "delete": DELETE,
}


def make_method(name: str, preset: str = "default", settings: Sequence[str] = ()) -> ConfiguredMethod:
    """Build a method from its name, a preset and `NAME=VALUE` settings.

    Raises:
        ConfigError: the name, the preset or a setting is unknown, or a value is refused.
    """
    kind = _kind(name)
    presets = kind.presets()
    if preset not in presets:
        raise ConfigError(
            f"Expected one of the presets {', '.join(presets)} of {name}, but got {preset!r}; choose one of them."
        )
    return presets[preset]().with_settings(settings)


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
        for name, kind in ((name, _kind(name)) for name in names)
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


def _kind(name: str) -> type[ConfiguredMethod]:
    if name not in METHODS:
        raise ConfigError(f"Expected one of the methods {', '.join(METHODS)}, but got {name!r}; choose one of them.")
    return METHODS[name]


def _card(kind: type[ConfiguredMethod]) -> list[str]:
    """Paragraphs of a method's card, the text of its module."""
    return (inspect.getdoc(inspect.getmodule(kind)) or "").split("\n\n")
