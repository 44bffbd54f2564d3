"""Config: the frozen, keyword-only, validated settings that recipes and methods are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from unlearnkit.errors import ConfigError


class Config(BaseModel):
    """Base of all settings: immutable, no unknown names, no coercion between kinds of value.

    Raises:
        ConfigError: a value is out of range or of the wrong kind, or a name is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_sentence(type(self).__name__, error)) from error

    def with_settings(self, settings: Sequence[str]) -> Self:
        """Return a copy with `NAME=VALUE` settings applied; a dot reaches into a nested configuration.

        Raises:
            ConfigError: a setting has no `=`, its name is unknown, or its value is refused.
        """
        values: dict[str, Any] = self.model_dump()
        for setting in settings:
            name, equals, text = setting.partition("=")
            if not equals:
                raise ConfigError(f"Expected NAME=VALUE, but got {setting!r}; for example repair.lr=0.001.")
            *path, last = name.strip().split(".")
            target = values
            for key in path:
                if isinstance(target.get(key, 0), Mapping):
                    target = target[key]
                else:
                    raise self._unknown(name)
            if last not in target:
                raise self._unknown(name)
            target[last] = None if text.strip().lower() == "none" else text.strip()
        return type(self)(**values)

    def setting_names(self) -> list[str]:
        """Every name that `with_settings` takes, nested ones with a dot."""
        return _names(self.model_dump())

    def described_settings(self) -> list[dict[str, Any]]:
        """Every setting with its value and its description, nested ones with a dot."""
        described: list[dict[str, Any]] = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Config):
                described += [{**inner, "name": f"{name}.{inner['name']}"} for inner in value.described_settings()]
            else:
                described.append({"name": name, "value": value, "description": field.description or ""})
        return described

    def _unknown(self, name: str) -> ConfigError:
        return ConfigError(f"Expected one of the settings {', '.join(self.setting_names())}, but got {name!r}.")


def _names(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, value in values.items():
        names += _names(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [prefix + key]
    return names


def _sentence(owner: str, error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or owner
    wish = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "extra_forbidden":
        return f"{owner} has no setting {name!r}; check the spelling."
    if first["type"] == "value_error":
        return f"{owner}: {first['ctx']['error']!s}"
    return f"Expected setting {name!r} of {owner} to fit its range, but got {first['input']!r}; {wish}."
