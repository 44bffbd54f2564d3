"""Shrink and distil: shrinks all weights, then learns the original's answers without the class on retained images.

Idea. A network that is trained on from where it stands stays near the original, and keeps in its features what it no
longer answers. So its weights are shrunk first, which takes the network to where every step counts for more: behind a
normalisation a weight that is half as long turns twice as far, and elsewhere the outputs grow faint. What brings the
rest back are not labels but the original's own answers with the forgotten outputs cut out, which say more of each image
than its label, so that few steps do.

Update. For every trainable matrix and kernel w <- factor w; biases and normalisations stay. Where few of them run into
batch, group or instance normalisation, as in a transformer, this takes the function along, and few steps do not teach
it again. There the factor is raised by tenths, to 0.9 at most, until the shrunken network's answers to retained images
agree with the original's (`agreement`, a Cohen's kappa), and the epochs are doubled. Then some epochs on a retained
subset with

    - sum over k not forgotten of p_k(x) log q_k(x),   p = softmax of the original's logits without those forgotten,

q the softmax over all outputs, and BatchNorm's statistics estimated anew.

Reads: retain_train (retain_val too, where the factor is searched). Never forget data.

Hyperparameters: factor 0.4, a fifth of each class but at least 100 samples, three epochs of Adam with falling rate, at
first 0.1 of the root mean square of the original's weights, in batches of 1/24 of the subset, between 16 and 128. They
were found on digits without the odd ones (docs/log.md, 2026-11-28), and what is done without normalisation on one
small transformer without one digit and without four (2026-11-28).

Deviations: the method is ours; `weight-damage` heals by labels, and shrinks normalisations and biases too.

Cost per run: a forward pass of the subset through the original, whose answers are kept; for each attempt of the search
three epochs over the subset, forward and backward, a forward pass of the subset for BatchNorm, and one of `retain_val`;
and one of that for the original. Where few weights are normalised, a forward pass of 128 images and one for each factor
that is tried (two with BatchNorm), and where the factor was raised six epochs in place of three. Where images are
augmented, or a read draws at random, no two reads of an image are alike: the original answers each batch anew, three
forward passes in place of one.

When it fails: where a subset and three epochs are too few to learn the task again. On a small network for CIFAR-10 it
cost 13 points of retained accuracy, without the search (a weaker factor is what the search tries). It suits small data,
where training is short; `erase` suits large.

Source: ours. Shrinking weights to train on from them is J. Ash, R. Adams, "On Warm-Starting Neural Network Training",
NeurIPS 2020 (arXiv 1910.08475); shrinking them to forget, healed by labels, is S. Siddiqui et al. 2025 (arXiv
2505.22310, `weight-damage` here); the loss is that of UNSIR's repair.

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["shrink-distill"]().with_settings(["retain_per_class=5", "repair.epochs=1", "search=none"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (0, ['answers', 'distil', 'recalibrate'])
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field
from torch import nn

from unlearnkit.config import Config
from unlearnkit.data.samples import Augmented
from unlearnkit.data.view import Samples
from unlearnkit.methods.common.fitting import retained_subset
from unlearnkit.methods.common.rate_search import SearchSettings, search_rates
from unlearnkit.methods.common.shrinking import bearable, shrink
from unlearnkit.methods.common.soft_targets import distilled
from unlearnkit.methods.common.teachers import teacher_of
from unlearnkit.methods.common.weight_scale import weight_scale
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.split import Part
from unlearnkit.training.batchnorm import recalibrate_batchnorm
from unlearnkit.training.loop import train
from unlearnkit.training.losses import Loss
from unlearnkit.training.recipe import Recipe

RATE = 0.1  # of the weights' root mean square, where repair.lr is not given
EPOCHS = 3  # of the repair, where repair.epochs is not given; twice as many where the factor was raised
STEPS_PER_EPOCH, FEWEST, MOST = 24, 16, 128  # of the repair, and samples in a batch, where repair.batch_size is open


class AnswerSettings(Config):
    """Settings of the step that learns the original's answers: Adam with a rate that falls as a cosine."""

    lr: float | None = Field(
        default=None, gt=0, le=1e3, description="learning rate; none: 0.1 of the root mean square of the weights"
    )
    epochs: int | None = Field(
        default=None, gt=0, description="epochs over the retained subset; none: 3, or 6 where the factor was raised"
    )
    batch_size: int | None = Field(
        default=None, gt=0, description="samples per step; none: 1/24 of the subset, 16 to 128"
    )


