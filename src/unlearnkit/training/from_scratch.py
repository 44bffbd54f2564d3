"""Chooses the recipe for an architecture that is trained from scratch, and runs its own initialisation.

`train` and the method Retrain share it, so that the reference models of both are made alike.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from unlearnkit.data.view import PartSamples
from unlearnkit.training.recipe import Recipe

TRAIN_RECIPE = Recipe(epochs=10, batch_size=128, lr=0.1, weight_decay=5e-4, schedule="one_cycle")
INITIALISING = 5000  # images that an architecture's own initialisation is given, at most


def recipe_for(network: nn.Module, augment: str) -> Recipe:
    """Return the default recipe of an architecture.

    Args:
        network: its `default_recipe`, where it has one, changes `TRAIN_RECIPE`.
        augment: what the data source says training does to its images.
    """
    own_recipe: dict[str, Any] = getattr(network, "default_recipe", {})
    return Recipe(**{**TRAIN_RECIPE.model_dump(), "augment": augment, **own_recipe})


def initialise(network: nn.Module, samples: PartSamples, generator: torch.Generator) -> None:
    """Pass images to an architecture's `initialise(images)` method, if it has one, before its first step.

    Args:
        network: fresh, on the run's device.
        samples: what the images are drawn from; they must be samples that the network may know.
        generator: CPU generator of the draw.
    """
    own_initialise = getattr(network, "initialise", None)
    if callable(own_initialise):
        own_initialise(samples.images(torch.randperm(len(samples), generator=generator)[:INITIALISING]))
