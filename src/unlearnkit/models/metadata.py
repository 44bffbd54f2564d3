"""Defines ModelCard, the data stored with weights, such as class list, image shape and preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from unlearnkit.class_names import all_in_one_form, unprintable
from unlearnkit.data.preprocessing import LARGEST, Preprocessing
from unlearnkit.data.row_names import NamedRows


@dataclass(frozen=True)
class Account:
    """What a method that deletes on a budget leaves with the weights, for the next request to go on from.

    Args:
        method: name of the method.
        fingerprint: sha256 of the weights, the rows that are left and the settings; with another the account is void.
        spent: of the budget.
        requests: how many were served since the head was last fitted.
    """

    method: str
    fingerprint: str
    spent: float
    requests: int

    def __post_init__(self) -> None:
        numbers = type(self.spent) in (int, float) and type(self.requests) is int and self.requests > 0
        names = type(self.method) is str and type(self.fingerprint) is str
        if not (names and numbers and 0 <= self.spent <= 1e100):
            raise ValueError(f"account is {self!r}")


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The data that is stored with a model's weights.

    Args:
        model: name it was built with.
        classes: class names in the order of its outputs.
        forgotten: classes its weights must not know: forgotten by requests, or left out of training.
        forgotten_rows: single rows that they must not know, an entry for each stored set that has any.
        shape: (C, H, W) of its images.
        preprocessing: how its images are read and normalised; its channels are C.
        sharded: the record of a sharded training (`training.sharding.ShardedTraining`); None: it had none.
        private: the record of a differentially private training (`training.private.PrivateTraining`); None: none.
        account: what the method that made them has spent of a budget; None: it has none.
    """

    model: str
    classes: tuple[str, ...]
    forgotten: tuple[str, ...]
    shape: tuple[int, int, int]
    preprocessing: Preprocessing
    forgotten_rows: tuple[NamedRows, ...] = ()
    sharded: Mapping[str, Any] | None = None
    private: Mapping[str, Any] | None = None
    account: Account | None = None

    def as_record(self) -> dict[str, Any]:
        """Return the card as weights files hold it; without rows version 0.1.0 wrote the same."""
        return {
            "model": self.model,
            "classes": list(self.classes),
            "forgotten": list(self.forgotten),
            "shape": list(self.shape),
            **self.preprocessing.as_record(),
            **({"forgotten_rows": [rows.as_record() for rows in self.forgotten_rows]} if self.forgotten_rows else {}),
            **({"sharded": dict(self.sharded)} if self.sharded is not None else {}),
            **({"private": dict(self.private)} if self.private is not None else {}),
            **({} if self.account is None else {"account": asdict(self.account)}),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ModelCard:
        """Read what `as_record` wrote; the file may be old, or written by others.

        Raises:
            KeyError, TypeError: a field is missing, or the record is none.
            ValueError: a field is of the wrong kind, or contradicts another.
            ConfigError: a value of the preprocessing is.
        """
        fields = {name: record[name] for name in ("model", "classes", "forgotten", "shape")}
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
        _check(values)
        values |= {name: all_in_one_form(values[name]) for name in ("classes", "forgotten")}
        _check(values)  # two names that differ in form alone are one
        preprocessing = Preprocessing.from_record(record, channels=values["shape"][0])
        rows = tuple(NamedRows.from_record(each) for each in record.get("forgotten_rows") or ())
        how = {name: record.get(name) for name in ("sharded", "private")}
        wrong = [name for name, value in how.items() if value is not None and not isinstance(value, Mapping)]
        if wrong:
            raise TypeError(f"{wrong[0]} is {how[wrong[0]]!r}")
        account = record.get("account")
        return cls(
            **values,
            preprocessing=preprocessing,
            forgotten_rows=rows,
            sharded=how["sharded"],
            private=how["private"],
            account=None if account is None else Account(**account),
        )


def _check(values: Mapping[str, Any]) -> None:
    """Raise ValueError if a field is of the wrong type or contradicts another."""
    model, classes, forgotten, shape = (values[name] for name in ("model", "classes", "forgotten", "shape"))

    def all_of(values: object, kind: type) -> bool:
        return isinstance(values, tuple) and all(isinstance(v, kind) for v in values)

    def names(values: object) -> bool:
        return all_of(values, str) and isinstance(values, tuple) and not any(map(unprintable, values))

    sound = {
        "model": isinstance(model, str) and not unprintable(model),
        "classes": names(classes) and 0 < len(classes) == len(set(classes)),
        "forgotten": names(forgotten) and set(forgotten) <= set(classes),
        "shape": all_of(shape, int) and len(shape) == 3 and 0 < min(shape) <= max(shape) <= LARGEST,
    }
    wrong = [name for name, good in sound.items() if not good]
    if wrong:
        raise ValueError(f"{wrong[0]} is {values[wrong[0]]!r}")
