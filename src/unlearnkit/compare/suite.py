"""Defines a suite: the data, models, requests, methods and seeds of a comparison, read from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, StrictInt

from unlearnkit.compare.suite_checks import (
    LABEL,
    check_data,
    check_distinct,
    check_known,
    check_method,
    check_metric,
    check_model,
    check_requests,
    check_serves,
)
from unlearnkit.compare.suite_parts import SuiteMethod, SuiteSetting
from unlearnkit.compare.suite_shapes import check_shape
from unlearnkit.config import Config
from unlearnkit.disk.files import read_regular
from unlearnkit.errors import ConfigError, reason

SHIPPED = resources.files("unlearnkit.compare") / "suites"
FIRST_RETRAINED = 1000  # seed of the first retrained model; the originals' lie below
MOST_CELLS = 20_000


class Suite(Config):
    """A comparison: every setting x request x method x training seed x unlearning seed is a cell.

    Raises:
        ConfigError: see `Config`; also for an unknown method, model or metric, and for impossible numbers.
    """

    title: str = Field(min_length=1, max_length=200, description="what it is about")
    note: str = Field(default="", description="what a reader must know")
    settings: tuple[SuiteSetting, ...] = Field(min_length=1, description="data, model and requests")
    methods: tuple[SuiteMethod, ...] = Field(min_length=1, description="what is compared")
    training_seeds: tuple[StrictInt, ...] = Field(default=(0,), min_length=1, description="one original for each")
    unlearning_seeds: tuple[StrictInt, ...] = Field(default=(0,), min_length=1, description="runs of each method")
    retrained: int = Field(default=3, ge=3, le=50, description="retrained models to judge by, three at least")
    audit: Literal["quick", "default", "full"] = Field(default="default", description="how thoroughly")
    metrics: tuple[str, ...] = Field(
        default=(), description="readings shown besides, as weight_distance or zrf/forget_test"
    )

    def model_post_init(self, _context: Any) -> None:
        """Check what one field alone cannot say."""
        for setting in self.settings:
            check_model(setting.model)
            check_data(setting)
        for method in self.methods:
            check_method(method)
            for request in {
                request.kinds: request for setting in self.settings for request in setting.requests
            }.values():
                check_serves(method, request)
        for metric in self.metrics:
            check_metric(metric)
        check_distinct("methods", [method.shown for method in self.methods])
        check_distinct("metrics", self.metrics)
        check_requests(self.settings)
        for field in ("training_seeds", "unlearning_seeds"):
            seeds = getattr(self, field)
            check_distinct(field, seeds)
            if min(seeds) < 0 or max(seeds) >= FIRST_RETRAINED:
                raise ConfigError(
                    f"Expected {field} from 0 to {FIRST_RETRAINED - 1}, as the retrained models have those after them, "
                    f"but got {min(seeds)} to {max(seeds)}; choose others."
                )
        if self.size > MOST_CELLS:
            raise ConfigError(f"Expected at most {MOST_CELLS:,} cells, but got {self.size:,}; divide the suite.")

    @property
    def size(self) -> int:
        """How many cells it has."""
        requests = sum(len(setting.requests) for setting in self.settings)
        return requests * len(self.methods) * len(self.training_seeds) * len(self.unlearning_seeds)


def read_suite(name: str) -> tuple[str, Suite]:
    """Read a suite of a TOML file, or one that is shipped, and return its name and itself.

    Raises:
        ConfigError: there is no such file or suite, or it says something that cannot be meant.
    """
    path = Path(name)
    if path.suffix == ".toml":
        short = path.stem
        if LABEL.fullmatch(short) is None:
            raise ConfigError(
                f"Expected a suite whose name has letters, digits, '.', '_', '+' and '-' alone, but got {short!r}; "
                "rename the file."
            )
        try:
            data = read_regular(path)
        except OSError as error:
            raise ConfigError(
                f"Expected a suite at {path}, but it cannot be read ({error.strerror or reason(error)}); name a TOML "
                f"file or one of {', '.join(shipped())}."
            ) from error
    else:
        check_known(name, shipped(), "shipped suites", advice="or name a TOML file")
        short, data = name, (SHIPPED / f"{name}.toml").read_bytes()
    try:
        content = tomllib.loads(data.decode("utf-8-sig"))
    except RecursionError as error:
        raise ConfigError(
            f"Expected TOML in the suite {name}, but it is nested too deeply to be one; mend the file."
        ) from error
    except ValueError as error:
        raise ConfigError(f"Expected TOML in the suite {name}, but got: {reason(error)}; mend the line.") from error
    return short, suite_from(content)


def suite_from(content: Mapping[str, Any]) -> Suite:
    """Build a suite from what a file says.

    Raises:
        ConfigError: see `Suite`; an unknown key is named with the nearest one, a value of another shape with its place.
    """
    check_shape(content, Suite, "the suite")
    return Suite(**content)


def shipped() -> list[str]:
    """Return the names of the suites that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in SHIPPED.iterdir() if entry.name.endswith(".toml"))
