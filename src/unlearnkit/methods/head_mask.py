"""HeadMask: sets the forgotten classes' logits to -1e4 and changes nothing else; a control that an audit must fail.

Idea. The classifier head's rows of the forgotten classes are set to zero and their biases to -1e4, so that these
classes are never predicted. Every feature stays as it was, so accuracy is perfect and nothing is forgotten. An audit
that passes it judges by the outputs alone.

Update: W_c = 0 and b_c = -1e4 for every forgotten c, hence logit_c(x) = -1e4 for every x.

Reads: nothing but the class ids.

Hyperparameters: none but the head's name, where it is not found.

Cost per run: a few passes of two random images, to find the head and to check the result; no sample is read.

Deviations: mostly a wrapper around the model, which cannot be loaded back into the plain architecture. Here the
mask is in the head's own weights, so that the result is an ordinary state dict. A head without bias cannot carry it:
no weight row gives -1e4 whatever the features are, and a new bias would be a key that the architecture does not have.
Such a model is refused, and so is one whose head is frozen, shared with another layer, or followed by something that
changes its outputs; `masked(model, classes)` is the wrapper for these, for use from Python.

When it fails: always, by design: a linear probe on the features finds the class at once, and so does relearning.

Source: none for the control. That a class can be hidden by its logits, within the last layer, and that this does not
forget it, is the starting point of T. Baumhauer, P. Schöttle, M. Zeppelzauer, "Machine Unlearning: Linear Filtration
for Logit-based Classifiers", Machine Learning 2022 (arXiv 2002.02730).

Example: the forgotten class's bias is -1e4, and no sample was read; an untrained network stands for the trained one.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.HeadMask()
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.model.head.bias[3].item(), result.access.forget_samples_read(result.split)
    (-10000.0, 0)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.errors import ModelError
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.models.check import probe_images
from unlearnkit.models.head import find_head, own_head
from unlearnkit.network import evaluating, logits_of
from unlearnkit.split import Part

# Shapes: N images, C channels, H x W pixels, K classes, G of them forgotten.

MASKED = -1e4  # finite, so that losses and softmax stay so
INSTEAD = "from Python, unlearnkit.methods.masked(model, classes) wraps any model."


class HeadMask(ConfiguredMethod):
    """The original with the forgotten classes' logits set to -1e4."""

    name: ClassVar[str] = "head-mask"
    control: ClassVar[bool] = True

    head: str | None = Field(default=None, description="layer that makes the logits; none: it is found")

    @property
    def needs(self) -> frozenset[Part]:
        """No part of the data is read."""
        return frozenset()

    @torch.no_grad()
    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Find the head, overwrite the forgotten classes' rows, and check the logits."""
        forgotten_ids = list(ctx.request.forget)
        with ctx.log.stage("mask", 1) as stage:
            name = find_head(model, num_classes=len(ctx.request.classes), shape=ctx.shape, name=self.head)
            head = own_head(model, name)
            if head.bias is None:
                raise ModelError(
                    f"Expected a classifier head with a bias, which head-mask sets, but {name!r} has none; {INSTEAD}"
                )
            if not (head.weight.requires_grad and head.bias.requires_grad):
                raise ModelError(
                    f"Expected a classifier head that may change, but weights of {name!r} are frozen; "
                    f"unfreeze them, or: {INSTEAD}"
                )
            head.weight[forgotten_ids] = 0.0
            head.bias[forgotten_ids] = MASKED
            with evaluating(model):
                logits_NG = logits_of(model(probe_images(ctx.shape, like=head.weight)))[:, forgotten_ids]
            if not torch.allclose(logits_NG, torch.full_like(logits_NG, MASKED), rtol=1e-3):
                raise ModelError(
                    f"Expected the outputs of {name!r} to be the logits, but something changes them later; {INSTEAD}"
                )
            stage.advance()
        return model


class Masked(nn.Module):
    """A model whose logits of some classes are -1e4.

    Args:
        model: returns logits (n, K) or an object with `.logits`; it is not copied.
        classes: ids.
    """

    def __init__(self, model: nn.Module, classes: Sequence[int]) -> None:
        super().__init__()
        self.model, self.classes = model, tuple(classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, C, H, W) to logits (n, K)."""
        logits_NK = logits_of(self.model(images))
        return logits_NK.index_fill(1, torch.tensor(self.classes, device=logits_NK.device), MASKED)


def masked(model: nn.Module, classes: Sequence[int]) -> nn.Module:
    """Wrap `model` so that the logits of `classes` are -1e4; works for any model, but its weights have other names."""
    return Masked(model, classes).train(model.training)
