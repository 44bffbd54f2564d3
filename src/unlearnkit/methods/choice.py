"""Defines MethodChoice: the method to run, the preset to start from, and the settings to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unlearnkit.methods.method import ConfiguredMethod
from unlearnkit.methods.registry import make_method

# What `forget` uses where no method is named. It reads no forgotten sample and costs 1/200 to 1/350 of a retraining; on
# the small networks for CIFAR-10 the audit passes it or fails it at 1.0 to 1.3 times the bands. `unsir` costs 1/6 to
# 1/3 and failed at 1.5 to 1.8. The evidence: docs/comparison.md, benchmarks/erase_audit.py, docs/log.md.
RECOMMENDED = "erase"


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
