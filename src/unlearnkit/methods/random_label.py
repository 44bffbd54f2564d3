"""RandomLabel (Amnesiac): trains on the forget data under random wrong labels, beside the retained data.

Idea. The forget data is relabelled at random with retained classes. The model is trained on it and unlearns what it
knew by learning nonsense. The retained data, trained on in the same epochs, keeps the rest in place.

Update: theta' = SGD on the mean loss over {(x, y') : x in F} and R, with y' uniform over the retained classes, drawn
once for each sample.

Reads: forget_train, and retain_train unless `retain` is off.

Hyperparameters: we know of no published settings to vouch for. Rates from 0.013 to 0.1 for 10 epochs are in circulation
for CIFAR-10 and ResNet18, so there is no preset `paper`. The default is the best of twelve trials on digits and
CIFAR-10 together (docs/log.md).

Cost per run: epochs x (forget samples + retained samples), forward and backward.

Deviations: a label is never the true one, nor that of another class to forget or forgotten earlier, so that forgetting
several classes does not teach one of them under the name of another. The default's rate falls to 0 in eight epochs.

When it fails: fixed random labels are learned by heart, which leaves the forget data with a loss unlike that of unseen
data; without the retained data the whole model is thrown about.

Source: L. Graves, V. Nagisetty, V. Ganesh, "Amnesiac Machine Learning", AAAI 2021 (arXiv 2010.10981), section on
unlearning by relabelling; Golatkar et al. 2020 (arXiv 1911.04933) as the baseline "random labels".

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.RandomLabel().with_settings(["recipe.epochs=1", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (147, ['relabel'])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.data.samples import Concat, Relabelled
from unlearnkit.data.view import Samples
from unlearnkit.errors import ConfigError
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.methods.space import Range, Space
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.recipe import Recipe


class RandomLabel(ConfiguredMethod):
    """Training on wrong labels for the forget data."""

    name: ClassVar[str] = "random-label"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    recipe: Recipe = Recipe(epochs=8, batch_size=128, lr=0.017, schedule="cosine")
    retain: bool = Field(default=True, description="train on the retained data too")
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    augment: bool = Field(default=True, description="augment images where the data source does")

    @property
    def needs(self) -> frozenset[Part]:
        """Forget training data, and retained training data where it is used."""
        return frozenset({Part.FORGET_TRAIN} | ({Part.RETAIN_TRAIN} if self.retain else set()))

    def space(self) -> Space:
        """Rate and length."""
        return {"recipe.lr": Range(1e-3, 0.1), "recipe.epochs": Range(1, 10)}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Give wrong labels to the forget data, and train on them."""
        forgotten = ctx.view.part(Part.FORGET_TRAIN)
        samples: Samples = Relabelled(forgotten, wrong_labels(forgotten.labels, ctx.request.retained, ctx.generator))
        if self.retain:
            samples = Concat([samples, retained_subset(ctx, self.retain_per_class)])
        fit(model, samples, self.recipe, ctx, stage="relabel", augment=self.augment)
        return model


def wrong_labels(labels: Tensor, retained: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw a label for each sample uniformly from the retained classes but its own, (n,) int64.

    Args:
        labels: the true ones, (n,) int64; those of rows are of classes that stay.
        retained: ids of the classes that stay.
        generator: CPU generator of the draw.

    Raises:
        ConfigError: a row's class is the only one that stays.
    """
    others = torch.tensor(retained)
    drawn = others[torch.randint(len(others), (len(labels),), generator=generator)]
    rows = torch.nonzero(torch.isin(labels, others)).flatten()
    if len(rows) and len(others) == 1:
        raise ConfigError(
            "Expected two retained classes or more for wrong labels of rows, but only one stays; choose another method."
        )
    if len(rows):  # a second draw, so that the first is what it is for whole classes
        own = torch.searchsorted(others, labels[rows])
        step = torch.randint(1, len(others), (len(rows),), generator=generator)
        drawn[rows] = others[(own + step) % len(others)]
    return drawn
