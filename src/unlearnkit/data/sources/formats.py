"""Which image files are read: still pictures of a fixed list of formats, none of which starts another program.

Pillow reads more: PostScript, for which it starts Ghostscript, films, and formats that other packages add. A picture
is only ever opened as one of `FORMATS`, by its content, whatever its name says.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, features

# each of these registers what it reads with Pillow; `Image.init` would load the readers of all formats
from PIL import (  # noqa: F401  isort: skip
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from unlearnkit.disk.files import open_regular, read_regular
from unlearnkit.errors import DataError

# format of Pillow -> endings of its files, in lower case
FORMATS: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"),
    "PNG": (".png", ".apng"),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "WEBP": (".webp",),
}
if "avif" in features.modules and features.check("avif"):  # Pillow 11.3 and later, where it was built with it
    from PIL import AvifImagePlugin  # noqa: F401

    FORMATS["AVIF"] = (".avif",)
ENDINGS = frozenset(ending for endings in FORMATS.values() for ending in endings)
MOST_PIXELS = 89_478_485  # beyond which Pillow warns; a file of a few bytes can claim any number
HEAD = 16  # bytes that tell a format


def open_picture(source: str | Path | BinaryIO) -> Image.Image:
    """Open a picture of one of `FORMATS`, its pixels not decoded yet.

    Raises:
        UnidentifiedImageError: it is none of them.
        OSError: it cannot be read, or is a pipe or a device.
        ValueError: it has more than `MOST_PIXELS`.
    """
    content = io.BytesIO(read_regular(source)) if isinstance(source, str | Path) else source
    picture = Image.open(content, formats=tuple(FORMATS))
    if picture.width * picture.height > MOST_PIXELS:
        raise ValueError(f"it has {picture.width:,} x {picture.height:,} pixels, more than {MOST_PIXELS:,}")
    return picture


@contextmanager
def without_programs() -> Iterator[None]:
    """Keep Pillow from starting Ghostscript in the `with` block, where a loader of others opens files of any format.

    A PostScript file is then an image that does not decode.
    """
    from PIL import EpsImagePlugin  # here alone, as it registers PostScript with Pillow

    before = EpsImagePlugin.gs_binary
    EpsImagePlugin.gs_binary = False
    try:
        yield
    finally:
        EpsImagePlugin.gs_binary = before


def is_picture(path: str, ending: str) -> bool:
    """Whether a file is a picture of one of `FORMATS`: by its ending, and where that says nothing by its first bytes.

    Args:
        path: of the file.
        ending: of its name, in lower case, with the dot.

    Raises:
        DataError: its first bytes tell, and cannot be read.
    """
    if ending in ENDINGS:
        return True
    if not Path(path).is_file():  # a pipe, say
        return False
    try:
        with open_regular(path) as file:
            return _begins_as_picture(file.read(HEAD))
    except OSError as error:
        raise DataError(
            f"Expected a file that can be read at {path}, but it cannot ({error.strerror}); mend or remove it."
        ) from error


def _begins_as_picture(head: bytes) -> bool:
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[4:8] == b"ftyp":
        return head[8:12] in (b"avif", b"avis") and "AVIF" in FORMATS
    # BMP and the PNM family begin with two letters, as any text may, and TIFF as the raw files of cameras do: these are
    # known by their endings alone
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
