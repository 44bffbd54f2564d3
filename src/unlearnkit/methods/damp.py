"""DAMP: projects the forgotten class's own direction out of what enters each layer, more strongly the deeper it lies.

Idea. At each layer a class has a prototype, the mean of what enters the layer for its images. The part of the forgotten
prototype that no retained prototype explains is what the layer can know of this class alone. Every layer is made blind
to that direction. Early layers hardly tell the classes apart and are hardly changed, late ones are changed nearly in
full.

Update. At the input of layer l, with p_f the forgotten prototype, and B an orthonormal basis of the retained ones,

    d = (p_f - B B^T p_f) / its length,     W_l <- W_l (I - a_l d d^T).

Several classes give several residuals, and d d^T becomes the projection on their span. a_l is the separability of the
class at the layer: the balanced accuracy of the nearest prototype, forgotten or retained, above chance, times
`strength`:  a_l = strength max(0, 2 accuracy_l - 1). 1 takes the direction out, 2 turns it round.

Reads: the training data of the classes to forget and a subset of the retained training data.

Hyperparameters: strength 1.5 is the best of three on digits (ours). No published number is known to us, as the paper's
rule has none to set.

Deviations from the paper: written from its abstract; it derives a_l "from probe separability" by a rule without
parameters that we have not seen, and the nearest prototype is ours. A convolution's input is a patch under its kernel,
averaged over positions; whether the paper averages patches or channels was not verified. All layers are edited at once
by activations of the original.

Cost per run: one forward pass of the forget data and of the retained subset.

When it fails: a layer with fewer inputs than retained classes has no residual and is left alone, as the first layers of
small networks are. The mean of a class is not all of it: what spreads around the mean stays, and a probe finds it. In a
residual network the shortcut carries the class past the edit.

Source: A. Hatami, R. Aalishah, I. Monosov, "Class Unlearning via Depth-Aware Removal of Forget-Specific Directions",
2026 (arXiv 2604.15166).

Example: an untrained network stands for the trained one; the head is one of the layers that are edited.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=8", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["damp"]().with_settings(["retain_per_class=20"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> "head" in result.notes["damp"], list(result.cost["stages"])
    (True, ['prototypes_forget', 'prototypes_retain'])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.data.view import Samples
from unlearnkit.methods.common.fitting import retained_subset
from unlearnkit.methods.common.layer_inputs import pass_inputs, projectable
from unlearnkit.methods.erase.stages import Stage
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.methods.svd_projection import project
from unlearnkit.split import Part

# Shapes: n samples, D inputs of one output of a layer, P prototypes, G classes to forget.

SUBSET = 100  # retained samples of each class, at most, where retain_per_class is not given
SMALL = 1e-4  # a residual below this share of its prototype is rounding


class DAMP(ConfiguredMethod):
    """The method DAMP with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "damp"

    strength: float = Field(
        default=1.5, gt=0, le=3, description="factor on a_l: 1 takes out what tells the class perfectly (ours)"
    )
    retain_per_class: int | None = Field(
        default=None, gt=0, description="retained samples per class; none: 100, or all where there are fewer"
    )

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget and of the retained ones."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """How much is taken out."""
        return {"strength": Range(0.3, 2.5)}

    def stronger(self) -> Mapping[str, Turn]:
        """How much is taken out."""
        return {"strength": "raise"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Average what enters each layer by class, then project."""
        stages = projectable(model, ctx, "damp")
        retained = retained_subset(ctx, self.retain_per_class, default=lambda n: min(n, SUBSET))
        forget = ctx.view.part(Part.FORGET_TRAIN)
        of_forget = image_means(model, stages, forget, ctx, stage="prototypes_forget")
        of_retain = image_means(model, stages, retained, ctx, stage="prototypes_retain")
        notes = {}
        for stage in stages:
            forget_nD, retain_nD = of_forget[stage.name], of_retain[stage.name]
            gone_GD, kept_PD = prototypes(forget_nD, forget.labels), prototypes(retain_nD, retained.labels)
            amount = self.strength * separability(forget_nD, retain_nD, gone_GD, kept_PD)
            basis_DG = residual_basis(gone_GD, kept_PD)
            project(stage.layer.weight, amount * basis_DG @ basis_DG.T)
            notes[stage.name] = {"directions": basis_DG.shape[1], "amount": amount}
        ctx.log.notes["damp"] = notes
        return model


def image_means(
    model: nn.Module, stages: Sequence[Stage], samples: Samples, ctx: Context, *, stage: str
) -> dict[str, Tensor]:
    """Return what enters every layer for each image, the mean over positions: (n, D) float64 on the CPU."""
    found: dict[str, list[Tensor]] = {layer.name: [] for layer in stages}
    pass_inputs(
        model,
        stages,
        samples,
        lambda layer, inputs_nSD: found[layer.name].append(inputs_nSD.mean(dim=1).cpu().double()),
        ctx,
        stage=stage,
    )
    return {name: torch.cat(parts) for name, parts in found.items()}


def prototypes(inputs_nD: Tensor, labels_n: Tensor) -> Tensor:
    """Return the mean of each class that has samples, (P, D)."""
    return torch.stack([inputs_nD[labels_n == k].mean(dim=0) for k in labels_n.unique().tolist()])


def residual_basis(gone_GD: Tensor, kept_PD: Tensor) -> Tensor:
    """Return an orthonormal basis (D, G or fewer) of what the forgotten prototypes have beside the retained ones."""
    _, sizes, rows = torch.linalg.svd(kept_PD, full_matrices=False)
    shared_BD = rows[sizes > sizes.max() * 1e-9]
    residuals_GD = gone_GD - gone_GD @ shared_BD.T @ shared_BD
    own = residuals_GD.norm(dim=1) > SMALL * gone_GD.norm(dim=1).clamp(min=1e-300)
    if not own.any():
        return gone_GD.new_zeros(gone_GD.shape[1], 0)
    _, sizes, rows = torch.linalg.svd(residuals_GD[own], full_matrices=False)
    basis_DB: Tensor = rows[sizes > sizes.max() * SMALL].T
    return basis_DB


def separability(forget_nD: Tensor, retain_nD: Tensor, gone_GD: Tensor, kept_PD: Tensor) -> float:
    """Return how well the nearest prototype tells forget from retained samples: 2 balanced accuracy - 1, at least 0."""
    both_PD, first = torch.cat([gone_GD, kept_PD]), len(gone_GD)
    found = float((torch.cdist(forget_nD, both_PD).argmin(dim=1) < first).double().mean())
    spared = float((torch.cdist(retain_nD, both_PD).argmin(dim=1) >= first).double().mean())
    return max(0.0, found + spared - 1.0)
