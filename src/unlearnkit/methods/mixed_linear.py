"""Mixed-linear forgetting: refits the weights of a linearised network to the retained data, by products alone.

Idea. A network can be split into a core, which stays, and user weights that act through the core's tangent alone. With
squared error the loss of the user weights is quadratic, so one Newton step leads from what they learned from all rows
to what they would have learned without some. No Jacobian is stored for that, only multiplied with vectors, so all
retained samples take part, in networks larger than NTK scrubbing (`ntk`) can take.

Update. With f the logits at the given weights w, J the Jacobian there, y the targets, and mu the weight decay,

    v = argmin of 1/2 sum over retained |f + J v - y|^2 + mu / 2 |w + v|^2
      = -(J^T J + mu I)^-1 (J^T (f - y) + mu w),       w <- w + step v,

solved by conjugate gradients. In words: user weights that the retained data hold in place stay, and others decay.

What is assumed. The paper trains the user weights over a core that saw none of the user's data, and then the step is
exact. Here a network is given that was trained as a whole. It is linearised at its weights, which are taken for the
minimum on all data, and the assumption is that the network stays linear as far as the retrained weights are away.
Nobody checks that, and for usual networks it does not hold. For a linear model that was fitted by ridge regression it
does, and the result is ridge regression on the retained data.

Reads: retain_train.

Hyperparameters: mu is n lambda, `weight_decay` as a multiple of the mean diagonal of J J^T; 1e-2 and 30 iterations are
ours. The paper's are tied to networks that were trained so, and there is no `paper` preset.

Deviations from the paper: see above; targets are one-hot less 1/K, times the mean margin of the outputs, as networks
are trained by cross-entropy; conjugate gradients in place of three epochs of SGD on the same system; no noise is added
(`fisher` is that part); no activations are replaced for the sake of the linearisation.

Cost per run: iterations + 2 passes of the retained samples, each of a product forward and one backward, some five
forward passes; 15 s for digits. Seven vectors of the weights in float64 are kept; above 2^31 bytes, at 38 million
weights, it is refused. Time stops it before: see docs/log.md for the sizes measured.

When it fails: conjugate gradients that stop early leave directions of small curvature as they were, and with them the
class; solved to the end, the step is far where the network is not linear, and the accuracy goes with the class.
Features, which come from training that is not linear, keep it in either case.

Source: A. Golatkar, A. Achille, A. Ravichandran, M. Polito, S. Soatto, "Mixed-Privacy Forgetting in Deep Networks",
CVPR 2021 (arXiv 2012.13431), sections 3 and 4.

Example: an untrained network stands for the trained one; 3 samples of 9 classes.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["mixed-linear"]().with_settings(["retain_per_class=3", "iterations=2"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), result.notes["mixed_linear"]["samples"]
    (0, 27)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import nn

from unlearnkit.errors import ConfigError
from unlearnkit.methods.common.fitting import retained_subset
from unlearnkit.methods.common.importance import trainable
from unlearnkit.methods.common.tangent import Tangent, conjugate_gradients
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.ntk import targets
from unlearnkit.methods.space import Range, Space
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.predict import predict

# Shapes: n samples, K classes, P weights.

MOST_BYTES = 2**31  # of the vectors of weights
VECTORS = 7


class MixedLinear(ConfiguredMethod):
    """The method mixed-linear forgetting with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "mixed-linear"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    weight_decay: float = Field(
        default=1e-3,
        gt=0,
        le=1e6,
        description="n lambda for all data, as a multiple of the mean diagonal of J J^T (ours)",
    )
    iterations: int = Field(default=30, gt=0, description="of conjugate gradients (ours)")
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    step: float = Field(default=1.0, gt=0, le=10, description="factor on the difference (paper: 1)")

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data."""
        return frozenset({Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Weight decay and size of the step."""
        return {"weight_decay": Range(1e-5, 1.0), "step": Range(0.2, 3.0)}

    def stronger(self) -> Mapping[str, Turn]:
        """Weight decay, which takes away what the retained data do not hold in place, and size of the step."""
        return {"weight_decay": "raise", "step": "raise"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Solve for the user weights on the retained data, and add them."""
        weights = trainable(model)
        count = sum(weight.numel() for weight in weights.values())
        if count * 8 * VECTORS > MOST_BYTES:
            raise ConfigError(
                f"Expected at most {MOST_BYTES // (8 * VECTORS):,} trainable weights, but the model has {count:,}; "
                "freeze layers, or choose erase or fisher, which keep no vectors of all weights."
            )
        samples = retained_subset(ctx, self.retain_per_class)
        with ctx.log.stage("outputs", 1) as progress:
            logits_nK = predict(model, samples, ctx.runtime).double()
            progress.advance()
        left_nK = logits_nK - targets(logits_nK, samples.labels)
        tangent = Tangent(model, weights, samples, ctx)
        start_P = torch.cat([weight.detach().flatten() for weight in weights.values()]).double()
        with ctx.log.stage("slope", 1) as progress, ctx.log.meter.by_hand(model):
            signs_nK = torch.randint(0, 2, left_nK.shape, generator=ctx.generator).double() * 2 - 1
            # E |J^T u|^2 = |J|^2 for random signs u
            decay = self.weight_decay * float(tangent.transposed(signs_nK).square().sum()) / left_nK.numel()
            slope_P = tangent.transposed(left_nK) + decay * start_P
            progress.advance()
        with ctx.log.meter.by_hand(model):
            user_P, residual = conjugate_gradients(
                lambda v_P: tangent.normal(v_P) + decay * v_P, -slope_P, self.iterations, ctx.log, stage="solve"
            )
        with torch.no_grad():
            pieces = user_P.split([weight.numel() for weight in weights.values()])
            for weight, piece in zip(weights.values(), pieces, strict=True):
                weight.add_(self.step * piece.reshape(weight.shape).to(weight))
        ctx.log.notes["mixed_linear"] = {
            "samples": len(samples),
            "weights": count,
            "weight_decay": decay,
            "moved": float(user_P.norm()),
            "residual": residual,
        }
        return model
