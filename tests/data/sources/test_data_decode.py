"""The one decoder of pictures: modes, 16 bits, resizing and cropping, and what it refuses."""

from __future__ import annotations

import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.data.sources.decode import PictureDecoder
from unlearnkit.errors import DataError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)


class Given:
    """Pictures that are given as such."""

    def __init__(self, *pictures: Image.Image) -> None:
        self.pictures = pictures

    def open(self, row: int) -> Image.Image:
        return self.pictures[row]

    def name(self, row: int) -> str:
        return f"picture {row}"


def decoded(picture: Image.Image, **options: object) -> Tensor:
    decoder = PictureDecoder(Given(picture), Preprocessing(**options))  # type: ignore[arg-type]
    shape = decoder.shape_of(0)
    pixels = decoder.decode([0], shape)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (1, *shape)
    return pixels[0]


def chw(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(pixels)).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)


def in_mode(mode: str) -> Image.Image:
    picture = Image.fromarray(COLOURS)
    if mode == "P+t":
        picture = picture.convert("P")
        picture.info["transparency"] = bytes(range(256))
        return picture
    if mode in ("RGBA", "LA"):
        picture = picture.convert(mode)
        picture.putalpha(Image.fromarray(COLOURS[..., 0]))
        return picture
    return picture.convert(mode)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "P+t", "1", "CMYK", "YCbCr", "HSV"])
def test_every_mode_of_8_bits_is_what_torchvision_makes_of_it(mode: str, channels: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = decoded(in_mode(mode), channels=channels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on the transparency of palettes
        expected = in_mode(mode).convert("RGB" if channels == 3 else "L")
    assert torch.equal(pixels, chw(np.asarray(expected)))


def test_what_is_under_transparent_pixels_is_shown() -> None:
    pixels = decoded(Image.new("RGBA", (2, 3), (10, 20, 30, 0)))
    assert pixels[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bits_are_scaled_and_not_clipped_to_white(format: str, channels: int) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.array([[0, 255, 256, 1000, 32768, 65535]], dtype=np.uint16)).save(buffer, format)
    pixels = decoded(Image.open(buffer), channels=channels)
    assert pixels[0].tolist() == [[0, 0, 1, 3, 128, 255]]
    assert (pixels == pixels[0]).all()


def test_16_bits_of_the_other_byte_order_are_the_same() -> None:
    assert decoded(Image.frombytes("I;16B", (2, 1), b"\x01\x00\xff\xff"))[0].tolist() == [[1, 255]]


@pytest.mark.parametrize(("dtype", "word"), [(np.int32, "integers"), (np.float32, "floats")])
def test_32_bits_are_refused(dtype: type, word: str) -> None:
    with pytest.raises(DataError, match=rf"8 or 16 bits a channel, but picture 0 has 32-bit {word}.*save it with 8"):
        decoded(Image.fromarray(np.ones((3, 3), dtype=dtype)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest", "lanczos"])
@pytest.mark.parametrize("size", [(33, 20), (20, 33), (16, 16), (5, 47)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875, 0.9])
def test_resizing_is_that_of_torchvision(interpolation: str, size: tuple[int, int], crop_pct: float) -> None:
    picture = Image.fromarray(RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    resize = Resize(round(14 / crop_pct), InterpolationMode(interpolation))
    expected = CenterCrop(14)(resize(picture))
    pixels = decoded(picture, size=14, crop=crop_pct, interpolation=interpolation)
    assert torch.equal(pixels, chw(np.asarray(expected)))


def test_the_proportions_are_kept() -> None:
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 200  # the square in the middle
    assert decoded(Image.fromarray(wide), size=10).unique().tolist() == [200]


def test_sizes_that_differ_are_named() -> None:
    decoder = PictureDecoder(Given(Image.new("L", (4, 5)), Image.new("L", (5, 4))), Preprocessing(channels=1))
    assert decoder.shape_of(0) == (1, 5, 4)
    with pytest.raises(DataError, match=r"4x5 pixels, but picture 1 has 5x4; give an image size .*--image-size, or"):
        decoder.decode([0, 1], (1, 5, 4))


def test_a_decoder_pickles() -> None:
    decoder = PictureDecoder(Given(Image.fromarray(COLOURS)), Preprocessing(size=6))
    copy = pickle.loads(pickle.dumps(decoder.decode))
    assert torch.equal(copy([0], (3, 6, 6)), decoder.decode([0], (3, 6, 6)))
