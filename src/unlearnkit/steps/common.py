"""What the steps share: data under the model's class list, models from weights files, model cards."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from unlearnkit.data import ImageData, load_data
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.models import build_model, check_model, is_import_path
from unlearnkit.models.checkpoint import Checkpoint, ModelCard, read_checkpoint
from unlearnkit.request import ClassRef, ForgetRequest, ResolvedRequest, resolve_classes
from unlearnkit.split import Part, Split


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How images are fed to the model, where it is given by hand; else the weights or the data source say it."""

    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


def load_images(source: str, preprocessing: Preprocessing | None, checkpoint: Checkpoint | None) -> ImageData:
    """Load data under the class list and the preprocessing that were stored with the weights, where they were."""
    card = checkpoint.card if checkpoint else None
    preprocessing = preprocessing or Preprocessing()
    data = load_data(
        source,
        image_size=preprocessing.image_size or (card.image_size if card else None),
        mean=preprocessing.mean or (card.mean if card else None),
        std=preprocessing.std or (card.std if card else None),
    )
    return data.with_classes(card.classes) if card else data


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
    )


def model_name(name: str | None, checkpoint: Checkpoint) -> str:
    """Return the name given, else the one recorded with the weights.

    A recorded name is trusted only as far as built-in and torchvision models go: an import path would run code that
    the file chose, so the caller must give it.

    Raises:
        ModelError: there is neither, or the recorded one is an import path.
    """
    if name is not None:
        return name
    if checkpoint.card is None:
        raise ModelError(
            f"Expected the name of the architecture, but {checkpoint.path} does not record one; add --model NAME."
        )
    if is_import_path(checkpoint.card.model):
        raise ModelError(
            f"Expected --model {checkpoint.card.model} to be given: {checkpoint.path} names an import path, "
            "and code is never run on the word of a weights file."
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
    model = build_model(model_name(name, checkpoint), num_classes=len(data.classes), in_channels=len(data.mean))
    if data.train.shape is not None:
        check_model(model, classes=len(data.classes), shape=data.shape)
    checkpoint.load_into(model)
    return model.eval()


def open_retrained(
    name: str | None, paths: Sequence[Path], data: ImageData, original: Checkpoint, request: ResolvedRequest
) -> list[tuple[Checkpoint, nn.Module]]:
    """Open retrained models, which have the original's architecture and know neither more nor fewer classes.

    Raises:
        ModelError: the weights record that other classes were left out of the training than were to be.
        ConfigError, WeightsError: the weights cannot be read, or do not fit.
    """
    wanted = {data.classes[k] for k in (*request.forget, *request.already_forgotten)}
    opened = []
    for path in paths:
        checkpoint = read_checkpoint(path)
        if checkpoint.card is not None and set(checkpoint.card.forgotten) != wanted:
            excluded = ", ".join(map(repr, checkpoint.card.forgotten)) or "none"
            options = " ".join(f"--exclude {shlex.quote(each)}" for each in sorted(wanted))
            raise ModelError(
                f"Expected a model retrained without {', '.join(map(repr, sorted(wanted)))}, but {path} records that "
                f"the classes left out were: {excluded}; train one with `unlearnkit train {options}`."
            )
        opened.append((checkpoint, open_model(model_name(name, original), checkpoint, data)))
    return opened


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


def retained_shape(data: ImageData, split: Split) -> None:
    """Fix the image shape from a retained row, so that no forgotten one is looked at."""
    data.fix_shape(int(split[Part.RETAIN_TRAIN][0]))


def request_for(
    forget: Sequence[ClassRef], earlier: Sequence[ClassRef], checkpoint: Checkpoint, classes: tuple[str, ...]
) -> ForgetRequest:
    """Join the classes that the weights record as forgotten with those that were given."""
    recorded = checkpoint.card.forgotten if checkpoint.card else ()
    given = [classes[k] for k in resolve_classes(earlier, classes)]
    return ForgetRequest(classes=tuple(forget), already_forgotten=tuple(dict.fromkeys((*given, *recorded))))
