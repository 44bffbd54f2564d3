"""Models from weights files: the architecture by name, weights that fit the data, models to judge by."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from unlearnkit.data import ImageData
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.models import build_model, check_model, is_trusted_name
from unlearnkit.models.checkpoint import Checkpoint, ModelCard, read_checkpoint
from unlearnkit.request import ResolvedRequest

Opened = Sequence[tuple[Checkpoint, nn.Module]]


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


def open_references(
    name: str | None,
    retrained: Sequence[Path],
    shadows: Sequence[Path],
    data: ImageData,
    original: Checkpoint,
    request: ResolvedRequest,
    *,
    judged: Checkpoint | None = None,
) -> tuple[Opened, Opened]:
    """Open the models to judge by, which have the original's architecture and know neither more nor fewer classes.

    Retrained models never saw the classes; from shadows the same method removed them. The same weights twice would make
    either look more alike than they are, and the original or the model to be judged among them would be held against
    itself.

    Raises:
        ModelError: the weights record other classes as absent than are to be, or one file is given twice, or is that of
            the original or of the model `judged`.
        ConfigError, WeightsError: the weights cannot be read, or do not fit.
    """
    wanted = {data.classes[k] for k in (*request.forget, *request.already_forgotten)}
    seen = {original.sha256: "the original's"} | ({judged.sha256: "the unlearned model's"} if judged else {})
    opened: dict[str, list[tuple[Checkpoint, nn.Module]]] = {"retrained": [], "shadow": []}
    for kind, path in [("retrained", p) for p in retrained] + [("shadow", p) for p in shadows]:
        checkpoint = read_checkpoint(path)
        if checkpoint.card is not None and set(checkpoint.card.forgotten) != wanted:
            absent = ", ".join(map(repr, checkpoint.card.forgotten)) or "none"
            names = ", ".join(map(repr, sorted(wanted)))
            expected = "model retrained without" if kind == "retrained" else "shadow model that forgot"
            option, command = ("--exclude", "train") if kind == "retrained" else ("--forget", "forget")
            options = " ".join(f"{option} {shlex.quote(each)}" for each in sorted(wanted))
            raise ModelError(
                f"Expected a {expected} {names}, but {path} records that the classes left out or forgotten were: "
                f"{absent}; make one with `unlearnkit {command} {options}`."
            )
        if checkpoint.sha256 in seen:
            raise ModelError(
                f"Expected retrained and shadow models that were made separately, but {path} is "
                f"{seen[checkpoint.sha256]} file; make each with a seed of its own."
            )
        seen[checkpoint.sha256] = f"the same as {path.name}, another {kind} model's"
        opened[kind].append((checkpoint, open_model(model_name(name, original), checkpoint, data)))
    return opened["retrained"], opened["shadow"]


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
