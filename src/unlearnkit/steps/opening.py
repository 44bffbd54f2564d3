"""Models from weights files: the architecture by name, and weights that fit the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from unlearnkit.data import ImageData
from unlearnkit.data.sources.registry import load_data
from unlearnkit.data.storage import Storage
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.models import build_model, check_model, is_trusted_name
from unlearnkit.models.checkpoint import Checkpoint
from unlearnkit.models.hub import WeightsSource
from unlearnkit.models.metadata import ModelCard
from unlearnkit.models.preprocessing import own_preprocessing
from unlearnkit.request import ClassRef, ForgetRequest, resolve_classes
from unlearnkit.split import Split


def model_name(name: str | None, checkpoint: Checkpoint) -> str:
    """Return the name given, else the one recorded with the weights.

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
    if not is_trusted_name(checkpoint.card.model):
        raise ModelError(
            f"Expected --model {checkpoint.card.model} to be given: {checkpoint.path} names code to import or a hub to "
            "ask, and neither is done on the word of a weights file."
        )
    return checkpoint.card.model


def open_model(name: str | None, checkpoint: Checkpoint, data: ImageData) -> nn.Module:
    """Build the model of a checkpoint, load its weights, and check that it fits the class list.

    Raises:
        ConfigError: the weights were made for other classes, shapes or normalisation than the data is given with.
        ModelError: no name is known, or the model does not fit the data.
        WeightsError: the weights do not fit the model.
    """
    if checkpoint.card is not None:
        _check_card(checkpoint.card, checkpoint.path, data)
    model = build_model(model_name(name, checkpoint), num_classes=len(data.classes), in_channels=data.shape[0])
    check_model(model, classes=len(data.classes), shape=data.shape)
    checkpoint.load_into(model)
    return model.eval()


def _check_card(card: ModelCard, path: Path, data: ImageData) -> None:
    """Refuse weights whose card disagrees with the way that the data is about to be fed to them."""
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
    if (card.mean, card.std) != (data.mean, data.std):
        raise ConfigError(
            f"Expected images normalised with mean {card.mean} and std {card.std}, as {path} was made from, but got "
            f"mean {data.mean} and std {data.std}; leave --mean and --std out."
        )


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How images are read and fed to the model, where it is given by hand.

    Args:
        image_size: height and width that images are resized to.
        mean, std: normalisation, one value or one per channel.
        crop_pct, interpolation: how they are resized, where it is not the model's own way.
        channels: 1 (grey) or 3 (RGB).
        classes: the model's class list, where the weights do not record it.
        storage: keep decoded images in memory, stream them, or decide by their size.
        workers: processes that decode streamed images.
    """

    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    channels: Literal[1, 3] | None = None
    classes: tuple[str, ...] | None = None
    storage: Storage = "auto"
    workers: int | None = None


def load_images(
    source: str,
    preprocessing: Preprocessing | None,
    checkpoint: Checkpoint | None,
    *,
    model: str | None = None,
    pretrained: bool = False,
    hub: WeightsSource | None = None,
) -> ImageData:
    """Load data under the model's class list, in the way that the model wants its images.

    What is given by hand comes first, then what is stored with the weights, then the model's own configuration: all
    of it where the weights were made with it (pretrained ones, and files that record nothing), and its image size
    alone where a model trained here takes no other.

    Args:
        source: the data source.
        preprocessing: what is given by hand.
        checkpoint: the weights that the data is for.
        model: name of the architecture.
        pretrained: whether training starts from the architecture's published weights.
        hub: what a hub says of the weights.
    """
    given = preprocessing or Preprocessing()
    card = checkpoint.card if checkpoint else None
    own = hub.preprocessing if hub else None
    if own is None and model is not None and card is None:
        own = own_preprocessing(model)
    wanted = card or (own if own and (pretrained or checkpoint) else None)
    fixed_size = own.image_size if own and own.fixed_size else None
    channels = given.channels or _channels(card)
    data = load_data(
        source,
        image_size=given.image_size or (wanted.image_size if wanted else fixed_size),
        crop_pct=given.crop_pct or (wanted.crop_pct if wanted else 1.0),
        interpolation=given.interpolation or (wanted.interpolation if wanted else "bilinear"),
        channels=channels,
        mean=given.mean or (_for_channels(wanted.mean, channels) if wanted else None),
        std=given.std or (_for_channels(wanted.std, channels) if wanted else None),
        storage=given.storage,
        workers=given.workers,
    )
    classes = card.classes if card else given.classes or (hub.classes if hub else None)
    return data.with_classes(classes) if classes else data


def stand_ins_for(data: ImageData, source: str) -> ImageData:
    """Load another source as stand-ins for classes that `data` has lost, fed to the model in the same way."""
    channels, height, width = data.shape
    others = load_data(
        source,
        image_size=height if height == width else data.image_size,
        crop_pct=data.crop_pct,
        interpolation=data.interpolation,
        channels=1 if channels == 1 else 3,
        mean=data.mean,
        std=data.std,
    )
    # classes that the model does not know come after its own, where no part of a request looks
    return others.with_classes((*data.classes, *(name for name in others.classes if name not in data.classes)))


def _channels(card: ModelCard | None) -> Literal[1, 3] | None:
    """Channels that the weights were made for; None leaves it to the data source, whose images may have others."""
    if card is None:
        return None
    if card.shape[0] == 1:
        return 1
    return 3 if card.shape[0] == 3 else None


def _for_channels(values: tuple[float, ...], channels: int | None) -> tuple[float, ...]:
    """Mean or std of an architecture's own three channels, for grey images the mean of the three."""
    return (sum(values) / len(values),) if channels == 1 and len(values) == 3 else values


def card_for(model: str, data: ImageData, *, forgotten: Sequence[int]) -> ModelCard:
    """Return the model card of weights that must not know the classes `forgotten`."""
    return ModelCard(
        model=model,
        classes=data.classes,
        forgotten=tuple(data.classes[k] for k in forgotten),
        shape=data.shape,
        image_size=data.image_size,
        mean=data.mean,
        std=data.std,
        crop_pct=data.crop_pct,
        interpolation=data.interpolation,
    )


def retained_shape(data: ImageData, split: Split, reader: str) -> None:
    """Fix the image shape from a retained row, so that no forgotten one is looked at."""
    data.fix_shape(split.retained_row(reader))


def request_for(
    forget: Sequence[ClassRef], earlier: Sequence[ClassRef], checkpoint: Checkpoint, classes: tuple[str, ...]
) -> ForgetRequest:
    """Join the classes that the weights record as forgotten with those that were given."""
    recorded = checkpoint.card.forgotten if checkpoint.card else ()
    given = [classes[k] for k in resolve_classes(earlier, classes)]
    return ForgetRequest(classes=tuple(forget), already_forgotten=tuple(dict.fromkeys((*given, *recorded))))
