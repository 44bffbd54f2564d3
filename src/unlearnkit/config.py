"""Defines Config, the frozen, keyword-only, validated settings that recipes and methods are made of."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from unlearnkit.errors import ConfigError


class Config(BaseModel):
    """Base of all settings: immutable, without unknown names or NaN; text is parsed.

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
            name = name.strip()
            *path, last = name.split(".")
            target = values
            for depth, key in enumerate(path, start=1):
                if target.get(key, 0) is None:
                    raise ConfigError(
                        f"Expected the group {'.'.join(path[:depth])!r} to be on where {name!r} is set, but it is "
                        "none, so off; leave one of the two out."
                    )
                if not isinstance(target.get(key), Mapping):
                    raise self._unknown(name)
                target = target[key]
            if last not in target:
                raise self._unknown(name)
            new = None if text.strip().lower() == "none" else text.strip()
            if new is not None and isinstance(target[last], Mapping):
                raise ConfigError(
                    f"Expected a setting of the group {name!r}, but got {setting!r}; "
                    f"set one of {', '.join(_names(target[last], f'{name}.'))}."
                )
            target[last] = new
        return self._rebuilt(values, type(self).__name__, "")

    def check_names(self, names: Sequence[str]) -> None:
        """Refuse names that belong to no setting and no group of settings.

        Raises:
            ConfigError: a name is unknown.
        """
        known = self.setting_names()
        for name in names:
            if not any(setting_name == name or setting_name.startswith(f"{name}.") for setting_name in known):
                raise self._unknown(name)

    def setting_names(self) -> list[str]:
        """Return every name that `with_settings` takes; a dot separates group and setting."""
        return _names(self.model_dump())

    def described_settings(self) -> list[dict[str, Any]]:
        """Return every setting with its value and its description; a dot separates group and setting."""
        described: list[dict[str, Any]] = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, Config):
                described += [{**inner, "name": f"{name}.{inner['name']}"} for inner in value.described_settings()]
            else:
                described.append({"name": name, "value": value, "description": field.description or ""})
        return described

    def _rebuilt(self, values: Mapping[str, Any], owner: str, prefix: str) -> Self:
        """Build nested configurations first, so that an error names a setting as the caller wrote it."""
        built = {
            key: getattr(self, key)._rebuilt(value, owner, f"{prefix}{key}.") if isinstance(value, Mapping) else value
            for key, value in values.items()
        }
        try:
            return type(self)(**built)
        except ConfigError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ConfigError(_sentence(owner, error.__cause__, prefix)) from error
            raise

    def _unknown(self, name: str) -> ConfigError:
        names = self.setting_names()
        close = difflib.get_close_matches(name, names, n=3)
        known = f"did you mean {' or '.join(close)}?" if close else f"the settings are {', '.join(names)}."
        return ConfigError(f"Expected the name of a setting, but got {name!r}, which is unknown; {known}")


def _names(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, value in values.items():
        names += _names(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [prefix + key]
    return names


def _sentence(owner: str, error: ValidationError, prefix: str = "") -> str:
    first = error.errors()[0]
    name = prefix + ".".join(str(part) for part in first["loc"]) or owner
    wish = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "extra_forbidden":
        return f"{owner} has no setting {name!r}; check the spelling."
    if first["type"] == "value_error":
        return f"{owner}: {first['ctx']['error']!s}"
    return f"Expected setting {name!r} of {owner} to fit its range, but got {first['input']!r}; {wish}."
