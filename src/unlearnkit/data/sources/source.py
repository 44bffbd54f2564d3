"""Defines Source, an entry of the registry of data sources."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unlearnkit.data.images import ImageData
from unlearnkit.data.sources.decode import ImageOptions


@dataclass(frozen=True, kw_only=True)
class Source:
    """A kind of data source, written `NAME`, or `NAME:` and what it needs after the colon.

    Args:
        load: (what stands after the colon, how images are read) -> the data. `ImageData.source` must be a text that
            `load_data` takes, as the run folder records it and `audit` reads the data by it again.
        needs: what must stand after the colon, as messages and the help name it: `DIR`; empty: nothing.
        columns: whether it reads tables, and takes the names of the columns of images and labels.
        local: whether it reads files of this machine alone and runs no code of others, unpickling included. Only such a
            source is opened because a file names it.
    """

    load: Callable[[str, ImageOptions], ImageData]
    needs: str = ""
    columns: bool = False
    local: bool = False
