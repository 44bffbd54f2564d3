"""Weights on disk: safetensors, with the class list and the preprocessing in the file's own metadata."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unlearnkit.errors import WeightsError

METADATA_KEY = "unlearnkit"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What belongs to a model besides its weights.

    Args:
        model: name it was built with.
        classes: class names in the order of its outputs.
        forgotten: classes its weights must not know: forgotten by requests, or left out of training.
        shape: (C, H, W) of its images.
        image_size: height and width that images are resized to, or None where they are taken as they are.
        mean, std: normalisation of its images, per channel.
    """

    model: str
    classes: tuple[str, ...]
    forgotten: tuple[str, ...]
    shape: tuple[int, int, int]
    image_size: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights read from a file; `card` is None where another tool wrote them."""

    path: Path
    state: dict[str, Tensor]
    card: ModelCard | None
    sha256: str

    def load_into(self, model: nn.Module) -> None:
        """Copy the weights into `model`; every key must match.

        Raises:
            WeightsError: keys are missing, unexpected, or of another shape (they are named).
        """
        wanted = model.state_dict()
        problems = [
            ("missing", [k for k in wanted if k not in self.state]),
            ("unexpected", [k for k in self.state if k not in wanted]),
            (
                "of another shape",
                [
                    f"{k} {tuple(self.state[k].shape)} instead of {tuple(wanted[k].shape)}"
                    for k in wanted
                    if k in self.state and self.state[k].shape != wanted[k].shape
                ],
            ),
        ]
        found = "; ".join(f"{what}: {_some(keys)}" for what, keys in problems if keys)
        if found:
            raise WeightsError(
                f"Expected weights that fit the model, but {self.path} does not ({found}); "
                "check that --model names the architecture that the weights were saved from."
            )
        model.load_state_dict(self.state)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a safetensors file.

    Raises:
        WeightsError: the file is missing, truncated, or not safetensors.
    """
    path = Path(path)
    if not os.path.isfile(path):
        found = "a folder; name the file in it" if os.path.isdir(path) else "none; name a .safetensors file"
        raise WeightsError(f"Expected a weights file at {path}, but there is {found}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"Expected a complete safetensors file, but {path} cannot be read ({error}); "
            "save the weights with safetensors.torch.save_file, or copy the file again."
        ) from error
    return Checkpoint(path=path, state=state, card=_card(path, metadata), sha256=file_sha256(path))


def checkpoint_bytes(model: nn.Module, card: ModelCard) -> bytes:
    """Serialise a model with its card; tied weights are stored once for each name."""
    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    return save(state, metadata={METADATA_KEY: json.dumps(asdict(card))})


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card(path: Path, metadata: dict[str, str]) -> ModelCard | None:
    if METADATA_KEY not in metadata:
        return None
    try:
        raw: dict[str, Any] = json.loads(metadata[METADATA_KEY])
        recorded = {field.name: raw[field.name] for field in fields(ModelCard)}
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in recorded.items()}
        card = ModelCard(**values)
        _check(card)
        return card
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"Expected the model card in {path} to hold its class list and preprocessing, but it is damaged "
            f"({type(error).__name__}: {error}); save the weights anew."
        ) from error


def _check(card: ModelCard) -> None:
    """Raise ValueError where a field is of the wrong kind or contradicts another."""

    def all_of(values: object, kinds: type | tuple[type, ...]) -> bool:
        return isinstance(values, tuple) and all(isinstance(v, kinds) for v in values)

    sound = {
        "model": isinstance(card.model, str),
        "classes": all_of(card.classes, str) and 0 < len(card.classes) == len(set(card.classes)),
        "forgotten": all_of(card.forgotten, str) and set(card.forgotten) <= set(card.classes),
        "shape": all_of(card.shape, int) and len(card.shape) == 3 and min(card.shape) > 0,
        "image_size": card.image_size is None or (isinstance(card.image_size, int) and card.image_size > 0),
        "mean": all_of(card.mean, (int, float)),
        "std": all_of(card.std, (int, float)),
    }
    wrong = [name for name, good in sound.items() if not good]
    if wrong:
        raise ValueError(f"{wrong[0]} is {getattr(card, wrong[0])!r}")


def _some(keys: list[str], most: int = 5) -> str:
    shown = ", ".join(keys[:most])
    return shown + (f" and {len(keys) - most} more" if len(keys) > most else "")
