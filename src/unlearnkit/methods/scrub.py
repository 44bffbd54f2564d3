"""SCRUB: drives a student from the original model on forget data and back to it on retained data, epoch by epoch.

Idea. The original model is the teacher, and the student starts as its copy. A *max* epoch over the forget data
drives the student's outputs away from the teacher's; a *min* epoch over the retained data pulls them back there and
keeps the labels right. They alternate, and the last epochs are min epochs alone, to heal.

Update. With d(x) = KL(p_teacher(x) || p_student(x)) at temperature T, times T^2, for round i = 1 .. rounds:

    if i <= max_rounds:   maximise   mean over forget batches of d(x)
    always:               minimise   mean over retained batches of [alpha d(x) + gamma CE(student(x), y)]

Reads: the training data of the classes to forget and the retained training data.

Hyperparameters: published are rate 5e-4, T 4, alpha 0.001, gamma 0.99, 3 rounds, weight decay 5e-4 at CIFAR-10 scale,
plain momentum 0.9, and a rate that falls to a tenth on the way. Which rounds have a max epoch, the batch sizes and
where the rate falls vary from experiment to experiment; `paper()` takes 2 max epochs, batches of 512 (forget) and 128
(retained) and a constant rate, which we do not know to be those of every table. On small data the published steps are
too few to forget. The default is Adam on batches of 64 in five rounds, one of them with a max epoch: rates and weight
are the best of twelve trials on digits and CIFAR-10 together (docs/log.md).

Deviations from the paper: momentum starts anew with each epoch, so that no ascent carries into a descent; the rate is
constant; a forget sample whose probabilities are the teacher's to 1e-5 has no gradient, as Adam would make full steps
of rounding errors; no rewinding (SCRUB+R is for privacy of single samples and would stop short of full class
forgetting).

Cost per run: in each round one pass of the retained data, and one of the forget data up to `max_rounds`; each twice
forward and once backward.

When it fails: the max loss has no bound, so a high rate or many max epochs tear the model apart faster than the min
epochs heal it; a low rate forgets nothing, as d starts at zero with zero gradient. The first max step moves only
through what differs between student and teacher: batch statistics and dropout. On a model without BatchNorm
and dropout the first max epoch does nothing at all, and forgetting begins after the first min epoch.

Source: M. Kurmanji, P. Triantafillou, J. Hayes, E. Triantafillou, "Towards Unbounded Machine Unlearning", NeurIPS
2023 (arXiv 2302.09880).

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.SCRUB().with_settings(["rounds=1", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (147, ['max', 'min'])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.teachers import divergence, taught, teacher_of
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.network import logits_of
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.losses import Criterion, Loss
from unlearnkit.training.recipe import Recipe

# Shapes: N samples of a batch, C channels, H x W pixels, K classes.

ROUNDING = 1e-5  # difference of two probabilities below which they are the same


class SCRUB(ConfiguredMethod):
    """The method SCRUB with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "scrub"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    rounds: int = Field(default=5, gt=0, description="rounds, each with a min epoch (paper: 3)")
    max_rounds: int = Field(default=1, gt=0, description="rounds that begin with a max epoch; at most all (paper: 2)")
    temperature: float = Field(default=4.0, gt=0, le=1e3, description="T of the divergence (paper: 4)")
    alpha: float = Field(default=3.6e-4, ge=0, description="weight of the retained divergence (paper: 0.001)")
    gamma: float = Field(default=0.99, ge=0, description="weight of the retained cross-entropy (paper: 0.99)")
    ascent: Recipe = Recipe(batch_size=64, lr=1.9e-4, optimizer="adam")
    descent: Recipe = Recipe(batch_size=64, lr=5.9e-3, optimizer="adam")
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    augment: bool = Field(default=True, description="augment images where the data source does")

    @model_validator(mode="after")
    def _fewer_max_than_rounds(self) -> Self:
        if self.max_rounds > self.rounds:
            raise ValueError(f"expected max_rounds of at most {self.rounds}, the rounds, but got {self.max_rounds}.")
        return self

    @classmethod
    def paper(cls) -> Self:
        """The published numbers, as far as they are known to us."""
        ascent, descent = (Recipe(batch_size=n, lr=5e-4, nesterov=False, weight_decay=5e-4) for n in (512, 128))
        return cls(rounds=3, max_rounds=2, alpha=0.001, ascent=ascent, descent=descent)

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget and of the retained ones."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Both rates, the number of rounds with a max epoch, and the weight of the retained divergence."""
        return {
            "ascent.lr": Range(1e-4, 1e-2),
            "descent.lr": Range(1e-4, 1e-2),
            "max_rounds": Range(1, self.rounds),
            "alpha": Range(1e-4, 1.0),
        }

    def stronger(self) -> Mapping[str, Turn]:
        """Rate and number of the max epochs."""
        return {"ascent.lr": "raise", "max_rounds": "raise"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Alternate max epochs over the forget data and min epochs over the retained data."""
        forget, retain = ctx.view.part(Part.FORGET_TRAIN), retained_subset(ctx, self.retain_per_class)
        teacher = teacher_of(model)
        disobey = disobeying(teacher, self.temperature)
        obey = obeying(teacher, self.temperature, self.alpha, self.gamma, ctx.criterion)
        for i in range(self.rounds):
            if i < self.max_rounds:
                fit(model, forget, self.ascent, ctx, stage="max", loss=disobey, augment=self.augment)
            fit(model, retain, self.descent, ctx, stage="min", loss=obey, augment=self.augment)
        return model


def disobeying(teacher: nn.Module, temperature: float) -> Loss:
    """Return the max epoch's loss: minus the mean divergence from the teacher; labels are ignored.

    Where the outputs are the teacher's up to rounding the slope is zero, and what is computed in its place is left out.
    """

    def loss(model: nn.Module, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:  # noqa: ARG001 - the Loss interface
        teacher_NK, student_NK = taught(teacher, images_NCHW), logits_of(model(images_NCHW))
        difference_NK = (teacher_NK / temperature).softmax(dim=1) - (student_NK / temperature).softmax(dim=1)
        same_N = difference_NK.abs().amax(dim=1) <= ROUNDING
        return -divergence(teacher_NK, student_NK, temperature).masked_fill(same_N, 0.0).mean()

    return loss


def obeying(
    teacher: nn.Module, temperature: float, alpha: float, gamma: float, criterion: Criterion | None = None
) -> Loss:
    """Return the min epoch's loss: alpha times the mean divergence from the teacher + gamma times cross-entropy."""

    def loss(model: nn.Module, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:
        logits_NK = logits_of(model(images_NCHW))
        known = (criterion or F.cross_entropy)(logits_NK, labels_N)
        return alpha * divergence(taught(teacher, images_NCHW), logits_NK, temperature).mean() + gamma * known

    return loss
