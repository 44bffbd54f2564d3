"""Reads banks, the committed measurements of how much the primary readings of retrained models vary with the seed.

A bank is a JSON file in `banks/`, made by `benchmarks/make_bank.py`: for each primary reading the values of at least
nine models retrained in one setting, and their standard deviation on the reading's scale.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

BUNDLED = "digits"


@dataclass(frozen=True, kw_only=True)
class Bank:
    """The spread of the primary readings of retrained models, measured in one setting.

    Args:
        name: its file's name.
        data: kind of the data source, such as `digits` or `parquet`.
        model: architecture with its options.
        classes: the class list.
        forget: the classes that its models were retrained without.
        models: how many retrained models are behind it.
        priors: s0 of every primary reading, by its key.
    """

    name: str
    data: str
    model: str
    classes: tuple[str, ...]
    forget: tuple[str, ...]
    models: int
    priors: Mapping[str, float]


def bank_for(source: str, classes: Sequence[str], model: str, forget: Sequence[str]) -> Bank | None:
    """Return the bank of the setting nearest to this audit's.

    It has the same classes and architecture, and about as many classes forgotten.

    None where there is no bank of these classes and this architecture: no other is near enough to speak for it. The
    bundled digits and a folder of other images named 0 to 9 are two settings. How long the models were trained is not
    compared.

    Args:
        source: data source as on the command line.
        classes: the class list of the data.
        model: name of the architecture with its options.
        forget: names of the classes to forget.
    """
    kind = source.partition(":")[0]
    near = [
        bank
        for bank in banks()
        if (bank.classes, bank.model) == (tuple(classes), model) and (bank.data == BUNDLED) == (kind == BUNDLED)
    ]
    return min(near, key=lambda b: (abs(len(b.forget) - len(forget)), set(b.forget) != set(forget)), default=None)


def banks() -> list[Bank]:
    """Read every committed bank, and return them by name."""
    files = [f for f in (resources.files("unlearnkit.audit") / "banks").iterdir() if f.name.endswith(".json")]
    return [_read(f.name.removesuffix(".json"), f.read_text(encoding="utf-8")) for f in sorted(files, key=str)]


def _read(name: str, text: str) -> Bank:
    content = json.loads(text)
    return Bank(
        name=name,
        data=content["data"],
        model=content["model"],
        classes=tuple(content["classes"]),
        forget=tuple(content["forget"]),
        models=int(content["models"]),
        priors={key: float(reading["s0"]) for key, reading in content["readings"].items()},
    )
