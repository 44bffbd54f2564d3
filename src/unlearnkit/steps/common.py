"""What the steps share: data under the model's class list, requests, model cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unlearnkit.data import ImageData, load_data
from unlearnkit.data.storage import Storage
from unlearnkit.errors import ConfigError
from unlearnkit.models.checkpoint import Checkpoint, ModelCard
from unlearnkit.models.hub import WeightsSource
from unlearnkit.models.preprocessing import own_preprocessing
from unlearnkit.request import ClassRef, ForgetRequest, resolve_classes
from unlearnkit.split import Split


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


def read_classes(path: Path) -> tuple[str, ...]:
    """Read a class list: one name on each line, in the order of the model's outputs.

    Raises:
        ConfigError: the file cannot be read, is empty, or names a class twice.
    """
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"Expected a text file with class names at {path}, but it cannot be read ({error}); "
            "write one name on each line."
        ) from error
    twice = [name for name in names if names.count(name) > 1]
    if not names or twice:
        got = f"{twice[0]!r} stands there twice" if twice else "it is empty"
        raise ConfigError(f"Expected distinct class names in {path}, but {got}; write one name on each line.")
    return names


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


def tracking_folder(out: Path) -> Path:
    """Where the files of an experiment tracker go: beside the run folder, which appears only when it is complete."""
    return out.parent / "tracking" / out.name


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
