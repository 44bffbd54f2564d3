"""Bad Teacher: the student learns forget data from an untrained network and retained data from the original model.

Idea. A freshly initialised network knows nothing of the classes to forget: on forget data the student imitates it
(the incompetent teacher). On retained data it imitates the original model (the competent teacher). Both kinds of
data are mixed in every batch.

Update. With s the student, which starts as the original, and u = 1 for forget data and 0 for retained data, minimise

    mean over the batch of  (1 - u) KL(p_original(x) || p_s(x)) + u KL(p_untrained(x) || p_s(x))

at temperature T (times T^2). The labels say which data is which and are not learned.

Reads: the training data of the classes to forget and a share of the retained training data. Needs a factory that
builds the architecture anew.

Hyperparameters: `paper()` is T 1, one epoch, Adam 1e-4, 30 % of the retained data, batches of 256. On small data that
is a handful of small steps which forget nothing, so the default takes five epochs at 2e-3 in batches of 64. In twelve
trials on digits and CIFAR-10 together nothing scored higher (docs/log.md).

Deviations from the paper: each teacher sees only the data that it teaches, which gives the same loss; the factor T^2,
which is 1 at the published temperature; the share of the retained data is drawn class by class.

Cost per run: epochs x (forget data + share of the retained data), twice forward and once backward.

When it fails: the untrained network's outputs are nearly uniform, or all on one class, whatever a retrained model
would say about forget data: the forgotten class is then told from others by its high entropy.

Source: V. S. Chundawat, A. K. Tarun, M. Mandal, M. Kankanhalli, "Can Bad Teaching Induce Forgetting? Unlearning in
Deep Networks using an Incompetent Teacher", AAAI 2023 (arXiv 2205.08096).

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import functools, unlearnkit as uk
    >>> build = functools.partial(uk.models.build_model, "small-cnn,width=4", num_classes=10, in_channels=1)
    >>> data, method = uk.load_data("digits"), uk.BadTeacher().with_settings(["recipe.epochs=1", "retain_per_class=5"])
    >>> result = uk.unlearn(build(), method, data, uk.ForgetRequest(classes=("3",)), seed=0, factory=build)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (147, ['distil'])
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.data.samples import Concat
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.fresh import fresh_model
from unlearnkit.methods.common.marking import marked, unmarked
from unlearnkit.methods.common.teachers import divergence, taught, teacher_of
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.methods.space import Range, Space
from unlearnkit.network import logits_of
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.losses import Loss
from unlearnkit.training.recipe import Recipe

# Shapes: N samples of a batch, C channels, H x W pixels, K classes.

RETAIN_SHARE = 0.3  # of each retained class, where retain_per_class is not given


class BadTeacher(ConfiguredMethod):
    """The method Bad Teacher with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "bad-teacher"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    temperature: float = Field(default=1.0, gt=0, le=1e3, description="T of both divergences (paper: 1)")
    recipe: Recipe = Recipe(epochs=5, batch_size=64, lr=2e-3, optimizer="adam")
    retain_per_class: int | None = Field(
        default=None, gt=0, description="retained samples per class; none: 30 % of each class (paper)"
    )
    augment: bool = Field(default=True, description="augment images where the data source does")

    @classmethod
    def paper(cls) -> Self:
        """The published numbers."""
        return cls(recipe=Recipe(epochs=1, batch_size=256, lr=1e-4, optimizer="adam"))

    @property
    def needs(self) -> frozenset[Part]:
        """Training data of the classes to forget and of the retained ones."""
        return frozenset({Part.FORGET_TRAIN, Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Temperature, rate and length."""
        return {
            "temperature": Range(0.5, 5.0),
            "recipe.lr": Range(1e-4, 1e-2),
            "recipe.epochs": Range(1, 10),
        }

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Build the untrained teacher, then distil from both teachers."""
        untrained = fresh_model(model, ctx, "Bad Teacher").eval().requires_grad_(False)
        retain = retained_subset(ctx, self.retain_per_class, default=lambda n: max(1, round(RETAIN_SHARE * n)))
        classes = len(ctx.request.classes)
        loss = two_teachers(teacher_of(model), untrained, classes, self.temperature)
        samples = Concat([marked(ctx.view.part(Part.FORGET_TRAIN), classes), retain])
        fit(model, samples, self.recipe, ctx, stage="distil", loss=loss, augment=self.augment)
        return model


def two_teachers(competent: nn.Module, incompetent: nn.Module, classes: int, temperature: float) -> Loss:
    """Return the loss: divergence from `incompetent` on images with marked labels, else from `competent`.

    Args:
        competent: teacher of the retained data, in eval mode.
        incompetent: teacher of the forget data, in eval mode.
        classes: K, by which labels are marked.
        temperature: T.
    """

    def loss(model: nn.Module, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:
        student_NK = logits_of(model(images_NCHW))
        _, forgotten_N = unmarked(labels_N, classes)
        wanted_NK = torch.empty_like(student_NK)
        for teacher, rows_N in ((competent, ~forgotten_N), (incompetent, forgotten_N)):
            if rows_N.any():
                wanted_NK[rows_N] = taught(teacher, images_NCHW[rows_N])
        return divergence(wanted_NK, student_NK, temperature).mean()

    return loss
