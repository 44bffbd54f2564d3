"""Defines Identity, all that decides what a trained model is, and works it out for a repeated training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import nn

from unlearnkit.data import AccessLog, DataView, ImageData
from unlearnkit.data.access import Reader
from unlearnkit.data.fingerprint import fingerprint
from unlearnkit.data.row_names import NamedRows
from unlearnkit.runtime.progress import Progress
from unlearnkit.split import Part, Split
from unlearnkit.training.recipe import Recipe

SCHEMA = 1  # raised where training gives another model than before from the same values below
FITS_IN = ("classes", "excluded", "rows", "model", "structure", "fed", "start", "recipe", "data")  # cheap ones first


class Training(Protocol):
    """What the identity of a model takes of its training: where it began, and by which recipe it went on."""

    @property
    def start(self) -> str | None:
        """SHA-256 of the weights that it begins with, `pretrained` for published ones, None for none."""

    @property
    def recipe(self) -> Recipe:
        """All settings."""

    @property
    def ways(self) -> Mapping[str, Any]:
        """What it was besides: in shards, with differential privacy; empty for a plain training."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """All that decides what a trained model is, rounding apart.

    Args:
        data: fingerprint of the retained training samples, those held out for validation not among them.
        classes: the class list.
        excluded: classes left out of training, in the order of the list.
        rows: hash of the rows left out one by one, see `rows_digest`; None: there are none. The samples alone do not
            tell them: a row may be held out for validation, or of a class that is left out too.
        model: name of the architecture with its options.
        structure: hash of its layers, which another version of the package that it comes from may change.
        fed: shape and preprocessing of the images.
        start: SHA-256 of the weights that training began with, `pretrained` for published ones, None for none.
        recipe: all settings of the training.
        seed: of every random draw.
    """

    data: str
    classes: tuple[str, ...]
    excluded: tuple[str, ...]
    model: str
    structure: str
    fed: Mapping[str, Any]
    start: str | None
    recipe: Mapping[str, Any]
    seed: int
    rows: str | None = None

    @property
    def key(self) -> str:
        """A hash of it all, the name of its folder in a reference bank."""
        text = json.dumps(self.as_record(), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def as_record(self) -> dict[str, Any]:
        """Return the identity as JSON holds it."""
        record = {"schema": SCHEMA, **asdict(self), "classes": list(self.classes), "excluded": list(self.excluded)}
        if self.rows is None:  # as entries for classes alone were written before there were requests for rows
            del record["rows"]
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Identity:
        """Read what `as_record` wrote.

        Raises:
            KeyError, TypeError: a value is missing, or cannot be read.
            ValueError: another version wrote it.
        """
        values: dict[str, Any] = {name: record[name] for name in cls.__dataclass_fields__ if name != "rows"}
        values["rows"] = record.get("rows")
        if record["schema"] != SCHEMA or type(values["seed"]) is not int:
            raise ValueError(f"schema {record['schema']}, seed {values['seed']!r}")
        return cls(**values | {name: tuple(values[name]) for name in ("classes", "excluded")})

    def differs_in(self, other: Identity) -> str | None:
        """Return the name of the first value in which two models differ, seeds apart; None: there is none."""
        return next((name for name in FITS_IN if getattr(self, name) != getattr(other, name)), None)


def identity_of(
    recorded: Training,
    images: ImageData,
    split: Split,
    network: nn.Module,
    *,
    model: str,
    data: str,
    seed: int,
    rows: Sequence[NamedRows] = (),
) -> Identity:
    """Return the identity of a model that is trained as another was, without some classes.

    Args:
        recorded: how the other was, or is to be, trained.
        images: the data, its shape known.
        split: the classes that are forgotten, now or earlier, are those left out.
        network: of the architecture; its weights do not matter.
        model: name of the architecture.
        data: see `data_fingerprint`.
        seed: of the model.
        rows: left out, of either set.
    """
    request = split.request
    return Identity(
        data=data,
        classes=tuple(images.classes),
        excluded=tuple(images.classes[k] for k in sorted({*request.forget, *request.already_forgotten})),
        model=model,
        structure=structure_of(network),
        fed={"shape": list(images.shape), **images.preprocessing.as_record()},
        start=recorded.start,
        recipe=recorded.recipe.model_dump(mode="json") | dict(recorded.ways),
        seed=seed,
        rows=rows_digest(rows),
    )


def rows_digest(rows: Sequence[NamedRows]) -> str | None:
    """Return a hash of the content of rows, whatever their order and numbers; None where there are none."""
    contents = sorted(f"{each.side} {digest}" for each in rows for digest in each.sha256)
    return hashlib.sha256("\n".join(contents).encode()).hexdigest() if contents else None


def data_fingerprint(images: ImageData, split: Split, *, reader: Reader, log: AccessLog, progress: Progress) -> str:
    """Return the fingerprint of what training reads, in one pass over all retained training samples.

    Forgotten samples are not read, so it is the same where they are gone.

    Args:
        images: the data.
        split: its parts.
        reader: whose reads these are.
        log: where they are counted.
        progress: where the pass is shown.
    """
    view = DataView(images, split, frozenset({Part.RETAIN_TRAIN}), reader=reader, log=log, device=torch.device("cpu"))
    with view.seeded_reads(0):
        return fingerprint(view.part(Part.RETAIN_TRAIN), progress)


def structure_of(network: nn.Module) -> str:
    """Hash the layers of a network: their kinds, and names, shapes and types of its weights."""
    kinds = [f"{name}: {type(module).__name__}" for name, module in network.named_modules()]
    weights = [f"{name}: {tuple(value.shape)} {value.dtype}" for name, value in network.state_dict().items()]
    return hashlib.sha256("\n".join([*kinds, *weights]).encode()).hexdigest()
