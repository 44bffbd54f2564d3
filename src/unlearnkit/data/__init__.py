"""Data sources by name: a source becomes an ImageData."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from unlearnkit.data.digits import load_digits
from unlearnkit.data.images import ImageData, ImageSet
from unlearnkit.data.parquet import load_parquet
from unlearnkit.data.view import AccessLog, DataView, PartSamples, Samples
from unlearnkit.errors import ConfigError, DataError

__all__ = ["AccessLog", "DataView", "ImageData", "ImageSet", "PartSamples", "Samples", "load_data"]


def _digits(rest: str, image_size: int | None) -> ImageData:
    if rest:
        raise DataError(f"Expected 'digits', but got 'digits:{rest}'; the bundled digits take no folder.")
    if image_size not in (None, 8):
        raise ConfigError(f"Expected an image size of 8 for digits, but got {image_size}; leave --image-size out.")
    return load_digits()


def _parquet(rest: str, image_size: int | None) -> ImageData:
    if not rest:
        raise DataError(
            "Expected parquet:DIR, but the folder is missing; name the folder with train.parquet and test.parquet."
        )
    return load_parquet(rest, image_size=image_size)


SOURCES: dict[str, Callable[[str, int | None], ImageData]] = {"digits": _digits, "parquet": _parquet}


def load_data(
    source: str,
    *,
    image_size: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> ImageData:
    """Load `digits` or `parquet:DIR`.

    Args:
        source: name of the source, with its folder after a colon.
        image_size: resize images to this height and width.
        mean, std: normalisation, one value or one per channel, in units of [0, 1] pixels; default: the source's.

    Raises:
        DataError: the source is unknown, missing or corrupt.
        ConfigError: mean or std do not fit the channels, or a std is not positive.
    """
    name, _, rest = source.partition(":")
    if name not in SOURCES:
        raise DataError(
            f"Expected a data source ({', '.join(SOURCES)}), but got {source!r}; write digits or parquet:DIR."
        )
    data = SOURCES[name](rest, image_size)
    channels = len(data.mean)
    return replace(
        data, mean=_channels("mean", mean, data.mean, channels), std=_channels("std", std, data.std, channels)
    )


def _channels(
    name: str, given: tuple[float, ...] | None, default: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    values = default if given is None else given
    if len(values) == 1:
        values = values * channels
    if len(values) != channels:
        wanted = "1 value" if channels == 1 else f"1 or {channels} values"
        raise ConfigError(f"Expected {wanted} for {name}, but got {len(values)}; give one per image channel.")
    for value in values:
        if not math.isfinite(value) or (name == "std" and value <= 0):
            kind = "positive number" if name == "std" else "finite number"
            raise ConfigError(f"Expected a {kind} for {name}, but got {value}; it is in units of [0, 1] pixels.")
    return values
