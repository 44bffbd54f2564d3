"""Lists the cells of a suite, each with a name that says what it is and changes with anything that decides it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from unlearnkit.compare.suite import FIRST_RETRAINED, Suite
from unlearnkit.compare.suite_parts import SuiteMethod, SuiteRequest, SuiteSetting
from unlearnkit.data.choosing_rows import NO_CHOICE, RowChoice
from unlearnkit.run_dir import versions


@dataclass(frozen=True, kw_only=True)
class OriginalKey:
    """An original: a setting trained with a seed."""

    setting: SuiteSetting
    seed: int

    @property
    def name(self) -> str:
        """A name of its own among all originals."""
        trained = self.setting.model_dump(mode="json", exclude={"requests"})
        return f"original-{digest({'trained': trained, 'seed': self.seed})}"


@dataclass(frozen=True, kw_only=True)
class ReferenceKey:
    """The models retrained without what a request names, which all originals of a setting share."""

    setting: SuiteSetting
    excluded: tuple[str | int, ...]
    count: int
    rows: RowChoice = NO_CHOICE

    @property
    def name(self) -> str:
        """A name of its own among all retrained models."""
        trained = self.setting.model_dump(mode="json", exclude={"requests"})
        without = sorted(map(str, self.excluded))
        rows = {"rows": asdict(self.rows)} if self.rows else {}
        return f"retrained-{digest({'trained': trained, 'without': without, 'count': self.count, **rows})}"

    @property
    def models(self) -> dict[str, int]:
        """Return a name for each of them, and its seed."""
        return {f"{self.name}-{seed}": seed for seed in range(FIRST_RETRAINED, FIRST_RETRAINED + self.count)}


@dataclass(frozen=True, kw_only=True)
class SuiteCell:
    """One run: a method with a seed, on one original, for one request.

    Args:
        setting, request, method: of the suite.
        training_seed: of the original.
        seed: of the method.
        retrained: how many retrained models judge it.
        audit: how thoroughly.
    """

    setting: SuiteSetting
    request: SuiteRequest
    method: SuiteMethod
    training_seed: int
    seed: int
    retrained: int
    audit: str

    @property
    def original(self) -> OriginalKey:
        """The original that it begins with."""
        return OriginalKey(setting=self.setting, seed=self.training_seed)

    @property
    def references(self) -> ReferenceKey:
        """The retrained models that it is judged by."""
        request = self.request
        return ReferenceKey(setting=self.setting, excluded=request.gone, count=self.retrained, rows=request.choice)

    @property
    def search(self) -> str | None:
        """Name of the search of its settings, which cells of one original and request share; None: there is none."""
        if not self.method.trials:
            return None
        key = {"original": self.original.name, "request": self.request.model_dump(mode="json"), **self._chosen()}
        return f"tuned-{self.method.shown}-{digest(key)}"

    @property
    def name(self) -> str:
        """Its folder: the method, and a hash of everything that decides the result but the content of the data."""
        return f"{self.method.shown}-{digest(self.as_record())}"

    def as_record(self) -> dict[str, Any]:
        """Return everything that decides its result, as JSON holds it."""
        return {
            **self.setting.model_dump(mode="json", exclude={"requests"}),
            **self.request.model_dump(mode="json"),
            "training_seed": self.training_seed,
            **self._chosen(),
            "seed": self.seed,
            "retrained": [FIRST_RETRAINED + i for i in range(self.retrained)],
            "audit": self.audit,
            "version": versions()["unlearnkit"],
        }

    def _chosen(self) -> dict[str, Any]:
        """Return the method with all its settings, so that a changed default is another cell."""
        method = self.method
        settings = method.choice().make().model_dump(mode="json")
        return {"method": method.name, "label": method.shown, "settings": settings, "trials": method.trials}


def cells_of(suite: Suite) -> list[SuiteCell]:
    """Return the cells of a suite; those that share an original and a request stand together."""
    return list(_cells(suite))


def _cells(suite: Suite) -> Iterator[SuiteCell]:
    for setting in suite.settings:
        for request in setting.requests:
            for training_seed in suite.training_seeds:
                for method in suite.methods:
                    for seed in suite.unlearning_seeds:
                        yield SuiteCell(
                            setting=setting,
                            request=request,
                            method=method,
                            training_seed=training_seed,
                            seed=seed,
                            retrained=suite.retrained,
                            audit=suite.audit,
                        )


def digest(content: Any) -> str:
    """Return a short hash of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def suite_record(suite: Suite) -> dict[str, Any]:
    """Return a suite as JSON holds it."""
    return suite.model_dump(mode="json")
