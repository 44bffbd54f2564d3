"""Finds the image files below a folder, sorted, and counts what is not read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NoReturn

from unlearnkit.data.sources.formats import is_picture
from unlearnkit.data.sources.unread import Unread, ending_of, is_hidden
from unlearnkit.errors import DataError


@dataclass(kw_only=True)
class FoundImages:
    """Paths of images, in order, and what else was there."""

    unread: Unread
    paths: list[str] = field(default_factory=list)


def images_below(folder: str, found: FoundImages) -> None:
    """Add the images of a folder and of all folders in it, in the order of their paths; links are followed once.

    Raises:
        DataError: a folder cannot be read.
    """
    seen: set[str] = set()
    below: list[tuple[str, list[str]]] = []
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_unreadable):
        real = os.path.realpath(place)
        if real in seen:  # a link back to where we were
            folders.clear()
            continue
        seen.add(real)
        found.unread.add_folders(sum(map(is_hidden, folders)))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        below.append((place, files))
    for place, files in sorted(below):
        for name in sorted(files):
            path = os.path.join(place, name)
            if not is_hidden(name) and is_picture(path, ending_of(name)):
                found.paths.append(path)
            else:
                found.unread.add(name)


def _unreadable(error: OSError) -> NoReturn:
    raise DataError(
        f"Expected a folder that can be read at {error.filename}, but it cannot ({error.strerror}); mend its "
        "permissions."
    ) from error
