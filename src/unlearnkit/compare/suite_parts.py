"""Defines what a suite consists of: requests, settings that they are asked of, and methods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from pydantic import Field, NonNegativeInt, SerializerFunctionWrapHandler, model_serializer

from unlearnkit.config import Config
from unlearnkit.data.choosing_rows import RowChoice
from unlearnkit.errors import ConfigError
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.request import CLASSES, Kind

Name = str | int  # a class, by its name or its id


class LeanConfig(Config):
    """A configuration whose record has only what is set of its `LATER` keys, so that older records stay as they are."""

    LATER: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _lean(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unset = {key for key in self.LATER if getattr(self, key) == type(self).model_fields[key].default}
        record: dict[str, Any] = handler(self)
        return {key: value for key, value in record.items() if key not in unset}


class SuiteRequest(LeanConfig):
    """What is forgotten together, and classes forgotten before by the same method, request by request."""

    LATER = frozenset({"rows", "where", "subclass", "random", "draw"})

    forget: tuple[Name, ...] = Field(default=(), description="classes to forget")
    after: tuple[tuple[Name, ...], ...] = Field(default=(), description="requests that come before, in their order")
    rows: tuple[NonNegativeInt, ...] = Field(default=(), description="numbers of training rows to forget, from 0")
    where: tuple[str, ...] = Field(default=(), description="rows to forget, as column=value")
    subclass: tuple[str, ...] = Field(default=(), description="parts of classes to forget, as COARSE:FINE")
    random: float = Field(default=0.0, ge=0, lt=1, description="share of the training rows to forget, drawn at random")
    draw: int = Field(default=0, ge=0, description="seed of that draw")

    @property
    def gone(self) -> tuple[Name, ...]:
        """All classes that are forgotten at the end."""
        return (*(name for earlier in self.after for name in earlier), *self.forget)

    @property
    def choice(self) -> RowChoice:
        """The rows to forget besides classes."""
        return RowChoice(
            where=self.where, subclasses=self.subclass, numbers=self.rows, share=self.random, seed=self.draw
        )

    @property
    def kinds(self) -> frozenset[Kind]:
        """What the request consists of."""
        single = bool(self.rows or self.where or self.random)
        parts: dict[Kind, bool] = {"classes": bool(self.forget), "subclasses": bool(self.subclass), "rows": single}
        return frozenset(kind for kind, there in parts.items() if there)

    @property
    def named(self) -> tuple[str, ...]:
        """What is forgotten, in the words of a table."""
        names = [*map(str, self.forget), *(f"part {each}" for each in self.subclass), *self.where]
        names += [f"{len(self.rows)} rows"] if self.rows else []
        return (*names, *([f"{self.random:.3%} of the rows".replace(".000%", "%")] if self.random else []))

    def model_post_init(self, _context: Any) -> None:
        """Refuse a request for nothing, and a draw from rows that an earlier request may have taken."""
        if not self.kinds:
            raise ConfigError(
                "Expected a request for something, but got none; write forget, rows, where, subclass or random."
            )
        if self.forget and self.kinds != CLASSES:
            raise ConfigError(
                "Expected classes or rows in one request of a suite, as no audit can judge both at once, but got "
                f"{', '.join(self.named)}; write two requests, or put the classes into after."
            )
        if self.random and self.after:
            raise ConfigError(
                "Expected random rows without requests before them, whose rows the draw could hit, but got after; "
                "name rows instead."
            )


class SuiteSetting(LeanConfig):
    """Data, a model that is trained on it, and the requests that the trained model gets."""

    LATER = frozenset({"label_column", "samples"})

    data: str = Field(description="data source; {data} stands for the folder that --data names")
    model: str = Field(description="name of the architecture")
    recipe: tuple[str, ...] = Field(default=(), description="NAME=VALUE changes of the training")
    pretrained: bool = Field(default=False, description="begin with published weights")
    image_size: int | None = Field(default=None, ge=1, le=4096, description="resize images to this height and width")
    label_column: str | None = Field(default=None, description="column of the labels, as for --label-column")
    samples: int | None = Field(
        default=None, ge=2, description="take the first so many training rows of parquet: alone"
    )
    requests: tuple[SuiteRequest, ...] = Field(min_length=1, description="what is to be forgotten")


class SuiteMethod(Config):
    """A method with its settings, under a label of its own."""

    name: str = Field(description="name of the method")
    label: str = Field(default="", description="what its rows are called; default: its name")
    preset: str = Field(default="default", description="what the settings start from")
    set: tuple[str, ...] = Field(default=(), description="NAME=VALUE changes of the preset")
    trials: int = Field(default=0, ge=0, le=1000, description="trials of a search of its other settings; 0: none")

    @property
    def shown(self) -> str:
        """What its rows are called."""
        return self.label or self.name

    @property
    def variant(self) -> str:
        """What its settings are, in the words of a table."""
        return "tuned" if self.trials else " ".join(filter(None, (self.preset, ", ".join(self.set))))

    def choice(self, more: Iterable[str] = ()) -> MethodChoice:
        """Return the method with its settings, and with others on top."""
        return MethodChoice(self.name, self.preset, (*self.set, *more))
