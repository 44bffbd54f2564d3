"""CT (convolution transpose): swaps the two spatial axes of every kernel, then trains on the retained data.

Idea. A kernel that is mirrored at its diagonal has the same weights and norm but answers to other patterns. All that
the network has learned is disturbed at once, though not lost: for a natural image its transpose is nearly as natural.
Training on the retained data alone then mends what these need, and nothing mends the forgotten class.

Update. For every convolution with a square kernel, W_oiab <- W_oiba (o outputs, i inputs, a and b the kernel's rows and
columns); then some epochs of SGD on the retained data's loss.

Reads: retain_train.

Hyperparameters: `paper()` is the benchmark's setting: SGD 1e-3, plain momentum 0.9, weight decay 5e-4, a cosine to 0, 3
epochs in batches of 64. The default has a higher rate, as the published one is small for short training (ours).

Deviations from the paper: kernels that are not square, and those of 1x1, stay as they are. BatchNorm's statistics
follow the retained batches from the first step on.

Cost per run: epochs x retained samples (or the subset of them), forward and backward.

When it fails: on networks without convolutions larger than 1x1, which are refused, and on transformers, in which the
patch embedding alone is changed; on kernels that are symmetric. On images that are symmetric themselves, such as
textures, the disturbance is small and the class stays.

Source: X. Cadet, A. Borovykh, M. Malekzadeh, S. Ahmadi-Abhari, H. Haddadi, "Deep Unlearn: Benchmarking Machine
Unlearning", 2024 (arXiv 2410.01276), where it is one of the two best of 18; it comes from the NeurIPS 2023 unlearning
competition.

Example: an untrained network stands for the trained one, and the settings are tiny; three kernels are transposed.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["ct"]().with_settings(["recipe.epochs=1", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), result.notes["transposed"]
    (0, 3)
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import nn

from unlearnkit.errors import ModelError
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.methods.space import Range, Space
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.recipe import Recipe


class ConvTranspose(ConfiguredMethod):
    """The method CT with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "ct"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    recipe: Recipe = Recipe(epochs=5, batch_size=64, lr=0.05, weight_decay=5e-4, schedule="cosine")
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    augment: bool = Field(default=True, description="augment retained images where the data source does")

    @classmethod
    def paper(cls) -> Self:
        """The benchmark's setting."""
        return cls(recipe=_published())

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data."""
        return frozenset({Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Rate and length of the training."""
        return {"recipe.lr": Range(1e-3, 0.3), "recipe.epochs": Range(1, 10)}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Transpose the kernels, then train."""
        ctx.log.notes["transposed"] = transpose_kernels(model)
        retained = retained_subset(ctx, self.retain_per_class)
        fit(model, retained, self.recipe, ctx, stage="heal", augment=self.augment)
        return model


def _published() -> Recipe:
    return Recipe(epochs=3, batch_size=64, lr=1e-3, nesterov=False, weight_decay=5e-4, schedule="cosine")


@torch.no_grad()
def transpose_kernels(model: nn.Module) -> int:
    """Swap the spatial axes of every square kernel that may change, each once, and return how many there are.

    Raises:
        ModelError: there is none.
    """
    kernels = {
        id(layer.weight): layer.weight
        for layer in model.modules()
        if isinstance(layer, nn.Conv2d)
        and "weight" in layer._parameters
        and layer.weight.requires_grad
        and layer.kernel_size[0] == layer.kernel_size[1] > 1
    }
    if not kernels:
        raise ModelError(
            "Expected a convolution with a square kernel larger than 1x1 that is not frozen, which ct transposes, but "
            "the model has none; unfreeze one, or choose weight-damage, which changes weights of any kind."
        )
    for weight in kernels.values():
        weight.copy_(weight.transpose(2, 3).clone())
    return len(kernels)
