"""Draws PNG files from tensors: strips of images, maps over an image, points in a plane.

It draws whatever it is given; `steps/pictures.py` decides which pictures a run folder may hold.

Backgrounds are clear and colours of middling brightness, so that the pictures stand on light and dark paper alike.

Shapes: n images or points, C channels (1 or 3), H x W pixels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

TILE = 128  # pixels of the longer side of one image of a picture
GAP = 8  # pixels between two of them
MIDDLE = 96  # of a larger image, so many pixels a side of its middle are shown where each of them matters
PLANE = 560  # pixels a side of a plane of points
FINE = 3  # it is drawn so many times as large, and then reduced
HEAT = np.array([230.0, 120.0, 0.0])  # orange over grey: what counts is how much of it, not its hue
CROSS, RING = (150, 84, 214, 255), (124, 132, 142, 255)


def strip(images: Tensor, limit: float) -> bytes:
    """Draw images side by side: 0 is mid-grey, `limit` and more white, -`limit` and less black, in each channel.

    Of images larger than `MIDDLE` pixels the middle is shown: to reduce noise is to average it away.

    Args:
        images: (n, C, H, W) floating.
        limit: positive.
    """
    top, left = (max(0, (side - MIDDLE) // 2) for side in images.shape[2:])
    shown = images[:, :, top : top + MIDDLE, left : left + MIDDLE]
    pixels = ((shown / limit).clamp(-1, 1) * 127.5 + 127.5).round().byte()
    return _png(_rows([[_tile(image) for image in pixels]]))


def attention(pixels: Tensor, rows: Sequence[Sequence[Tensor]]) -> bytes:
    """Draw an image, and beside it rows of maps over it: the larger the map, the more orange.

    Args:
        pixels: (C, H, W) uint8.
        rows: maps (H, W) in [0, 1].
    """
    image = _tile(pixels)
    lines: list[list[Image.Image | None]] = [
        [None, *(_heated(image, attention_map) for attention_map in maps)] for maps in rows
    ]
    lines[0][0] = image
    return _png(_rows(lines))


def plane(points: Tensor, marked: Tensor) -> bytes:
    """Draw points in a square, both axes on one scale: crosses for the marked ones, above rings for the others.

    Args:
        points: (n, 2) floating, finite.
        marked: (n,) bool.
    """
    low, high = points.amin(dim=0), points.amax(dim=0)
    half = max(float((high - low).max()) / 2, 1e-12) * 1.06
    places = ((points - (low + high) / 2) / half * (PLANE * FINE / 2)).round().long() + PLANE * FINE // 2
    canvas = Image.new("RGBA", (PLANE * FINE, PLANE * FINE))
    draw = ImageDraw.Draw(canvas)
    arm, line = 6 * FINE, round(2.4 * FINE)
    for x, y in places[~marked].tolist():
        y = PLANE * FINE - y
        draw.ellipse((x - arm, y - arm, x + arm, y + arm), outline=RING, width=line)
    for x, y in places[marked].tolist():
        y = PLANE * FINE - y
        draw.line((x - arm, y - arm, x + arm, y + arm), fill=CROSS, width=line)
        draw.line((x - arm, y + arm, x + arm, y - arm), fill=CROSS, width=line)
    return _png(canvas.reduce(FINE).quantize(64, method=Image.Quantize.FASTOCTREE))  # two colours and their edges


def _tile(pixels: Tensor) -> Image.Image:
    """Return (C, H, W) uint8 as a picture whose longer side is `TILE`; single pixels stay visible when enlarged."""
    array = pixels.cpu().permute(1, 2, 0).numpy()
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).convert("RGB")
    scale = TILE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _heated(image: Image.Image, heat: Tensor) -> Image.Image:
    """Return the picture in grey, with the map over it."""
    grown = Image.fromarray(heat.cpu().float().numpy()).resize(image.size, Image.Resampling.BILINEAR)
    share = 0.8 * np.asarray(grown)[:, :, None].clip(0, 1)
    grey = np.asarray(image.convert("L"), dtype=np.float64)[:, :, None]
    return Image.fromarray(((1 - share) * grey + share * HEAT).round().astype(np.uint8))


def _rows(lines: Sequence[Sequence[Image.Image | None]]) -> Image.Image:
    """Join tiles of one size in rows; missing ones are transparent."""
    first = next(tile for line in lines for tile in line if tile is not None)
    wide, high = first.width + GAP, first.height + GAP
    canvas = Image.new("RGBA", (wide * max(map(len, lines)) - GAP, high * len(lines) - GAP))
    for i, line in enumerate(lines):
        for j, tile in enumerate(line):
            if tile is not None:
                canvas.paste(tile, (j * wide, i * high))
    return canvas


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")  # `optimize` takes nine times as long for 7 % fewer bytes
    return buffer.getvalue()
