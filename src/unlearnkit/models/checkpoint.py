"""Saves and loads weights as safetensors, with the class list and the preprocessing in the file's metadata."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unlearnkit.disk.files import open_regular
from unlearnkit.disk.json_text import parse_json
from unlearnkit.errors import ConfigError, WeightsError
from unlearnkit.models.key_match import Matched
from unlearnkit.models.metadata import ModelCard
from unlearnkit.models.names import parse_name
from unlearnkit.models.reading import read_state
from unlearnkit.models.transformers_zoo import own_names, pretrained_files
from unlearnkit.models.weights import fit_state, matched_state

METADATA_KEY = "unlearnkit"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights read from a file; `card` is None where another tool wrote them.

    Args:
        path: the file.
        state: its tensors, by the names that they have there.
        card: what is stored with weights of ours.
        sha256: of the file.
        place: key of the file under which the weights lie; empty where they are all that it holds.
        prefix: what the model's names begin with in the file, where the caller said it; None: it is to be found.
    """

    path: Path
    state: dict[str, Tensor]
    card: ModelCard | None
    sha256: str
    place: str = ""
    prefix: str | None = None

    def matched(self, model: nn.Module) -> Matched:
        """Return the weights by the names that they have in `model`, whatever their shapes.

        Raises:
            WeightsError: several sets of weights fit, or the prefix that the caller said is not there.
        """
        return matched_state(model, own_names(model, self.state), self.path, place=self.place, prefix=self.prefix)

    def note(self, model: nn.Module) -> str | None:
        """One sentence on what was taken off and left out to fit the weights into `model`; None: nothing was."""
        return self.matched(model).note(self.path, self.place)

    def load_into(self, model: nn.Module, *, fresh_head: str | None = None) -> tuple[str, ...]:
        """Copy the weights into `model`; every key must match. Returns the names of the weights left unchanged.

        Half-precision weights are converted to the model's type, tied weights may be stored under one of their names,
        and the one prefix that the model's names have in the file is taken off. Counters of averaging and profiling
        and the weights of a loss are left out; `note` names them.

        Args:
            model: changed in place, and not at all where the weights do not fit.
            fresh_head: name of a layer whose weights stay as they are where their shape differs, to start from
                weights for other classes.

        Raises:
            WeightsError: keys are missing, unexpected, of another shape or type (they are named), or not finite; or
                the file holds several sets of weights that fit.
        """
        return fit_state(model, self.matched(model), self.state, self.path, fresh_head)


def read_checkpoint(path: str | Path, key: str | None = None) -> Checkpoint:
    """Read weights: safetensors, or a file of torch.save that holds tensors and plain values; the suffix is not asked.

    Args:
        path: the file.
        key: which weights, where it holds several; files with a card of ours hold one, and it is not asked there.

    Raises:
        WeightsError: the file is missing, truncated, of no such kind, holds several sets of weights and no key says
            which, or its model card is damaged.
    """
    path = Path(path)
    found = read_state(path, key)
    card = _card(path, found.metadata)
    return Checkpoint(
        path=path,
        state=found.state,
        card=card,
        sha256=file_sha256(path),
        place=found.place,
        prefix=found.prefix if card is None else None,
    )


def read_card(path: Path) -> ModelCard | None:
    """Read the card of a safetensors file without its weights; None where the file is of another kind or has no card.

    Raises:
        WeightsError: the card is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError):  # whoever reads the weights says what is wrong
        return None
    return _card(path, metadata)


def checkpoint_bytes(model: nn.Module, card: ModelCard) -> bytes:
    """Serialise a model with its card; tied weights are stored once for each name."""
    state = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    return save(state, metadata={METADATA_KEY: json.dumps(card.as_record())})


def transformers_files(model: nn.Module, card: ModelCard) -> dict[str, bytes | str]:
    """Return the folder `transformers/` of a run, which `from_pretrained` loads; empty for models of other kinds."""
    if parse_name(card.model).kind != "transformers":
        return {}
    # with the card the folder serves as weights here again
    card_text = json.dumps(card.as_record())
    files = pretrained_files(model, card.classes, card.preprocessing, {METADATA_KEY: card_text})
    return {f"transformers/{name}": content for name, content in files.items()}


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file in hexadecimal.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _card(path: Path, metadata: dict[str, str]) -> ModelCard | None:
    if METADATA_KEY not in metadata:
        return None
    try:
        return ModelCard.from_record(parse_json(metadata[METADATA_KEY]))
    except (ConfigError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"Expected the model card in {path} to hold its class list and preprocessing, but it is damaged "
            f"({type(error).__name__}: {error}); save the weights anew."
        ) from error
