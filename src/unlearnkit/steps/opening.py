"""Models from weights files: the architecture by name, and weights that fit the data."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from unlearnkit.data import ImageData
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.models import build_model, check_model, is_trusted_name
from unlearnkit.models.checkpoint import Checkpoint, ModelCard


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
