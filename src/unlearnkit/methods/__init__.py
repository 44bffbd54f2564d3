"""The unlearning methods by name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from unlearnkit.errors import ConfigError
from unlearnkit.methods.base import ConfiguredMethod, Context, Method, Unlearned, unlearn
from unlearnkit.methods.unsir import UNSIR

__all__ = [
    "METHODS",
    "UNSIR",
    "ConfiguredMethod",
    "Context",
    "Method",
    "Unlearned",
    "describe_methods",
    "make_method",
    "unlearn",
]

METHODS: dict[str, type[ConfiguredMethod]] = {"unsir": UNSIR}


def make_method(name: str, preset: str = "default", settings: Sequence[str] = ()) -> ConfiguredMethod:
    """Build a method from its name, a preset and `NAME=VALUE` settings.

    Raises:
        ConfigError: the name, the preset or a setting is unknown, or a value is refused.
    """
    if name not in METHODS:
        raise ConfigError(f"Expected one of the methods {', '.join(METHODS)}, but got {name!r}; choose one of them.")
    presets = METHODS[name].presets()
    if preset not in presets:
        raise ConfigError(
            f"Expected one of the presets {', '.join(presets)} of {name}, but got {preset!r}; choose one of them."
        )
    return presets[preset]().with_settings(settings)


def describe_methods() -> list[dict[str, Any]]:
    """One entry per method for `unlearnkit methods`: idea, what it reads, presets, settings with their defaults."""
    return [
        {
            "name": name,
            "idea": (inspect.getdoc(inspect.getmodule(kind)) or "").splitlines()[0],
            "reads": sorted(part.value for part in kind().needs),
            "presets": list(kind.presets()),
            "settings": kind().described_settings(),
        }
        for name, kind in METHODS.items()
    ]
