"""Opens models from weights files, and the data in the form that the model needs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from unlearnkit.data import ImageData
from unlearnkit.data.preprocessing import NOTHING_WANTED, Origin, PartialPreprocessing
from unlearnkit.data.row_names import NamedRows
from unlearnkit.data.sources.registry import is_local, open_source
from unlearnkit.data.storage import Storage
from unlearnkit.errors import ConfigError, DataError, ModelError
from unlearnkit.models import build_model, check_model, is_trusted_name
from unlearnkit.models.channels import channels_of
from unlearnkit.models.checkpoint import Checkpoint
from unlearnkit.models.hub import WeightsSource
from unlearnkit.models.metadata import Account, ModelCard
from unlearnkit.models.open_options import check_open_options
from unlearnkit.models.preprocessing import own_preprocessing
from unlearnkit.request import ClassRef, ForgetRequest, resolve_classes
from unlearnkit.split import Split


def model_name(name: str | None, checkpoint: Checkpoint) -> str:
    """Return the given name, else the one recorded with the weights.

    A recorded name is trusted only as far as architectures go that are installed: an import path would run code that
    the file chose, and a hub's name would fetch something, so the caller must give those.

    Raises:
        ModelError: there is neither, or the recorded one is not to be trusted.
    """
    if name is not None:
        return name
    if checkpoint.card is None:
        raise ModelError(
            f"Expected the name of the architecture, but {checkpoint.path} does not record one; add --model NAME."
        )
    return recorded_model(checkpoint.card.model, checkpoint.path)


def recorded_model(name: str, file: Path) -> str:
    """Return the name of an architecture that a file records, if it may be built for that reason alone.

    Raises:
        ModelError: it would import code, or fetch or read something else.
    """
    if not is_trusted_name(name):
        raise ModelError(
            f"Expected --model, as {file} names the architecture {name}, which is code to import or a model to "
            "download, and neither is done only because a file names it; if you trust it, add "
            f"--model {shlex.quote(name)}."
        )
    return name


def recorded_data(source: str, file: Path) -> str:
    """Return the data source that a file records, if it may be opened for that reason alone.

    Raises:
        DataError: it would run code, fetch something, or unpickle.
    """
    if not is_local(source):
        raise DataError(
            f"Expected --data, as {file} names the data {source}, which is fetched from a network or read by code of "
            f"others, and neither is done only because a file names it; if you trust it, add --data "
            f"{shlex.quote(source)}."
        )
    return source


def open_model(name: str | None, checkpoint: Checkpoint, data: ImageData) -> nn.Module:
    """Build the model of a checkpoint, load its weights, and check that it fits the class list.

    Raises:
        ConfigError: the weights were made for other classes, shapes or normalisation than the data is given with.
        ModelError: no name is known, or the model does not fit the data.
        WeightsError: the weights do not fit the model.
    """
    if checkpoint.card is not None:
        _check_card(checkpoint.card, checkpoint.path, data)
    name = model_name(name, checkpoint)
    model = build_model(name, num_classes=len(data.classes), in_channels=data.shape[0])
    if checkpoint.card is None:
        check_open_options(name, checkpoint, model)
    check_model(model, classes=len(data.classes), shape=data.shape)
    checkpoint.load_into(model)
    return model.eval()


def _check_card(card: ModelCard, path: Path, data: ImageData) -> None:
    """Refuse weights whose card contradicts the classes, shape or normalisation of the data."""
    if card.classes != data.classes:
        raise ConfigError(
            f"Expected weights for the classes {', '.join(data.classes[:5])}, ... in this order, but {path} was made "
            f"for {', '.join(card.classes[:5])}, ...; give weights with the same class list."
        )
    if data.train.shape is not None and data.shape != card.shape:
        raise ConfigError(
            f"Expected images of shape {card.shape}, as {path} was made from, but the data gives {data.shape}; "
            f"resize them with --image-size {card.shape[-1]}."
        )
    wanted, given = card.preprocessing, data.preprocessing
    if (wanted.mean, wanted.std) != (given.mean, given.std):
        raise ConfigError(
            f"Expected images normalised with mean {wanted.mean} and std {wanted.std}, as {path} was made from, but "
            f"got mean {given.mean} and std {given.std}; leave --mean and --std out."
        )


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """How images are read, as far as the caller decides it.

    Args:
        wanted: what of the preprocessing is given.
        classes: the model's class list, where the weights do not record it.
        classes_file: where the list was read.
        storage: keep decoded images in memory, stream them, or decide by their size.
        workers: processes that decode streamed images.
        image_column, label_column: names of the columns of a table; None: they are found.
        origin: who gives `wanted`. What a run folder records is whole: no model zoo is asked beside it.
    """

    wanted: PartialPreprocessing = NOTHING_WANTED
    classes: tuple[str, ...] | None = None
    classes_file: Path | None = None
    storage: Storage = "auto"
    workers: int | None = None
    image_column: str | None = None
    label_column: str | None = None
    origin: Origin = Origin.HAND

    @classmethod
    def by_hand(
        cls,
        *,
        size: int | None = None,
        crop: float | None = None,
        interpolation: str | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        channels: Literal[1, 3] | None = None,
        classes: tuple[str, ...] | None = None,
        classes_file: Path | None = None,
        storage: Storage = "auto",
        workers: int | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
    ) -> InputOptions:
        """Return the options that a command's arguments ask for.

        Raises:
            ConfigError: a value is out of its range.
        """
        wanted = PartialPreprocessing(
            size=size, crop=crop, interpolation=interpolation, mean=mean, std=std, channels=channels
        )
        return cls(
            wanted=wanted,
            classes=classes,
            classes_file=classes_file,
            storage=storage,
            workers=workers,
            image_column=image_column,
            label_column=label_column,
        )

    @classmethod
    def recorded(cls, config: Mapping[str, Any], classes: Sequence[str]) -> InputOptions:
        """Return the options that the `config.json` of a run folder records, with its class list.

        Raises:
            ConfigError: a value is out of its range.
        """
        wanted = PartialPreprocessing.from_record(config, channels=config["shape"][0])
        return cls(
            wanted=wanted,
            classes=tuple(classes),
            image_column=config.get("image_column"),
            label_column=config.get("label_column"),
            origin=Origin.RECORD,
        )


DEFAULT_INPUTS = InputOptions()


def load_images(
    source: str,
    checkpoint: Checkpoint | None,
    options: InputOptions = DEFAULT_INPUTS,
    *,
    model: str | None = None,
    pretrained: bool = False,
    hub: WeightsSource | None = None,
) -> ImageData:
    """Load data with the model's class list and with the preprocessing that the model needs.

    What is given by hand comes first, then what is stored with the weights, then the model's own configuration: all
    of it where the weights were made with it (pretrained ones, and files that record nothing), and its image size
    alone where a model trained here takes no other. `ImageData.origins` says which of them decided.

    Args:
        source: the data source.
        checkpoint: the weights that the data is for.
        options: what is given by hand.
        model: name of the architecture.
        pretrained: whether training starts from the architecture's published weights.
        hub: what a hub says of the weights.
    """
    card = checkpoint.card if checkpoint else None
    channels = options.wanted.channels
    layers = [(options.origin, options.wanted)]
    if card is not None:
        layers.append((Origin.WEIGHTS, card.preprocessing.as_wanted(channels)))
    elif options.origin is not Origin.RECORD:
        if channels is None and checkpoint is not None and model is not None:
            channels = channels_of(checkpoint, model)
            layers.append((Origin.WEIGHTS, PartialPreprocessing(channels=channels)))
        own = hub.preprocessing if hub else None
        if own is None and model is not None:
            own = own_preprocessing(model)
        if own is not None and (pretrained or checkpoint is not None):
            layers.append((Origin.ZOO, own.preprocessing.as_wanted(channels)))
        elif own is not None and own.fixed_size:
            layers.append((Origin.ZOO, PartialPreprocessing(size=own.preprocessing.size)))
    return open_source(
        source,
        layers,
        storage=options.storage,
        workers=options.workers,
        classes=card.classes if card else options.classes or (hub.classes if hub else None),
        image_column=options.image_column,
        label_column=options.label_column,
    )


def classes_origin(checkpoint: Checkpoint | None, options: InputOptions, hub: WeightsSource | None = None) -> Origin:
    """Return where the order of the classes comes from, in the order of precedence of `load_images`."""
    if checkpoint is not None and checkpoint.card is not None:
        return Origin.WEIGHTS
    if options.classes is not None:
        return options.origin
    return Origin.ZOO if hub is not None and hub.classes is not None else Origin.SOURCE


def stand_ins_for(data: ImageData, source: str) -> ImageData:
    """Load another source as stand-ins for classes that `data` has lost, with the same preprocessing."""
    channels, height, width = data.shape
    size = height if height == width else data.preprocessing.size
    wanted = replace(data.preprocessing.as_wanted(), size=size, channels=1 if channels == 1 else 3)
    others = open_source(source, [(Origin.HAND, wanted)])
    # classes that the model does not know come after its own, where no part of a request looks
    more = [name for name in others.classes if name not in data.classes] if others.named else []
    return others.with_classes((*data.classes, *more))


def card_for(
    model: str,
    data: ImageData,
    *,
    forgotten: Sequence[int],
    rows: tuple[NamedRows, ...] = (),
    account: Account | None = None,
) -> ModelCard:
    """Return the model card of weights that must not know the classes `forgotten`, nor these rows of others."""
    return ModelCard(
        model=model,
        classes=data.classes,
        forgotten=tuple(data.classes[k] for k in forgotten),
        shape=data.shape,
        preprocessing=replace(data.preprocessing, channels=data.shape[0]),
        forgotten_rows=rows,
        account=account,
    )


def retained_shape(data: ImageData, split: Split, reader: str) -> None:
    """Set the image shape from a retained row, so that no forgotten image is read."""
    data.fix_shape(split.retained_row(reader))


def request_for(
    forget: Sequence[ClassRef], earlier: Sequence[ClassRef], checkpoint: Checkpoint, classes: tuple[str, ...]
) -> ForgetRequest:
    """Return the request, with the classes that the weights record as forgotten added to those given as forgotten."""
    recorded = checkpoint.card.forgotten if checkpoint.card else ()
    stated = [classes[k] for k in resolve_classes(earlier, classes)]
    return ForgetRequest(classes=tuple(forget), already_forgotten=tuple(dict.fromkeys((*stated, *recorded))))
