"""Registers the data sources, and loads one by its name as ImageData."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from unlearnkit.data.images import ImageData
from unlearnkit.data.preprocessing import (
    Layers,
    Origin,
    PartialPreprocessing,
    check_units,
    resolve,
    wanted_of,
    without_foreign_crop,
)
from unlearnkit.data.sources.decode import ImageOptions
from unlearnkit.data.sources.digits import load_digits
from unlearnkit.data.sources.hub import load_hub
from unlearnkit.data.sources.image_folder import load_image_folder
from unlearnkit.data.sources.parquet import load_parquet
from unlearnkit.data.sources.source import Source
from unlearnkit.data.sources.torchvision_sets import load_torchvision
from unlearnkit.data.storage import Storage, checked_storage, checked_workers
from unlearnkit.errors import ConfigError, DataError
from unlearnkit.plugins import Plugins

SOURCES: dict[str, Source] = {
    "digits": Source(load=load_digits, local=True),
    "parquet": Source(load=load_parquet, needs="DIR", columns=True, local=True),
    "imagefolder": Source(load=load_image_folder, needs="DIR", local=True),
    "hf": Source(load=load_hub, needs="NAME", columns=True),
    "torchvision": Source(load=load_torchvision, needs="NAME:ROOT"),
}


def _checked(found: object, place: str) -> Source:
    """Return what a package adds as a data source, if it is one."""
    if not isinstance(found, Source):
        raise DataError(
            f"Expected a data source at {place}, but got {type(found).__name__}; "
            "name an unlearnkit.data.sources.source.Source there."
        )
    return found


PLUGINS: Plugins[Source] = Plugins(
    group="unlearnkit.data", what="data source", builtin=SOURCES, error=DataError, check=_checked
)


def load_data(
    source: str,
    *,
    image_size: int | None = None,
    crop_pct: float | None = None,
    interpolation: str | None = None,
    channels: Literal[1, 3] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    storage: Storage = "auto",
    workers: int | None = None,
    classes: tuple[str, ...] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> ImageData:
    """Load a data source: one of `SOURCES`, or one that an installed package adds.

    Args:
        source: name of the source, with what it needs after a colon: `digits`, `parquet:DIR`, `imagefolder:DIR`,
            `hf:NAME[:CONFIG]`, `hf:DIR`, `torchvision:NAME:ROOT`.
        image_size: height and width of the images; they are resized and the centre is cut out.
        crop_pct: the shorter side is resized to `round(image_size / crop_pct)` before that; default: 1.
        interpolation: bilinear, bicubic, nearest or lanczos; default: bilinear.
        channels: 3 for RGB or 1 for grey; default: 1 for digits, 3 for all others.
        mean, std: normalisation, one value or one per channel, in units of [0, 1] pixels; default: the source's.
        storage: `memory` keeps decoded images, `stream` decodes at each read; `auto` keeps them where they fit.
        workers: processes that decode ahead when images are streamed; default: one for each core, 4 at most.
        classes: the class list of the model that the data is for; labels are then ids in it.
        image_column, label_column: names of the columns in a table (`parquet:`, `hf:`); default: they are found.

    Raises:
        DataError: the source is unknown, missing or corrupt.
        ConfigError: an option is out of range, mean or std do not fit the channels, or a std is not positive.
    """
    wanted = PartialPreprocessing(
        size=image_size, crop=crop_pct, interpolation=interpolation, mean=mean, std=std, channels=channels
    )
    return open_source(
        source,
        [(Origin.HAND, wanted)],
        storage=storage,
        workers=workers,
        classes=classes,
        image_column=image_column,
        label_column=label_column,
    )


def open_source(
    source: str,
    layers: Layers,
    *,
    storage: Storage = "auto",
    workers: int | None = None,
    classes: tuple[str, ...] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> ImageData:
    """Load a source as `load_data` does, for several who ask for its preprocessing; the data says who was served.

    Args:
        source: see `load_data`.
        layers: who asks for what, in the order of precedence.
        storage, workers, classes, image_column, label_column: see `load_data`.

    Raises:
        DataError, ConfigError: see `load_data`.
    """
    name, _, rest = source.partition(":")
    kind = _named(name, source)
    if kind.needs and not rest:
        what = "folder" if kind.needs == "DIR" else "name"
        raise DataError(f"Expected {name}:{kind.needs}, but the {what} is missing; write it after the colon.")
    if (image_column or label_column) and not kind.columns:
        raise ConfigError(
            f"Expected the name of a column for a table alone (parquet:, hf:), but got one for {source}; leave "
            "--image-column and --label-column out."
        )
    layers = without_foreign_crop(layers)
    options = ImageOptions(
        preprocessing=wanted_of(layers),
        storage=checked_storage(storage),
        workers=checked_workers(workers),
        classes=classes,
        image_column=image_column,
        label_column=label_column,
    )
    data = kind.load(rest, options)
    if classes is not None:
        data = data.with_classes(classes)
    if data.train.dtype == torch.uint8:
        check_units(layers)
    preprocessing, origins = resolve(layers, data.preprocessing)
    return replace(data, preprocessing=preprocessing, origins=origins)


def is_local(source: str) -> bool:
    """Return whether a source may be opened because a file names it; see `Source.local`."""
    name = source.partition(":")[0]
    return name in SOURCES and SOURCES[name].local


def places_of(source: str) -> list[Path]:
    """Return the files and folders of this machine that the text of a source names, whatever its kind."""
    _, _, rest = source.partition(":")
    return [Path(text) for text in (rest, rest.partition(":")[2]) if text and os.path.lexists(text)]


def _named(name: str, source: str) -> Source:
    if name in SOURCES:
        return SOURCES[name]
    foreign = PLUGINS.names()
    if name not in foreign:
        raise DataError(
            f"Expected a data source ({', '.join([*SOURCES, *foreign])}), but got {source!r}; write digits, "
            "parquet:DIR or imagefolder:DIR."
        )
    return PLUGINS.load(name)
