"""Defines Range and Space: the bounds between which a method's settings are tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """The bounds of one setting, both included; if both are whole, only whole numbers are tried.

    Args:
        low, high: with 0 < low <= high where `log`.
        log: draw evenly on a logarithmic scale, on which rates and weights of a loss are compared.
    """

    low: float
    high: float
    log: bool = True

    def __post_init__(self) -> None:
        assert self.low <= self.high, f"{self.low} > {self.high}"
        assert self.low > 0 or not self.log, f"no logarithm of {self.low}"

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.low, int) and isinstance(self.high, int)


Space = Mapping[str, Range]  # name of a setting, as `with_settings` takes it -> its bounds
