"""Turns encoded pictures into uint8 pixels of one size: the one decoder of every source of image files.

Shapes: n rows, C channels (3: RGB, 1: grey), H x W pixels.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from unlearnkit.data.images import ImageSet
from unlearnkit.data.storage import Storage
from unlearnkit.data.stream import Shape
from unlearnkit.errors import ConfigError, DataError

# What Pillow raises on damaged bytes, by experiment with random ones.
UNDECODABLE = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    NotImplementedError,
    LookupError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}


class Preprocessing(TypedDict):
    """Fields of an `ImageData` that say how its images are fed to a model."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int | None
    crop_pct: float
    interpolation: str


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How pictures become pixels, and where these are kept.

    Args:
        image_size: height and width of the result; None: as the pictures are, and all must have one size.
        crop_pct: the shorter side is resized to `round(image_size / crop_pct)`, and the centre is cut out.
        interpolation: how a picture is resized: bilinear, bicubic, nearest or lanczos.
        channels: 3 for RGB or 1 for grey; None: as the source has them.
        storage: see `ImageSet`.
        workers: processes that decode ahead when images are streamed.
    """

    image_size: int | None = None
    crop_pct: float = 1.0
    interpolation: str = "bilinear"
    channels: Literal[1, 3] | None = None
    storage: Storage = "auto"
    workers: int = 0

    def __post_init__(self) -> None:
        if self.image_size is not None and self.image_size < 1:
            raise ConfigError(f"Expected a positive image size, but got {self.image_size}; 224 is a common one.")
        if not 0 < self.crop_pct <= 1:
            raise ConfigError(f"Expected crop_pct above 0 and up to 1, but got {self.crop_pct}; 1 cuts no border off.")
        if self.crop_pct != 1 and self.image_size is None:
            raise ConfigError(f"Expected an image size beside crop_pct {self.crop_pct}, but got none; give both.")
        if self.interpolation not in INTERPOLATIONS:
            raise ConfigError(
                f"Expected interpolation {', '.join(INTERPOLATIONS)}, but got {self.interpolation!r}; "
                "bilinear is the default."
            )
        if self.channels not in (None, 1, 3):
            raise ConfigError(f"Expected 1 or 3 channels, but got {self.channels}; 3 is RGB, 1 is grey.")

    def preprocessing(self) -> Preprocessing:
        """What an `ImageData` is told of these options, with the default normalisation of as many channels."""
        channels = self.channels or 3
        return {
            "mean": (0.5,) * channels,
            "std": (0.25,) * channels,
            "image_size": self.image_size,
            "crop_pct": self.crop_pct,
            "interpolation": self.interpolation,
        }


class Pictures(Protocol):
    """Encoded pictures by row; it must pickle, as it travels to the worker processes."""

    def open(self, row: int) -> Image.Image:
        """Return the picture of a row, its pixels not decoded yet; may raise what Pillow raises."""
        ...

    def name(self, row: int) -> str:
        """What a person calls the row."""
        ...


class PictureDecoder:
    """Decodes pictures to uint8 (n, C, H, W).

    As in torchvision and timm, transparency is dropped (a transparent pixel keeps the colour stored under it), EXIF
    rotation is not applied, and of an animation the first frame is taken. Of 16-bit grey the high byte is taken, as
    Pillow does itself with 16-bit colour. Pictures of 32-bit integers or floats are refused: their range is unknown,
    and Pillow would clip them to white without a word.
    """

    def __init__(self, pictures: Pictures, options: ImageOptions) -> None:
        self._pictures = pictures
        self._channels = options.channels or 3
        self._size, self._crop_pct = options.image_size, options.crop_pct
        self._resampling = INTERPOLATIONS[options.interpolation]

    def shape_of(self, row: int) -> Shape:
        """(C, H, W) of a row, from the picture's header alone (its pixels are not decoded)."""
        if self._size is not None:
            return self._channels, self._size, self._size
        width, height = self._guarded(row, self._pictures.open).size
        return self._channels, height, width

    def decode(self, rows: Sequence[int], shape: Shape) -> Tensor:
        """Pixels of `rows`, uint8 (n, C, H, W).

        Raises:
            DataError: a picture does not decode, has another size, or is of a kind whose range is unknown.
        """
        channels, height, width = shape
        out = np.empty((len(rows), height, width, channels), dtype=np.uint8)
        for i, row in enumerate(rows):
            picture = self._guarded(row, self._pixels)
            if picture.size != (width, height):
                raise DataError(
                    f"Expected images of {width}x{height} pixels, but {self._pictures.name(row)} has "
                    f"{picture.size[0]}x{picture.size[1]}; give --image-size to resize them all."
                )
            out[i] = np.asarray(picture).reshape(height, width, channels)
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    def _pixels(self, row: int) -> Image.Image:
        picture = self._pictures.open(row)
        if picture.mode in ("I", "F"):
            raise DataError(
                f"Expected an image of 8 or 16 bits a channel, but {self._pictures.name(row)} has 32-bit "
                f"{'integers' if picture.mode == 'I' else 'floats'}, whose range is unknown; save it with 8 bits."
            )
        colours = as_uint8(picture, self._channels)
        return colours if self._size is None else self._resized(colours, self._size)

    def _resized(self, picture: Image.Image, size: int) -> Image.Image:
        width, height = picture.size
        shorter = round(size / self._crop_pct)
        # rounded as torchvision's Resize and CenterCrop do
        scaled = [
            shorter if side == min(width, height) else int(shorter * side / min(width, height))
            for side in (width, height)
        ]
        left, top = (round((side - size) / 2) for side in scaled)
        return picture.resize((scaled[0], scaled[1]), self._resampling).crop((left, top, left + size, top + size))

    def _guarded(self, row: int, read: Callable[[int], Image.Image]) -> Image.Image:
        try:
            return read(row)
        except UnidentifiedImageError as error:
            raise self._broken(row, "not an image format that Pillow reads") from error
        except UNDECODABLE as error:
            raise self._broken(row, first_line(error)) from error

    def _broken(self, row: int, reason: str) -> DataError:
        return DataError(
            f"Expected an image, but {self._pictures.name(row)} does not decode ({reason}); replace or remove it."
        )


def as_uint8(picture: Image.Image, channels: int) -> Image.Image:
    """Return a picture as 8-bit RGB (3 channels) or grey (1); not for modes `I` and `F`."""
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # the same colours as at once, but without Pillow's warning
    return picture.convert("RGB" if channels == 3 else "L")


def picture_set(labels: Tensor, pictures: Pictures, options: ImageOptions) -> ImageSet:
    """Return the set of pictures with these labels."""
    decoder = PictureDecoder(pictures, options)
    return ImageSet(labels, decoder.shape_of, decoder.decode, storage=options.storage, workers=options.workers)


def first_line(error: Exception) -> str:
    """What an error says, in one short line."""
    text = (str(error) or type(error).__name__).splitlines()[0]
    return text if len(text) <= 120 else text[:117] + "..."
