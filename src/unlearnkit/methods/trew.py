"""TREW (tilted reweighting): fits, on forget images, the distribution that a retrained model would give.

Idea. A model without the class still answers its images, with classes that resemble it. To cut the class out and
renormalise is not enough: it spreads the mass in proportion to what the original left over, which tells an attacker by
the neighbours that the class was there. TREW tilts what is left towards the classes that are similar to the forgotten
one.

Update. With p the original's probabilities, f the image's class, C_f the classes to forget or forgotten earlier, and
s_k the cosine similarity of the head's weight rows of f and k,

    q_k(x) proportional to p_k(x) exp(beta s_k) for k outside of C_f, and 0 in it,

which is the distribution nearest to the renormalised one (in KL) among those of its mean similarity. Minimise the
cross-entropy to q on forget images and to the labels on retained images.

Reads: the training data of the classes to forget and the retained training data.

Hyperparameters: beta 1, rate and length are ours; the paper's were not verified by us.

Deviations from the paper: q is computed once, from images that are not augmented. Similarities are those of centred
rows (less the mean row), as a common part of all rows says nothing. Where the head is a convolution its kernel is the
row.

Cost per run: one forward pass of the forget data, then epochs x (forget data + retained samples), forward and backward.

When it fails: the similarity of two classes' rows is a guess at what a retrained model would confuse, and with few
classes a poor one. The features keep the class wherever the head alone can fit q.

Source: A. Ebrahimpour-Boroojeny, Y. Wang, H. Sundaram, "On the Necessity of Output Distribution Reweighting for
Effective Class Unlearning", ICML 2026 (arXiv 2506.20893); its first version names the method RWFT.

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["trew"]().with_settings(["recipe.epochs=1", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (147, ['outputs', 'reweight'])
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.data.samples import Concat
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.head_inputs import head_of
from unlearnkit.methods.common.soft_targets import numbered, outputs_of, towards
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.models.head import own_head
from unlearnkit.split import Part
from unlearnkit.training.recipe import Recipe

# Shapes: n samples, K classes, D weights of a row of the head.


class TREW(ConfiguredMethod):
    """The method TREW with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "trew"

    beta: float = Field(default=1.0, ge=0, le=100, description="how far similar classes are favoured; 0: not at all")
    recipe: Recipe = Recipe(epochs=5, batch_size=64, lr=0.02, schedule="cosine")
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    augment: bool = Field(default=True, description="augment images where the data source does")

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget and of the retained ones."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """How far similar classes are favoured, rate and length."""
        return {"beta": Range(0.1, 10.0), "recipe.lr": Range(1e-3, 0.2), "recipe.epochs": Range(1, 10)}

    def stronger(self) -> Mapping[str, Turn]:
        """Rate and length."""
        return {"recipe.lr": "raise", "recipe.epochs": "raise"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Compute the tilted targets, then fit them and the retained labels together."""
        forget, retain = ctx.view.part(Part.FORGET_TRAIN), retained_subset(ctx, self.retain_per_class)
        rows_KD = own_head(model, head_of(model, ctx)).weight.detach().flatten(1).cpu()
        logits_nK = outputs_of(model, forget, ctx, stage="outputs")
        removed = (*ctx.request.forget, *ctx.request.already_forgotten)
        wanted_nK = tilted(logits_nK, similarities(rows_KD)[forget.labels], removed, self.beta)
        known_nK = F.one_hot(retain.labels, logits_nK.shape[1]).to(wanted_nK)
        loss = towards(torch.cat([wanted_nK, known_nK]))
        both = Concat([forget, retain])
        fit(model, numbered(both), self.recipe, ctx, stage="reweight", loss=loss, augment=self.augment)
        return model


def similarities(rows_KD: Tensor) -> Tensor:
    """Return the cosine similarities (K, K) of the head's rows less their mean."""
    centred_KD = F.normalize(rows_KD - rows_KD.mean(dim=0), dim=1)
    return centred_KD @ centred_KD.T


def tilted(logits_nK: Tensor, similar_nK: Tensor, removed: Sequence[int], beta: float) -> Tensor:
    """Return q (n, K): proportional to p exp(beta s) outside of `removed`, and 0 in it.

    Args:
        logits_nK: of the original.
        similar_nK: s, similarity of each image's own class to every class.
        removed: class ids.
        beta: strength of the tilt.
    """
    scores_nK = logits_nK + beta * similar_nK.to(logits_nK)
    scores_nK[:, list(removed)] = -math.inf
    return scores_nK.softmax(dim=1)
