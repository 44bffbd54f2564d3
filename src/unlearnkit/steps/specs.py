"""Defines what the steps are asked to do: what to forget, what to train, how to search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnkit.data.choosing_rows import NO_CHOICE, RowChoice
from unlearnkit.data.row_names import NamedRows
from unlearnkit.data.sources.registry import places_of
from unlearnkit.data.storage import Storage
from unlearnkit.errors import ConfigError
from unlearnkit.models.names import sharded_name
from unlearnkit.request import ClassRef
from unlearnkit.steps.opening import DEFAULT_INPUTS, InputOptions
from unlearnkit.steps.rows import NO_ROWS, RowRequest
from unlearnkit.training.private import Privacy
from unlearnkit.training.sharding import Sharding


@dataclass(frozen=True, kw_only=True)
class CaseSpec:
    """The weights, the data and the request that a case is opened from, as a command line names them.

    Args:
        weights: of the trained model: a safetensors or state_dict file, or `hf-hub:ORG/NAME`.
        data: the data source.
        forget: names or ids of the classes to forget.
        already_forgotten: those forgotten earlier; the ones that the weights record are added.
        model: name of the architecture; None: the one recorded with the weights.
        inputs: how images are read.
        weights_key: which weights to read, where the file holds several.
        trust_inputs: go on although the first look finds that weights and data do not belong together.
        rows: rows and subclasses to forget; those forgotten earlier are what the weights record.
    """

    weights: str | Path
    data: str
    forget: Sequence[ClassRef]
    already_forgotten: Sequence[ClassRef] = ()
    model: str | None = None
    inputs: InputOptions = DEFAULT_INPUTS
    weights_key: str | None = None
    trust_inputs: bool = False
    rows: RowRequest = NO_ROWS

    def places(self) -> list[Path]:
        """Return what the case is read from on this machine, besides the weights."""
        return [*_places(self.data, self.model, self.inputs), *self.rows.places()]


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """The model to train, and the data and the recipe to train it with.

    Args:
        model: name of the architecture.
        data: data source.
        exclude: classes to leave out.
        init: weights to start from; a head of another width is drawn anew, everything else must fit.
        pretrained: start from the architecture's published weights (timm, torchvision).
        settings: changes of the recipe.
        inputs: how images are read.
        weights_key: which weights of `init` to read, where it holds several.
        trust_inputs: go on although the first look finds that `init` and data do not belong together.
        exclude_rows: rows and subclasses to leave out; those that `init` records are added.
        recorded_rows: rows that other weights record as forgotten, which are left out too.
        sharding: train in shards and slices (SISA); None: as a whole.
        privacy: train with differential privacy; None: without.
    """

    model: str
    data: str
    exclude: Sequence[str] = ()
    init: Path | None = None
    pretrained: bool = False
    settings: Sequence[str] = ()
    inputs: InputOptions = DEFAULT_INPUTS
    weights_key: str | None = None
    trust_inputs: bool = False
    exclude_rows: RowChoice = NO_CHOICE
    recorded_rows: tuple[NamedRows, ...] = ()
    sharding: Sharding | None = None
    privacy: Privacy | None = None

    @property
    def architecture(self) -> str:
        """Name of the architecture of what is trained."""
        return self.model if self.sharding is None else sharded_name(self.sharding.shards, self.model)

    def places(self) -> list[Path]:
        """Return what training reads on this machine."""
        files = [path for path in (self.init, self.exclude_rows.file) if path is not None]
        return [*_places(self.data, self.model, self.inputs), *files]


def sharding_of(shards: int | None, slices: int | None) -> Sharding | None:
    """Return the shards and slices that options ask for; None: they ask for none.

    Raises:
        ConfigError: slices are asked for without shards, or a number is out of its range.
    """
    if shards is None and slices is not None:
        raise ConfigError("Expected --shards with --slices, which divide a shard; add --shards 1 for one network.")
    return None if shards is None else Sharding(shards=shards, slices=1 if slices is None else slices)


def privacy_of(epsilon: float | None, delta: float | None, max_grad_norm: float | None) -> Privacy | None:
    """Return the differential privacy that options ask for; None: they ask for none.

    Raises:
        ConfigError: the other options are given without epsilon, or a value is out of its range.
    """
    if epsilon is None:
        if delta is not None or max_grad_norm is not None:
            raise ConfigError("Expected --dp-epsilon with the other options of private training; add it.")
        return None
    return Privacy(epsilon=epsilon, delta=delta, max_grad_norm=1.0 if max_grad_norm is None else max_grad_norm)


def ways_of(sharding: Sharding | None, privacy: Privacy | None) -> dict[str, Any]:
    """Return shards and privacy of a training as an identity holds them; empty for a training as a whole."""
    found = {"sharding": sharding, "privacy": privacy}
    return {name: value.model_dump() for name, value in found.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class RetrainSpec:
    """The reference models to train: how many, and without which classes.

    Args:
        of: run folder of the original, whose training is repeated; or of a model unlearned from it.
        exclude: classes to leave out; those that the weights record as forgotten are added.
        exclude_rows: rows and subclasses to leave out; those that the weights record as forgotten are added.
        count: how many models.
        seed: of the first one, the next ones count up from there; None: the number after the original's.
        data: the data source, in place of the recorded one.
        model: name of the architecture, in place of the recorded one.
        storage, workers: see `InputOptions`.
    """

    of: Path
    exclude: Sequence[ClassRef] = ()
    exclude_rows: RowChoice = NO_CHOICE
    count: int = 3
    seed: int | None = None
    data: str | None = None
    model: str | None = None
    storage: Storage = "auto"
    workers: int | None = None


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """How settings are searched.

    Args:
        trials: runs of the method.
        look_at_forgotten: judge by forgotten training samples, though the method reads none.
        forget_options: options that the `forget` command is to be given besides.
    """

    trials: int = 20
    look_at_forgotten: bool = False
    forget_options: Sequence[str] = ()


DEFAULT_SEARCH = SearchSpec()


def _places(data: str, model: str | None, inputs: InputOptions) -> list[Path]:
    """The folders and files that a data source, a model's name and the options name."""
    return [
        *places_of(data),
        *places_of(model or ""),
        *([inputs.classes_file] if inputs.classes_file is not None else []),
    ]
