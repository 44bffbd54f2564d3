"""JiT: flattens the model around each forget image by its local Lipschitz constant; reads forget data alone.

Idea. A model that has learned an image changes fast around it and holds it away from the decision boundary. JiT pulls
the outputs for the image to those for noisy copies of it. The surface around the forget images becomes flat, the
boundary moves over them, and nothing says which class they should have instead.

Update. With f the logits and xi_j ~ N(0, sigma^2 I), one pass of SGD over the forget images x on

    1/n sum over j = 1 .. n of  ||f(x) - f(x + xi_j)||_2 / ||xi_j||_2

Reads: the training data of the classes to forget, without labels.

Hyperparameters: `paper()` is sigma 0.5, n 25 and SGD at 3e-4 without momentum (momentum here is at least above 0, and
set to 0.001), batches of 64; the paper tunes rate and sigma for each network, so these are one of its pairs. The
default has a rate that forgets on digits (ours).

Deviations from the paper: the noise is added to the normalised image and is not clamped to its range, as public code
does; the loss is the mean over the batch, where public code sums. The outputs for the copies are constants, as in
public code; with a gradient through them, too, the model became constant, and constant in the forgotten class
(docs/log.md). By default BatchNorm keeps its stored statistics and dropout is off (`batch_statistics` false).

Cost per run: epochs x forget data x (1 + copies) forward, and backward without the copies.

When it fails: the loss is smallest where the model is constant, so a high rate or a long run levels all classes; a low
one leaves the label as it was, since nothing in the loss knows of labels. Retained images near the class are levelled
with it.

Source: J. Foster, K. Fogarty, S. Schoepf, Z. Dugue, C. Oztireli, A. Brintrup, "An Information Theoretic Approach to
Machine Unlearning", TMLR (arXiv 2402.01401), first named "Zero-Shot Machine Unlearning at Scale via Lipschitz
Regularization".

Example: an untrained network stands for the trained one, and the settings are tiny; each image is passed three times.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["jit"]().with_settings(["recipe.epochs=1", "copies=2"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.cost["stages"]["smooth"]["samples_forward"] / 147
    3.0
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.data.view import Batch, Samples
from unlearnkit.methods.common.fitting import fit
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.network import logits_of
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.losses import Loss
from unlearnkit.training.recipe import Recipe

# Shapes: N images of a batch, J noisy copies of each, C channels, H x W pixels, K classes.


class JiT(ConfiguredMethod):
    """The method JiT with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "jit"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    sigma: float = Field(default=0.5, gt=0, le=1e3, description="standard deviation of the noise, in normalised pixels")
    copies: int = Field(default=8, gt=0, description="n, noisy copies of each image (paper: 25)")
    recipe: Recipe = Recipe(epochs=2, batch_size=32, lr=3e-4)
    batch_statistics: bool = Field(default=False, description="BatchNorm follows the forget batches (paper: true)")

    @classmethod
    def paper(cls) -> Self:
        """One of the published pairs of rate and noise, as far as it is known to us."""
        recipe = Recipe(epochs=1, batch_size=64, lr=3e-4, momentum=0.001, nesterov=False)
        return cls(sigma=0.5, copies=25, recipe=recipe, batch_statistics=True)

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget."""
        return frozenset({Part.FORGET_TRAIN})

    def space(self) -> Space:
        """Size of the noise, rate and length."""
        return {"sigma": Range(0.05, 2.0), "recipe.lr": Range(1e-4, 0.1), "recipe.epochs": Range(1, 5)}

    def stronger(self) -> Mapping[str, Turn]:
        """Rate and length."""
        return {"recipe.lr": "raise", "recipe.epochs": "raise"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Train on the forget images and their noisy copies."""
        forget, stored = ctx.view.part(Part.FORGET_TRAIN), not self.batch_statistics
        noisy = WithNoise(forget, ctx.generator, copies=self.copies, sigma=self.sigma)
        fit(model, noisy, self.recipe, ctx, stage="smooth", loss=lipschitz(self.copies), stored_statistics=stored)
        return model


def lipschitz(copies: int) -> Loss:
    """Return the loss: mean over images and copies of ||f(x) - f(x')|| / ||x - x'||, f(x') a constant.

    Labels are ignored.

    Args:
        copies: J; the images of the loss are those of `WithNoise`.
    """

    def loss(model: nn.Module, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:  # noqa: ARG001 - the Loss interface
        clean_NCHW, noisy_NJCHW = split_copies(images_NCHW, copies)
        with torch.no_grad():
            noisy_NJK = logits_of(model(noisy_NJCHW.flatten(0, 1))).unflatten(0, (-1, copies))
        moved_NJK = logits_of(model(clean_NCHW))[:, None] - noisy_NJK
        noise_NJ: Tensor = (clean_NCHW[:, None] - noisy_NJCHW).flatten(2).norm(dim=2)
        # the slope of a norm is not defined at zero, where an image and its copy have the same outputs
        slope: Tensor = ((moved_NJK.square().sum(dim=2) + 1e-12).sqrt() / noise_NJ).mean()
        return slope

    return loss


def split_copies(images_NCHW: Tensor, copies: int) -> tuple[Tensor, Tensor]:
    """Split what `WithNoise` gives into images (N, C, H, W) and their copies (N, J, C, H, W)."""
    parts_NXCHW = images_NCHW.unflatten(1, (copies + 1, -1))
    return parts_NXCHW[:, 0], parts_NXCHW[:, 1:]


class WithNoise:
    """Samples whose noisy copies lie behind each image, along its channels.

    Noise that is drawn for a whole batch and then cut is the same with one process and with several.

    Args:
        samples: whose images they are.
        generator: CPU generator of the noise.
        copies: J, of each image.
        sigma: standard deviation of the noise.
    """

    def __init__(self, samples: Samples, generator: torch.Generator, *, copies: int, sigma: float) -> None:
        self._samples, self._generator, self._copies, self._sigma = samples, generator, copies, sigma

    def __len__(self) -> int:
        return len(self._samples)

    @property
    def labels(self) -> Tensor:
        """Labels of the samples, (n,) int64 on the CPU."""
        return self._samples.labels

    def images(self, positions: Tensor) -> Tensor:
        """Return the images with their copies, (m, (1 + J) C, H, W)."""
        return self._joined(self._samples.images(positions), Batch(positions))

    def stream(self, batches: Sequence[Batch]) -> Iterator[Tensor]:
        """Yield the images with their copies of this process's share of every batch."""
        for batch, images in zip(batches, self._samples.stream(batches), strict=True):
            yield self._joined(images, batch)

    def _joined(self, images: Tensor, batch: Batch) -> Tensor:
        size = (len(batch.positions), self._copies, *images.shape[1:])
        noise = torch.randn(size, generator=self._generator)[batch.mine].to(images)
        return torch.cat([images[:, None], images[:, None] + self._sigma * noise], dim=1).flatten(1, 2)
