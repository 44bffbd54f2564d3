"""Defines Preprocessing, how images are fed to a model, and decides where each of its values comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from unlearnkit.errors import ConfigError, DataError

LARGEST = 8192  # side of an image, in pixels; what asks for more, a damaged file or a typing error, exhausts memory
INTERPOLATIONS = ("bilinear", "bicubic", "nearest", "lanczos")
LEVELS = 255  # the largest value of a uint8 pixel
RGB = 3  # channels of pictures of which nobody says how many they are to have
RECORDED = {"image_size": "size", "mean": "mean", "std": "std", "crop_pct": "crop", "interpolation": "interpolation"}


class Origin(StrEnum):
    """The origin of a value of the preprocessing."""

    HAND = "given by hand"
    RECORD = "recorded in the run folder"
    WEIGHTS = "recorded with the weights"
    ZOO = "the model's own"
    SOURCE = "of the data source"
    DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How the images of a data set are fed to a model.

    Args:
        size: height and width that images are resized to, in pixels; None: they are taken as they are.
        crop: the shorter side is resized to `round(size / crop)`, and the centre is cut out; in (0, 1].
        interpolation: how images are resized: bilinear, bicubic, nearest or lanczos.
        mean, std: one value, or one per channel, in units of [0, 1] pixels (of float pixels: in theirs). They are
            constants of the configuration, never computed from the images: statistics of the data would carry the
            forgotten samples into the preprocessing.
        channels: of the images; None: as they have them.

    Raises:
        ConfigError: a value is out of its range, or does not fit another.
    """

    size: int | None = None
    crop: float = 1.0
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    channels: int | None = None

    def __post_init__(self) -> None:
        _check_values(self)
        for name, count in (("mean", len(self.mean)), ("std", len(self.std))):
            if count != 1 and (count == 0 or self.channels not in (None, count)):
                expected = "1 value" if self.channels in (None, 1) else f"1 or {self.channels} values"
                raise ConfigError(f"Expected {expected} for {name}, but got {count}; give one per image channel.")
        if self.crop != 1 and self.size is None:
            raise ConfigError(f"Expected an image size beside crop_pct {self.crop}, but got none; give both.")

    def as_record(self) -> dict[str, Any]:
        """Return the preprocessing as weights files and config.json hold it; the images' shape gives the channels."""
        return {
            "image_size": self.size,
            "mean": list(self.mean),
            "std": list(self.std),
            "crop_pct": self.crop,
            "interpolation": self.interpolation,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, channels: int) -> Preprocessing:
        """Read what `as_record` wrote; files of version 0.1.0 lack the crop and the interpolation.

        Raises:
            KeyError: another value is missing.
            ConfigError: a value is out of its range or of the wrong kind.
        """
        missing = [key for key in ("image_size", "mean", "std") if key not in record]
        if missing:
            raise KeyError(missing[0])
        values = {name: _from_json(record[key]) for key, name in RECORDED.items() if key in record}
        return cls(**values, channels=channels)

    def as_wanted(self, channels: int | None = None) -> PartialPreprocessing:
        """Return all values as requests, for images with this many channels (None: as many as these values have).

        For grey images the normalisation of three channels becomes its mean over the three.
        """
        mean, std = (
            (sum(values) / len(values),) if channels == 1 and len(values) == RGB else values
            for values in (self.mean, self.std)
        )
        return PartialPreprocessing(
            size=self.size,
            crop=self.crop,
            interpolation=self.interpolation,
            mean=mean,
            std=std,
            channels=1 if self.channels == 1 else 3 if self.channels == RGB else None,
        )

    def for_pictures(self) -> Preprocessing:
        """Return the preprocessing of encoded pictures, read as RGB unless grey is asked for: 3 or 1 means and stds."""
        count = self.channels or RGB
        mean, std = _per_channel(self.mean, count), _per_channel(self.std, count)
        return Preprocessing(
            size=self.size, crop=self.crop, interpolation=self.interpolation, mean=mean, std=std, channels=count
        )

    def check_channels(self, channels: int) -> None:
        """Refuse images whose number of channels does not fit mean and std.

        Raises:
            DataError: they are.
        """
        if len(self.mean) not in (1, channels) or len(self.std) not in (1, channels):
            raise DataError(
                f"Expected one mean and std or {channels} for images of {channels} channels, but got "
                f"{len(self.mean)} and {len(self.std)}; give one value per channel."
            )


@dataclass(frozen=True, kw_only=True)
class PartialPreprocessing:
    """Some values of a `Preprocessing`, as a user or a model asks for them; None leaves a value open.

    Raises:
        ConfigError: a value is out of its range.
    """

    size: int | None = None
    crop: float | None = None
    interpolation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: Literal[1, 3] | None = None

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, RGB):
            raise ConfigError(f"Expected 1 or 3 channels, but got {self.channels}; 3 is RGB, 1 is grey.")
        _check_values(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any], *, channels: int) -> PartialPreprocessing:
        """Read what `Preprocessing.as_record` wrote, where any value may be missing."""
        values = {name: _from_json(record.get(key)) for key, name in RECORDED.items()}
        return cls(**values, channels=1 if channels == 1 else 3)


Layers = Sequence[tuple[Origin, PartialPreprocessing]]  # the first one that has a value decides


