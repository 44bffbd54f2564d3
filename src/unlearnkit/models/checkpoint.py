"""Saves and loads weights as safetensors, with the class list and the preprocessing in the file's metadata."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from torch import Tensor, nn

from unlearnkit.errors import ConfigError, WeightsError
from unlearnkit.models.metadata import ModelCard
from unlearnkit.models.weights import fit_state, read_state

METADATA_KEY = "unlearnkit"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights read from a file; `card` is None if another tool wrote it."""

    path: Path
    state: dict[str, Tensor]
    card: ModelCard | None
    sha256: str

    def load_into(self, model: nn.Module, *, fresh_head: str | None = None) -> tuple[str, ...]:
        """Copy the weights into `model`; every key must match. Returns the names of the weights left unchanged.

        Half-precision weights are converted to the model's type, tied weights may be stored under one of their names,
        and the prefixes `module.` and `_orig_mod.` are taken off where all keys carry them.

        Args:
            model: changed in place, and not at all where the weights do not fit.
            fresh_head: name of a layer whose weights stay as they are where their shape differs, to start from
                weights for other classes.

        Raises:
            WeightsError: keys are missing, unexpected, of another shape or type (they are named), or not finite.
        """
        return fit_state(model, self.state, self.path, fresh_head)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read weights: safetensors, or `.pt`, `.pth` and `.bin` files that hold tensors alone.

    Raises:
        WeightsError: the file is missing, truncated, of no such kind, or its model card is damaged.
    """
    path = Path(path)
    state, metadata = read_state(path)
    return Checkpoint(path=path, state=state, card=_card(path, metadata), sha256=file_sha256(path))


def checkpoint_bytes(model: nn.Module, card: ModelCard) -> bytes:
    """Serialise a model with its card; tied weights are stored once for each name."""
    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    return save(state, metadata={METADATA_KEY: json.dumps(card.as_record())})


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card(path: Path, metadata: dict[str, str]) -> ModelCard | None:
    if METADATA_KEY not in metadata:
        return None
    try:
        return ModelCard.from_record(json.loads(metadata[METADATA_KEY]))
    except (ConfigError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"Expected the model card in {path} to hold its class list and preprocessing, but it is damaged "
            f"({type(error).__name__}: {error}); save the weights anew."
        ) from error
