"""MethodChoice: which method is to run, from which preset, with which settings changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unlearnkit.methods.method import ConfiguredMethod
from unlearnkit.methods.registry import make_method


@dataclass(frozen=True)
class MethodChoice:
    """A method as somebody names it.

    Args:
        name: of the method, as `make_method` takes it.
        preset: what its settings start from.
        settings: `NAME=VALUE` changes of the preset.
    """

    name: str
    preset: str = "default"
    settings: Sequence[str] = ()

    def make(self) -> ConfiguredMethod:
        """Build the method.

        Raises:
            ConfigError: the name, the preset or a setting is unknown, or a value is refused.
        """
        return make_method(self.name, self.preset, self.settings)

    @property
    def names_set(self) -> list[str]:
        """Names of the settings that are changed."""
        return [setting.partition("=")[0].strip() for setting in self.settings]

    def as_record(self) -> dict[str, Any]:
        """As it is written into config.json."""
        return {"method": self.name, "preset": self.preset, "overrides": list(self.settings)}