def wanted_of(layers: Layers) -> Preprocessing:
    """Return what is asked of a data source before it is opened, which needs no normalisation.

    Raises:
        ConfigError: a crop is asked for, and no size.
    """
    names = ("size", "crop", "interpolation", "channels")
    found = {name: value for name in names if (value := _first(layers, name)[0]) is not None}
    return Preprocessing(**found)


def resolve(layers: Layers, source: Preprocessing) -> tuple[Preprocessing, dict[str, Origin]]:
    """Decide each value of the preprocessing and where it comes from; nothing else decides between the layers.

    Args:
        layers: who asks for what, in the order of precedence.
        source: how the opened source hands out its images, with the normalisation that it has where nobody asks for
            another; pixels are as it says, whatever was asked for.

    Raises:
        ConfigError: mean or std do not fit the channels.
    """
    plain = Preprocessing(channels=RGB)
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for name in Preprocessing.__dataclass_fields__:
        value, origin = _first(layers, name)
        source_value = getattr(source, name)
        if name in ("mean", "std"):
            values[name] = _per_channel(source_value if value is None else value, source.channels or 1)
            by_default = set(source_value) == set(getattr(plain, name))
        else:
            values[name] = source_value
            by_default = source_value == getattr(plain, name)
            origin = origin if value == source_value else None
        origins[name] = origin or (Origin.DEFAULT if by_default else Origin.SOURCE)
    return Preprocessing(**values), origins


def without_foreign_crop(layers: Layers) -> Layers:
    """Return the layers without any crop beside a size that is given by hand, where the two are of different sizes.

    A crop belongs to the size that it was chosen with: who gives another size by hand, and no crop, gets all of the
    picture.
    """
    hand = next((layer for origin, layer in layers if origin is Origin.HAND), None)
    if hand is None or hand.size is None or hand.crop is not None:
        return layers
    return [(origin, layer if layer.size == hand.size else replace(layer, crop=None)) for origin, layer in layers]


def check_units(layers: Layers) -> None:
    """Refuse a normalisation that was meant for pixels of 0..255, where images are uint8 and so become 0..1 first.

    What weights of ours and run folders record is not looked at: their models were trained with it, whatever it is.

    Raises:
        ConfigError: a mean lies outside of [0, 1], or a deviation above 1.
    """
    checked = [(origin, layer) for origin, layer in layers if origin in (Origin.HAND, Origin.ZOO)]
    mean, std = _first(checked, "mean")[0] or (), _first(checked, "std")[0] or ()
    beyond = any(not 0 <= value <= 1 for value in mean)
    if not beyond and all(value <= 1 for value in std):
        return
    got = " and ".join(f"{name} {_listed(values)}" for name, values in (("mean", mean), ("std", std)) if values)
    expected = "Expected mean from 0 to 1 and std up to 1, as pixels are divided by 255 before they are normalised"
    if any(not 0 <= value <= LEVELS for value in mean) or any(value > LEVELS for value in std):
        raise ConfigError(f"{expected}, but got {got}; give --mean and --std as the model was trained with them.")
    words = []
    if beyond:
        words.append(f"--mean {_listed([value / LEVELS for value in mean])}")
    if any(value > 1 for value in std) or (beyond and all(value == 1 for value in std) and std):
        words.append(f"--std {_listed([value / LEVELS for value in std])}")
    raise ConfigError(f"{expected}, but got {got}, which are of pixels from 0 to 255; give {' '.join(words)}.")


def _listed(values: Sequence[float]) -> str:
    return ",".join(f"{value:.6g}" for value in values)


def _first(layers: Layers, name: str) -> tuple[Any, Origin | None]:
    """Return the value of the first layer that has one, and the layer's origin."""
    for origin, layer in layers:
        value = getattr(layer, name)
        if value is not None:
            return value, origin
    return None, None


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


def _from_json(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_values(given: Preprocessing | PartialPreprocessing) -> None:
    """Check ranges, for values from a command line and from files of unknown origin alike."""
    if given.size is not None and not (isinstance(given.size, int) and 0 < given.size <= LARGEST):
        raise ConfigError(
            f"Expected an image size from 1 to {LARGEST} pixels, but got {given.size!r}; most models take 32 to 1024."
        )
    if given.crop is not None and not (isinstance(given.crop, int | float) and 0 < given.crop <= 1):
        raise ConfigError(f"Expected crop_pct above 0 and up to 1, but got {given.crop!r}; 1 cuts no border off.")
    if given.interpolation is not None and given.interpolation not in INTERPOLATIONS:
        raise ConfigError(
            f"Expected interpolation {', '.join(INTERPOLATIONS)}, but got {given.interpolation!r}; "
            "bilinear is the default."
        )
    for name, values in (("mean", given.mean), ("std", given.std)):
        if not isinstance(values, tuple | None):
            raise ConfigError(f"Expected a list of numbers for {name}, but got {values!r}; write one per channel.")
        for value in values or ():
            if not isinstance(value, int | float) or not math.isfinite(value) or (name == "std" and value <= 0):
                kind = "positive number" if name == "std" else "finite number"
                raise ConfigError(f"Expected a {kind} for {name}, but got {value!r}; it is in units of [0, 1] pixels.")


DEFAULT_PREPROCESSING = Preprocessing()
NOTHING_WANTED = PartialPreprocessing()