class ShrinkDistill(ConfiguredMethod):
    """The method shrink and distil with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "shrink-distill"

    factor: float = Field(default=0.4, ge=0, lt=1, description="what is left of a weight; see agreement")
    agreement: float = Field(
        default=0.25,
        ge=0,
        lt=1,
        description="Cohen's kappa of its answers and the original's that a shrunken network keeps, where few weights "
        "are normalised; 0: the factor as given",
    )
    retain_per_class: int | None = Field(
        default=None, gt=0, description="retained samples per class; none: a fifth of the class, at least 100"
    )
    repair: AnswerSettings = AnswerSettings()
    augment: bool = Field(default=True, description="augment retained images where the data source does")
    search: SearchSettings | None = Field(
        default=SearchSettings(trials=0), description="how the shrinking is weakened where accuracy falls; none: not"
    )

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data, and retained validation data where the factor is searched."""
        return frozenset({Part.RETAIN_TRAIN} | ({Part.RETAIN_VAL} if self.search else set()))

    def space(self) -> Space:
        """The factor, and rate and length of the repair."""
        return {
            "factor": Range(0.1, 0.9, log=False),
            "repair.lr": Range(1e-4, 3e-2),
            "repair.epochs": Range(1, 8),
        }

    def stronger(self) -> Mapping[str, Turn]:
        """What is left of a weight, and how much like the original's the answers stay then."""
        return {"factor": "lower", "agreement": "lower"}

    def for_tuning(self) -> tuple[str, ...]:
        """Use the factor as given instead of searching for it or raising it."""
        return (*(("search=none",) if self.search else ()), *(("agreement=0",) if self.agreement else ()))

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Shrink and distil; the search does so again with a factor nearer to 1 where accuracy falls."""
        original = teacher_of(model)
        subset = retained_subset(ctx, self.retain_per_class, default=lambda samples: max(100, samples // 5))
        retained: Samples = subset
        if self.augment and ctx.view.augment == "crop_flip":
            retained = Augmented(subset, ctx.generator)
        factor, kappa = bearable(model, self.factor, subset, ctx, agreement=self.agreement)
        if factor > self.factor:
            ctx.log.progress.say(
                f"{factor:g} of each weight is left, not {self.factor:g}, which the answers do not bear"
            )
        recipe = Recipe(
            epochs=self.repair.epochs or EPOCHS * (1 if factor == self.factor else 2),
            batch_size=self.repair.batch_size or min(MOST, max(FEWEST, len(subset) // STEPS_PER_EPOCH)),
            optimizer="adam",
            lr=self.repair.lr or RATE * weight_scale(original, instead="give repair.lr"),
            schedule="cosine",
        )
        ctx.log.notes["plan"] = {"factor": factor, "agreement": kappa, "repair": recipe.model_dump()}
        gone = (*ctx.request.forget, *ctx.request.already_forgotten)
        images, loss = distilled(original, retained, gone, ctx)

        def attempt(power: float) -> nn.Module:
            return self._shrink_and_distil(copy.deepcopy(model), images, loss, recipe, factor**power, ctx)

        if self.search is None:
            return attempt(1.0)
        return search_rates(attempt, original, self.search, ctx, trial=attempt)

    def _shrink_and_distil(
        self, model: nn.Module, retained: Samples, loss: Loss, recipe: Recipe, factor: float, ctx: Context
    ) -> nn.Module:
        shrink(model, factor)
        train(
            model,
            retained,
            recipe,
            stage="distil",
            loss=loss,
            generator=ctx.generator,
            runtime=ctx.runtime,
            log=ctx.log,
        )
        recalibrate_batchnorm(
            model, retained, batch_size=recipe.batch_size, generator=ctx.generator, runtime=ctx.runtime, log=ctx.log
        )
        return model
