"""Lists the architectures that are known by name."""

from __future__ import annotations

from unlearnkit.models import PLUGINS, list_models


def model_names(pattern: str = "") -> list[str]:
    """Return the names that contain `pattern`, or match it where it has `*` or `?`."""
    return list_models(pattern)


def broken_models() -> list[str]:
    """Return one sentence for each model that an installed package adds and that cannot be used."""
    return PLUGINS.load_all()[1]
