"""NTK scrubbing: moves the weights by the difference that the forget data makes to the network's linearised training.

Idea. Near its weights a network is linear in them, and the training of a linear model by squared error and weight decay
has a closed form. So its result with and without the forget data can be computed, and the difference is what the forget
data has done to the weights. That difference is applied in one step.

Update. With f the logits, J the Jacobian at the original's weights w (one column of G for each sample and output), y
the targets, and f_0 = f - J w what the linearised model says at weights 0,

    u(D) = -G_D (G_D^T G_D + n lambda I)^-1 (f_0 - y)_D,      w <- w + u(retained) - u(all).

For a linear model that was fitted by ridge regression u(all) = w, and the result is ridge regression on the retained
data.

Reads: a subset of the training data of the classes to forget and of the retained training data.

Hyperparameters: `weight_decay` stands for n lambda; 1e-3 of the mean diagonal of G^T G, and 12 samples of each class,
are ours. The paper's are tied to its trained networks.

Deviations from the paper: linearised at the original's weights, not at those before training, which nobody has kept;
targets are one-hot less 1/K, times the mean margin of the outputs, as networks are trained by cross-entropy; the noise
that the paper adds by the Fisher information is left out (`fisher` is that part); a subset stands for all data.

Cost per run: the Jacobian of the chosen samples, n K backward passes, and a Cholesky of n K columns: memory (n K)^2 + n
K P numbers for P weights. Above `most_columns` or 2^31 bytes it is refused. Measured on one core of an EPYC: see
docs/log.md.

When it fails: one step is far where the network is not linear, and the subset is small. In the closed form the forget
data's whole influence on a *linear* model is removed; features, which come from training that is not linear, keep the
class. `mixed-linear` is the like with products in place of a stored Jacobian.

Source: A. Golatkar, A. Achille, S. Soatto, "Forgetting Outside the Box: Scrubbing Deep Networks of Information
Accessible from Input-Output Observations", ECCV 2020 (arXiv 2003.02960), section 4.

Example: an untrained network stands for the trained one; 3 samples of 10 classes with 10 outputs are 300 columns.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["ntk"]().with_settings(["per_class=3"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), result.notes["ntk"]["columns"]
    (3, 300)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from unlearnkit.data.samples import per_class
from unlearnkit.data.view import PartSamples
from unlearnkit.errors import ConfigError, ModelError
from unlearnkit.methods.common.importance import Weights, trainable
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.network import evaluating, logits_of
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part

# Shapes: n samples, K classes, P weights, X = n K columns.

MOST_BYTES = 2**31  # of the Jacobian


class NTKScrubbing(ConfiguredMethod):
    """The method NTK scrubbing with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "ntk"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    weight_decay: float = Field(
        default=1e-3,
        gt=0,
        le=1e6,
        description="n lambda for all data, as a multiple of the mean diagonal of G^T G (ours)",
    )
    per_class: int = Field(default=12, gt=0, description="samples of each class, or all where there are fewer")
    step: float = Field(default=1.0, gt=0, le=10, description="factor on the difference (paper: 1)")
    most_columns: int = Field(default=5000, gt=0, description="samples times outputs that are solved for, at most")

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget and of the retained ones."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Weight decay and size of the step."""
        return {"weight_decay": Range(1e-5, 1.0), "step": Range(0.2, 3.0)}

    def stronger(self) -> Mapping[str, Turn]:
        """Size of the step."""
        return {"step": "raise"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Linearise on a subset of both parts, solve with and without the forget data, and apply the difference."""
        forget, retain = (self._drawn(ctx.view.part(p), ctx) for p in (Part.FORGET_TRAIN, Part.RETAIN_TRAIN))
        classes, weights = len(ctx.request.classes), trainable(model)
        count = sum(weight.numel() for weight in weights.values())
        columns = (len(forget) + len(retain)) * classes
        if columns > self.most_columns or columns * count * 8 > MOST_BYTES:
            raise ConfigError(
                f"Expected at most {self.most_columns} columns (samples times outputs) and {MOST_BYTES // 2**20} MiB "
                f"of gradients, but {columns} columns of {count} weights take {columns * count * 8 // 2**20} MiB; "
                "lower per_class, freeze layers, or choose erase or fisher, whose cost does not grow so."
            )
        images = torch.cat([samples.images(torch.arange(len(samples))) for samples in (forget, retain)])
        labels = torch.cat([forget.labels, retain.labels])
        with ctx.log.stage("linearise", 1) as progress, ctx.log.meter.by_hand(model):
            jacobian_XP, logits_nK = jacobian(model, weights, ctx.runtime.inputs(images))
            ctx.log.meter.forward += len(images)
            ctx.log.meter.backward += len(images) * classes
            progress.advance()
        start_P = torch.cat([weight.flatten() for weight in weights.values()]).cpu().double()
        left_X = (logits_nK - targets(logits_nK, labels)).flatten() - jacobian_XP @ start_P
        first = len(forget) * classes  # columns of the forget data come first
        penalty = self.weight_decay * float(jacobian_XP.square().sum()) / columns  # n lambda, for all data
        change_P = solution(jacobian_XP[first:], left_X[first:], penalty * (columns - first) / columns) - solution(
            jacobian_XP, left_X, penalty
        )
        sizes = [weight.numel() for weight in weights.values()]
        with torch.no_grad():
            for weight, part in zip(weights.values(), change_P.split(sizes), strict=True):
                weight.add_(self.step * part.reshape(weight.shape).to(weight))
        ctx.log.notes["ntk"] = {"columns": columns, "weights": count, "moved": float(change_P.norm())}
        return model

    def _drawn(self, samples: PartSamples, ctx: Context) -> PartSamples:
        counts = {k: min(self.per_class, int((samples.labels == k).sum())) for k in samples.labels.unique().tolist()}
        return samples.subset(per_class(samples.labels, counts, ctx.generator))


def jacobian(model: nn.Module, weights: Weights, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients (n K, P) of all outputs for the weights, and the logits (n, K), in float64 on the CPU.

    Raises:
        ModelError: torch.func refuses the model.
    """

    def outputs(given: Weights, image: Tensor) -> Tensor:
        return logits_of(functional_call(model, given, (image.unsqueeze(0),)))[0]

    try:
        with evaluating(model), sdpa_kernel(SDPBackend.MATH):
            found = vmap(jacrev(outputs), in_dims=(None, 0), chunk_size=8)(weights, images)
            with torch.no_grad():
                logits_nK = logits_of(model(images))
    except RuntimeError as error:
        raise ModelError(
            f"Expected a model that torch.func differentiates, but it fails ({str(error).strip().splitlines()[0]}); "
            "choose erase or fisher with fisher.per_sample=loop."
        ) from error
    parts = [value.flatten(2) for value in found.values()]  # (n, K, weights) of each parameter
    return torch.cat(parts, dim=2).flatten(0, 1).cpu().double(), logits_nK.cpu().double()


def targets(logits_nK: Tensor, labels_n: Tensor) -> Tensor:
    """Return one-hot targets less 1/K, times the mean margin of the true logit above the mean of all."""
    margin = (logits_nK.gather(1, labels_n[:, None]).squeeze(1) - logits_nK.mean(dim=1)).mean().abs()
    classes = logits_nK.shape[1]
    return margin * (F.one_hot(labels_n, classes).to(logits_nK) - 1 / classes) * classes / (classes - 1)


def solution(jacobian_XP: Tensor, left_X: Tensor, penalty: float) -> Tensor:
    """Return u = -G (G^T G + penalty I)^-1 left, (P,).

    Args:
        jacobian_XP: G^T.
        left_X: f_0 - y.
        penalty: n lambda.
    """
    gram_XX = jacobian_XP @ jacobian_XP.T
    gram_XX.diagonal().add_(max(penalty, 1e-300))
    factor_XX = torch.linalg.cholesky(gram_XX)
    return -jacobian_XP.T @ torch.cholesky_solve(left_X[:, None], factor_XX).squeeze(1)
