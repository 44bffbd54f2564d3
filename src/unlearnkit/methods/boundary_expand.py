"""Boundary Expand: gives the forget images a shadow class of their own, then drops it; reads forget data alone.

Idea. A retrained model has no region for the forgotten class, so its images are better pushed out of all regions than
into a neighbour's. The head gets one more output, the shadow class. The model learns to give every forget image to the
shadow, and then the shadow is pruned: what is left of the answer is spread over the old classes.

Update. With h(x) the features at the head's input, f the model's logits and s = v.h(x) + c a new output, minimise

    CE([f(x), s(x)], K)   over the forget images, K the number of classes (counted from 0, the shadow's id);

then v and c are discarded, and f has K outputs as before.

Reads: the training data of the classes to forget.

Hyperparameters: `paper()` is SGD 1e-5, plain momentum 0.9, 10 epochs, the settings of Boundary Shrink in the same
paper; batches of 64 in public code. The default is the best of seven rates and lengths on digits (ours).

Deviations from the paper: the shadow's weights are drawn by the layer's usual initialisation. By default BatchNorm
keeps its stored statistics and dropout is off (`batch_statistics` false), as batches of forget data alone would shift
them; `paper()` trains in train mode. All classes to forget share one shadow.

Cost per run: epochs x forget data, forward and backward.

When it fails: the shadow alone can learn the task, by a large v, without any change of the features; then pruning it
brings the class back whole, and at small rates it does. Retained images are held by nothing.

Source: M. Chen, W. Gao, G. Liu, K. Peng, C. Wang, "Boundary Unlearning: Rapid Forgetting of Deep Networks via Shifting
the Decision Boundary", CVPR 2023 (arXiv 2303.11570), section 4.2.

Example: an untrained network stands for the trained one, and the settings are tiny; the outputs are as many as before.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["boundary-expand"]().with_settings(["recipe.epochs=1"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), result.model.head.out_features
    (147, 10)
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.data.samples import Relabelled
from unlearnkit.methods.common.fitting import fit
from unlearnkit.methods.common.head_inputs import head_of
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.methods.space import Range, Space
from unlearnkit.models.head import head_features, own_head
from unlearnkit.network import logits_of
from unlearnkit.split import Part
from unlearnkit.training.recipe import Recipe


class BoundaryExpand(ConfiguredMethod):
    """The method Boundary Expand with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "boundary-expand"

    recipe: Recipe = Recipe(epochs=5, batch_size=64, lr=3e-5)
    batch_statistics: bool = Field(default=False, description="BatchNorm follows the forget batches (paper: true)")

    @classmethod
    def paper(cls) -> Self:
        """The published numbers, as far as they are known to us."""
        return cls(recipe=Recipe(epochs=10, batch_size=64, lr=1e-5, nesterov=False), batch_statistics=True)

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget."""
        return frozenset({Part.FORGET_TRAIN})

    def space(self) -> Space:
        """Rate and length."""
        return {"recipe.lr": Range(1e-5, 3e-2), "recipe.epochs": Range(1, 15)}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Train with the shadow class, and return the model without it."""
        forget = ctx.view.part(Part.FORGET_TRAIN)
        shadowed = Shadowed(model, head_of(model, ctx))
        labels = torch.full((len(forget),), len(ctx.request.classes))
        stored = not self.batch_statistics
        fit(shadowed, Relabelled(forget, labels), self.recipe, ctx, stage="expand", stored_statistics=stored)
        return model


class Shadowed(nn.Module):
    """A model with one more logit, the last, which a layer of its own computes from the head's input.

    Args:
        model: it is not copied.
        head: name of its head.
    """

    def __init__(self, model: nn.Module, head: str) -> None:
        super().__init__()
        layer = own_head(model, head)
        width = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
        self.model, self.head = model, head
        self.shadow = nn.Linear(width, 1).to(layer.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, C, H, W) to logits (n, K + 1)."""
        with head_features(self.model, self.head) as passes:
            logits_nK = logits_of(self.model(images))
        return torch.cat([logits_nK, self.shadow(passes[-1])], dim=1)
