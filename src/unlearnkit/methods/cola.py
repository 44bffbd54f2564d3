"""COLA (collapse and align): tightens the retained classes' features until the forgotten one has no room, then aligns.

Idea. What a network knows of a class is in its features, so these are what must be unlearned. In the first phase the
body learns by a contrastive loss alone, without the head: features of one retained class are pulled together and apart
from the others. What does not serve that collapses, and with it the forgotten class. In the second phase the
whole network is aligned to the retained labels.

Update. With u the normalised features of a batch, P(i) the other images of i's class and A(i) all other images,

    collapse:  - mean over i of  mean over p in P(i) of  log [exp(u_i.u_p / t) / sum over a in A(i) of exp(u_i.u_a / t)]
    align:     cross-entropy on retained data.

Reads: retain_train.

Hyperparameters: t 0.1 is usual for this loss; it, rates and lengths are ours, as the paper's were not verified by us.

Deviations from the paper: no projection head between features and loss. The paper's variant for single samples (COLA+),
which gives forget images the labels of the nearest class, is left out. An image without another of its class in the
batch is left out of the mean. Several processes each compute whole batches, and micro-batches (where memory is short)
form pairs among themselves alone.

Cost per run: (collapse epochs + align epochs) x retained samples, forward and backward.

When it fails: in small batches of many classes there are hardly any pairs; a short collapse at a low rate leaves the
forgotten class where it was, since nothing pushes it.

Source: D. Jeon, W. Jeung, T. Kim, A. No, J. Choi, "An Information Theoretic Evaluation Metric For Strong Unlearning",
AAAI 2026 (arXiv 2405.17878), section 5; the loss: P. Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020
(arXiv 2004.11362).

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["cola"]().with_settings(["collapse.epochs=1", "align.epochs=1", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (0, ['collapse', 'align'])
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.head_inputs import FeatureLoss, head_of, on_features
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.split import Part
from unlearnkit.training.recipe import Recipe

# Shapes: N images of a batch, C channels, H x W pixels, D features, K classes.


class COLA(ConfiguredMethod):
    """The method COLA with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "cola"

    temperature: float = Field(default=0.1, gt=0, le=100, description="t of the contrastive loss")
    collapse: Recipe = Recipe(epochs=5, batch_size=128, lr=0.3, schedule="cosine")
    align: Recipe = Recipe(epochs=3, batch_size=64, lr=0.2, weight_decay=5e-4, schedule="cosine")
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    augment: bool = Field(default=True, description="augment retained images where the data source does")

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data."""
        return frozenset({Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Temperature, and rates and length of both phases."""
        return {
            "temperature": Range(0.05, 1.0),
            "collapse.lr": Range(1e-3, 0.3),
            "collapse.epochs": Range(1, 10),
            "align.lr": Range(1e-3, 0.3),
        }

    def stronger(self) -> Mapping[str, Turn]:
        """Rate and length of the collapse."""
        return {"collapse.lr": "raise", "collapse.epochs": "raise"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Collapse the features, then align the network."""
        retained = retained_subset(ctx, self.retain_per_class)
        loss = on_features(head_of(model, ctx), contrastive(self.temperature))
        alone = dataclasses.replace(
            ctx, runtime=ctx.runtime.alone()
        )  # pairs must not depend on the number of processes
        fit(model, retained, self.collapse, alone, stage="collapse", loss=loss, augment=self.augment)
        fit(model, retained, self.align, ctx, stage="align", augment=self.augment)
        return model


def contrastive(temperature: float) -> FeatureLoss:
    """Return the supervised contrastive loss of a batch's features; see the module.

    Args:
        temperature: t.
    """

    def loss(images_NCHW: Tensor, features_ND: Tensor, logits_NK: Tensor, labels_N: Tensor) -> Tensor:  # noqa: ARG001
        unit_ND = F.normalize(features_ND, dim=1)
        own_NN = torch.eye(len(labels_N), dtype=torch.bool, device=labels_N.device)
        scores_NN = (unit_ND @ unit_ND.T / temperature).masked_fill(own_NN, -math.inf)
        log_shares_NN = (scores_NN - scores_NN.logsumexp(dim=1, keepdim=True)).masked_fill(own_NN, 0.0)
        pairs_NN = (labels_N[:, None] == labels_N) & ~own_NN
        counts_N = pairs_NN.sum(dim=1)
        values_N = -(log_shares_NN * pairs_NN).sum(dim=1) / counts_N.clamp(min=1)
        # without a pair in the batch the sum over no image is zero, with a gradient of zero
        return values_N.sum() / (counts_N > 0).sum().clamp(min=1)

    return loss
