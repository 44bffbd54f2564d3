"""Defines MethodChoice: the method to run, the preset to start from, and the settings to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unlearnkit.methods.method import ConfiguredMethod
from unlearnkit.methods.registry import make_method

# What `forget` uses where no method is named: nearer to retraining than the article's method, or as near, wherever both
# were audited, at a third to a thirtieth of its cost (docs/log.md, 2026-11-28). It has nothing to tune: `tune` takes
# the article's.
RECOMMENDED = "auto"
TUNED = "unsir"


@dataclass(frozen=True)
class MethodChoice:
    """A method as a user names it: name, preset and changed settings.

    Args:
        name: of the method, as `make_method` takes it; default: the recommended one.
        preset: what its settings start from.
        settings: `NAME=VALUE` changes of the preset.
    """

    name: str = RECOMMENDED
    preset: str = "default"
    settings: Sequence[str] = ()

    def make(self) -> ConfiguredMethod:
        """Build the method from its preset and the changed settings.

        Raises:
            ConfigError: the name, the preset or a setting is unknown, or a value is refused.
        """
        return make_method(self.name, self.preset, self.settings)

    @property
    def names_set(self) -> list[str]:
        """Return the names of the settings that are changed."""
        return [setting.partition("=")[0].strip() for setting in self.settings]

    def as_record(self) -> dict[str, Any]:
        """Return the choice as config.json holds it."""
        return {"method": self.name, "preset": self.preset, "overrides": list(self.settings)}
