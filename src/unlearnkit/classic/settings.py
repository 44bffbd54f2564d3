"""Checks the settings of the estimators here."""

from __future__ import annotations

import math
from numbers import Integral, Real

from unlearnkit.errors import ConfigError


def check_whole(name: str, value: object, *, least: int, most: int | None = None) -> None:
    """Raise ConfigError unless a setting is a whole number in its range.

    >>> check_whole("n_clusters", 0, least=1)
    Traceback (most recent call last):
    unlearnkit.errors.ConfigError: Expected n_clusters to be a whole number of at least 1, but got 0; change it.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):  # type: ignore[operator]
        span = f"of at least {least}" if most is None else f"between {least} and {most}"
        raise ConfigError(f"Expected {name} to be a whole number {span}, but got {value!r}; change it.")


def check_real(name: str, value: object, *, above: float = -math.inf, least: float = -math.inf) -> None:
    """Raise ConfigError unless a setting is a finite number in its range.

    >>> check_real("alpha", -1.0, least=0)
    Traceback (most recent call last):
    unlearnkit.errors.ConfigError: Expected alpha to be a number of at least 0, but got -1.0; change it.
    """
    real = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not real or value <= above or value < least:  # type: ignore[operator]
        span = f"above {above}" if above > -math.inf else f"of at least {least}"
        raise ConfigError(f"Expected {name} to be a number {span}, but got {value!r}; change it.")


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ConfigError unless a setting is one of its names.

    >>> check_choice("criterion", "log", ("gini", "entropy"))
    Traceback (most recent call last):
    unlearnkit.errors.ConfigError: Expected criterion to be one of gini, entropy, but got 'log'; choose one of them.
    """
    if value not in choices:
        raise ConfigError(f"Expected {name} to be one of {', '.join(choices)}, but got {value!r}; choose one of them.")
