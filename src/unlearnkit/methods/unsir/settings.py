"""Defines the settings of UNSIR's two steps, and derives their recipes for a model and a subset of the data.

The method itself, with its card, is in `unsir.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from torch import nn

from unlearnkit.config import Config
from unlearnkit.methods.common.weight_scale import weight_scale
from unlearnkit.training.recipe import Recipe

IMPAIR_RATE, REPAIR_RATE = 0.1, 0.1  # of the weights' root mean square, where lr is not given
STEPS_PER_EPOCH = 64  # over the retained subset, where batch_size is not given


class ImpairSettings(Config):
    """Settings of the impair step."""

    lr: float | None = Field(
        default=None,
        gt=0,
        le=1e3,
        description="learning rate (notebook: 0.02); none: 0.1 of the weights' root mean square",
    )
    epochs: int = Field(default=1, gt=0, description="epochs over noise and retained subset (paper: 1)")
    batch_size: int | None = Field(
        default=None, gt=0, description="samples per step (notebook: 256); none: 1/64 of the subset, 8 to 256"
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="adam", description="notebook: adam")
    schedule: Literal["constant", "cosine"] = Field(default="constant", description="notebook: constant")


class RepairSettings(Config):
    """Settings of the repair step."""

    lr: float | None = Field(
        default=None,
        gt=0,
        le=1e3,
        description="learning rate (notebook: 0.01); none: 0.1 of the weights' root mean square",
    )
    epochs: int = Field(default=3, gt=0, description="epochs over the retained subset (paper: 1)")
    batch_size: int | None = Field(
        default=None, gt=0, description="samples per step (notebook: 256); none: 1/64 of the subset, 8 to 256"
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="adam", description="notebook: adam")
    schedule: Literal["constant", "cosine"] = Field(default="cosine", description="notebook: constant")
    distill: bool = Field(default=True, description="learn the original's outputs instead of the labels")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The recipes of the impair and the repair step of one run."""

    impair: Recipe
    repair: Recipe

    def scaled(self, factor: float) -> Plan:
        """Return the plan with both rates multiplied by `factor`."""
        return Plan(impair=self.impair.scaled(factor), repair=self.repair.scaled(factor))


def plan_for(impair: ImpairSettings, repair: RepairSettings, original: nn.Module, retained: int) -> Plan:
    """Derive what the settings leave open: rates from the original's weights, batch sizes from the subset.

    Args:
        impair: settings of the first step.
        repair: settings of the second step.
        original: the model before; looked at only where a rate is open.
        retained: samples in the retained subset.

    Raises:
        ConfigError: a rate is open, and the model has no weight other than zero to derive it from.
    """
    batch_size = min(256, max(8, retained // STEPS_PER_EPOCH))

    def recipe(step: ImpairSettings | RepairSettings, rate: float) -> Recipe:
        return Recipe(
            epochs=step.epochs,
            batch_size=step.batch_size or batch_size,
            optimizer=step.optimizer,
            lr=step.lr or rate * weight_scale(original, instead="give impair.lr and repair.lr"),
            schedule=step.schedule,
        )

    return Plan(impair=recipe(impair, IMPAIR_RATE), repair=recipe(repair, REPAIR_RATE))
