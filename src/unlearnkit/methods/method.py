"""Defines what an unlearning method is (Method, ConfiguredMethod) and what it may use (Context)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, Self

import torch
from torch import nn

from unlearnkit.config import Config
from unlearnkit.data.view import DataView
from unlearnkit.methods.space import Space
from unlearnkit.models.metadata import Account
from unlearnkit.request import CLASSES, Kind, ResolvedRequest
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.training.losses import Criterion

Turn = Literal["raise", "lower"]


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a method may use: the data that it declared, the request, generators, the runtime and the log.

    Args:
        view: the declared parts of the data.
        request: ids to forget, ids forgotten earlier, the class list; and single rows, which mean nothing to a method.
        shape: (C, H, W) of the images.
        factory: builds a freshly initialised model of the same architecture, or None where that is unknown.
        generator: CPU generator; every draw of the method comes from it.
        runtime: device and precision.
        log: stages, losses, notes and progress.
        criterion: the user's own loss in place of cross-entropy: (logits, labels) -> mean over the samples.
        account: what the method that made these weights has left for the next request; notes["account"] is the same
            for the request after this one.
    """

    view: DataView
    request: ResolvedRequest
    shape: tuple[int, int, int]
    factory: Callable[[], nn.Module] | None
    generator: torch.Generator
    runtime: Runtime
    log: RunLog
    criterion: Criterion | None = None
    account: Account | None = None


class Method(Protocol):
    """An unlearning method: a frozen configuration with `needs` and `run`.

    What has no `kinds`, as `ConfiguredMethod` has, serves requests for classes alone.
    """

    @property
    def needs(self) -> frozenset[Part]:
        """The parts that `run` reads; a read of any other part raises AccessError."""
        ...

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Return the unlearned model; `model` is a private copy on the run's device and may be changed."""
        ...


class ConfiguredMethod(Config, ABC):
    """Base of registered methods: a Method whose settings have presets and can be written to a file.

    `name` is what `--method` takes. `control` marks a reference point that does not forget: it is there for the audit
    to fail, and is never proposed. `kinds` is what it may be asked to forget: with rows or subclasses among it, `run`
    tells forgotten samples by their part and not by their class. `in_torch` is false where numpy computes a part, whose
    operations nobody can count.
    """

    name: ClassVar[str]
    control: ClassVar[bool] = False
    in_torch: ClassVar[bool] = True
    kinds: ClassVar[frozenset[Kind]] = CLASSES

    @classmethod
    def presets(cls) -> dict[str, Callable[[], Self]]:
        """The presets by name: `default`, and `paper` where a class has one for published numbers."""
        paper: Callable[[], Self] | None = getattr(cls, "paper", None)
        return {"default": cls} | ({"paper": paper} if paper else {})

    @property
    @abstractmethod
    def needs(self) -> frozenset[Part]:
        """The parts that `run` reads."""

    @abstractmethod
    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Return the unlearned model; see `Method.run`."""

    def space(self) -> Space:
        """Return the settings worth tuning with their bounds; empty unless a method overrides it."""
        return {}

    def stronger(self) -> Mapping[str, Turn]:
        """Return the settings that make the method forget more, and which way to turn each; empty: there are none."""
        return {name: "raise" for name in ("recipe.lr", "recipe.epochs") if name in self.setting_names()}

    def for_tuning(self) -> tuple[str, ...]:
        """Return the `NAME=VALUE` settings that switch off the method's own search while others are tuned.

        A search inside of every trial would choose by the very samples that the trials are judged by.
        """
        return ()
