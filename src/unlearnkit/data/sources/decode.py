"""Turns encoded pictures into uint8 pixels of one size, for every source of image files.

Shapes: n rows, C channels (3: RGB, 1: grey), H x W pixels.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from unlearnkit.data.images import ImageSet
from unlearnkit.data.preprocessing import DEFAULT_PREPROCESSING, RGB, Preprocessing
from unlearnkit.data.sources.formats import FORMATS, MOST_PIXELS
from unlearnkit.data.storage import Storage
from unlearnkit.data.stream import Shape
from unlearnkit.errors import DataError

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
AROUND = 16  # of a strip so many times its shorter side is kept; the widest filter reaches three pixels
RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """What a source is asked for: the size and channels of its images, and where decoded ones are kept.

    Args:
        preprocessing: with the channels that are asked for, None: as the source has them. The source names its own
            normalisation; who asked for another is served when it is open.
        storage: see `ImageSet`.
        workers: processes that decode ahead when images are streamed.
        classes: the model's class list, where it is known before the data is opened.
        image_column, label_column: names of columns, for sources of tables; None: they are found.
    """

    preprocessing: Preprocessing = DEFAULT_PREPROCESSING
    storage: Storage = "auto"
    workers: int = 0
    classes: tuple[str, ...] | None = None
    image_column: str | None = None
    label_column: str | None = None


class Pictures(Protocol):
    """Encoded pictures by row; it must pickle, as it is sent to worker processes."""

    def open(self, row: int) -> Image.Image:
        """Return the picture of a row without decoding its pixels; may raise whatever Pillow raises."""
        ...

    def name(self, row: int) -> str:
        """Return the name by which errors refer to the row."""
        ...


class PictureDecoder:
    """Decodes pictures to uint8 (n, C, H, W).

    As in torchvision and timm, transparency is dropped (a transparent pixel keeps the colour stored under it), EXIF
    rotation is not applied, and of an animation the first frame is taken. Of 16-bit grey the high byte is taken, as
    Pillow does itself with 16-bit colour. Pictures of 32-bit integers or floats are refused: their range is unknown,
    and Pillow would clip them to white without a word.
    """

    def __init__(self, pictures: Pictures, preprocessing: Preprocessing) -> None:
        self._pictures = pictures
        self._channels = preprocessing.channels or RGB
        self._size, self._crop = preprocessing.size, preprocessing.crop
        self._resampling = RESAMPLING[preprocessing.interpolation]

    def shape_of(self, row: int) -> Shape:
        """Return the shape (C, H, W) of a row from the picture's header, without decoding its pixels."""
        if self._size is not None:
            return self._channels, self._size, self._size
        width, height = self._guarded(row, self._pictures.open).size
        return self._channels, height, width

    def decode(self, rows: Sequence[int], shape: Shape) -> Tensor:
        """Return the pixels of `rows`, uint8 (n, C, H, W).

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
                    f"{picture.size[0]}x{picture.size[1]}; give an image size for them all "
                    "(--image-size, or image_size in a suite)."
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
        shorter = round(size / self._crop)
        picture = _without_far_ends(picture, shorter)
        width, height = picture.size
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
            raise self._broken(row, f"not an image of a format that is read: {', '.join(FORMATS)}") from error
        except UNDECODABLE as error:
            raise self._broken(row, first_line(error)) from error

    def _broken(self, row: int, reason: str) -> DataError:
        return DataError(
            f"Expected an image, but {self._pictures.name(row)} does not decode ({reason}); replace or remove it."
        )


def _without_far_ends(picture: Image.Image, shorter: int) -> Image.Image:
    """Cut the ends off a strip so long that it would take all memory when its shorter side has `shorter` pixels.

    The middle keeps so much that what is cut out of it afterwards is the same, but for the rounding of its place.
    """
    short, long = sorted(picture.size)
    if shorter * shorter * (long / short) <= MOST_PIXELS:
        return picture
    kept = min(long, AROUND * short + (long - AROUND * short) % 2)  # as many pixels off one end as off the other
    start = (long - kept) // 2
    if picture.width == long:
        return picture.crop((start, 0, start + kept, short))
    return picture.crop((0, start, short, start + kept))


def as_uint8(picture: Image.Image, channels: int) -> Image.Image:
    """Return a picture as 8-bit RGB (3 channels) or grey (1); not for modes `I` and `F`."""
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # the same colours as at once, but without Pillow's warning
    return picture.convert("RGB" if channels == 3 else "L")


def picture_set(labels: Tensor, pictures: Pictures, options: ImageOptions) -> ImageSet:
    """Return the set of pictures with these labels."""
    decoder = PictureDecoder(pictures, options.preprocessing)
    return ImageSet(labels, decoder.shape_of, decoder.decode, storage=options.storage, workers=options.workers)


def first_line(error: Exception) -> str:
    """Return an error's message, shortened to one line."""
    text = (str(error) or type(error).__name__).splitlines()[0]
    return text if len(text) <= 120 else text[:117] + "..."
