"""Weight damage: distorts, shrinks or drops weights all over the network, then heals it on the retained data.

Idea. A network that is fine-tuned stays near the original, and near the original the forgotten class is one short
training away. So the weights are first moved far, in one of three ways that know nothing of the class. Training on the
retained data then heals what it needs. How far the weights moved, and whether a straight path leads back, foretells
whether the class returns.

Update. For every trainable weight, by `mode`,

    distortion:   w <- w + n,  n ~ N(0, std^2)
    attenuation:  w <- factor w
    dropout:      w <- 0 with probability `rate`

then some epochs on the retained data's loss.

Reads: retain_train.

Hyperparameters: `paper()` is distortion with std 0.02, healed for 100 epochs at a rate of 1e-5 in batches of 128; the
other published modes are `--set mode=attenuation` (factor 0.5) and `--set mode=dropout` (rate 0.2). Its optimiser was
not verified by us: SGD with plain momentum 0.9 here. The default is attenuation healed at a rate that recovers a small
network in five epochs (ours).

Deviations from the paper: normalisation weights and biases are damaged like all others, frozen weights and BatchNorm's
statistics are not. The paper unlearns single samples; here the same is done for classes.

Cost per run: epochs x retained samples (or the subset of them), forward and backward.

When it fails: the damage must be large for the network at hand: 0.02 is nothing to weights of size 1. Behind a
BatchNorm, attenuation is undone by the normalisation, and what it changes there is the effective learning rate. Healing
for long brings back what images of other classes share with the class.

Source: S. Siddiqui et al., "From Dormant to Deleted: Tamper-Resistant Unlearning Through Weight-Space Regularization",
2025 (arXiv 2505.22310).

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["weight-damage"]().with_settings(["mode=dropout", "recipe.epochs=1", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), result.notes["damage"]["mode"]
    (0, 'dropout')
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import nn

from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.importance import Weights, trainable
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.recipe import Recipe

Mode = Literal["distortion", "attenuation", "dropout"]


class WeightDamage(ConfiguredMethod):
    """The method weight damage with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "weight-damage"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    mode: Mode = Field(default="attenuation", description="distortion: noise; attenuation: shrink; dropout: zero some")
    std: float = Field(default=0.02, gt=0, le=1e3, description="standard deviation of the distortion (paper: 0.02)")
    factor: float = Field(default=0.5, ge=0, lt=1, description="what the attenuation leaves of a weight (paper: 0.5)")
    rate: float = Field(default=0.2, gt=0, le=1, description="share of the weights that dropout zeroes (paper: 0.2)")
    recipe: Recipe = Recipe(epochs=5, batch_size=64, lr=0.05, weight_decay=5e-4, schedule="cosine")
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    augment: bool = Field(default=True, description="augment retained images where the data source does")

    @classmethod
    def paper(cls) -> Self:
        """The published distortion and its healing, as far as they are known to us."""
        return cls(mode="distortion", std=0.02, recipe=Recipe(epochs=100, batch_size=128, lr=1e-5, nesterov=False))

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data."""
        return frozenset({Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Size of the damage in its mode, rate and length of the healing."""
        sizes: dict[Mode, Space] = {
            "distortion": {"std": Range(0.005, 0.5)},
            "attenuation": {"factor": Range(0.05, 0.9, log=False)},
            "dropout": {"rate": Range(0.05, 0.9, log=False)},
        }
        return {**sizes[self.mode], "recipe.lr": Range(1e-3, 0.3), "recipe.epochs": Range(1, 10)}

    def stronger(self) -> Mapping[str, Turn]:
        """Size of the damage in its mode."""
        turns: dict[Mode, Mapping[str, Turn]] = {
            "distortion": {"std": "raise"},
            "attenuation": {"factor": "lower"},
            "dropout": {"rate": "raise"},
        }
        return turns[self.mode]

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Damage the weights, then heal."""
        size = {"distortion": self.std, "attenuation": self.factor, "dropout": self.rate}[self.mode]
        weights = trainable(model)
        before = {name: weight.clone() for name, weight in weights.items()}
        damage(weights, self.mode, size, ctx.generator)
        moved = sum(float((weights[name] - value).double().square().sum()) for name, value in before.items())
        ctx.log.notes["damage"] = {"mode": self.mode, "distance": moved**0.5}
        retained = retained_subset(ctx, self.retain_per_class)
        fit(model, retained, self.recipe, ctx, stage="heal", augment=self.augment)
        return model


@torch.no_grad()
def damage(weights: Weights, mode: Mode, size: float, generator: torch.Generator) -> None:
    """Damage every weight in place; draws are made on the CPU, so every device gets the same.

    Args:
        weights: by name.
        mode: which damage.
        size: the distortion's standard deviation, the attenuation's factor, or the dropout's probability.
        generator: CPU generator.
    """
    for weight in weights.values():
        if mode == "distortion":
            weight += size * torch.randn(weight.shape, generator=generator, dtype=weight.dtype).to(weight.device)
        elif mode == "attenuation":
            weight *= size
        else:
            weight[(torch.rand(weight.shape, generator=generator) < size).to(weight.device)] = 0.0
