"""DP: trains a fresh model with differential privacy on all data and returns it; a reference, which forgets nothing.

Idea. A model that was trained with differential privacy was never to know much about one sample, so a request for that
sample is answered before it comes. Here such a model stands beside the others: it is trained anew on the retained and
the forgotten data, with clipped gradients and noise, and returned. What it costs in accuracy is then seen beside what
it promises for the request at hand, which for a class is nothing.

Update: theta_t+1 = theta_t - lr (sum over the batch of clip_C(g_i) + N(0, (z C)^2 I)) / B, each sample in the batch by
chance, from weights drawn anew; z is the least noise whose account stays within epsilon.

Reads: retain_train, forget_train; it is the training on all data, and does not hide that. Needs the model's factory.

Hyperparameters: epsilon 8, delta a tenth of one in n samples and C 1 are usual choices of the field, none of a paper;
the recipe is one that trains on digits.

Cost per run: a full training with a gradient for each sample, which takes several times its time and memory.

Deviations: none of its own; the account is that of opacus. Noise comes from torch's generators, which are not made for
cryptography.

When it fails: always, as a way to forget a class: group privacy for more than a few samples says nothing, and the notes
say that with its figures. Small data leaves little accuracy. Networks with BatchNorm are refused.

Source: M. Abadi et al., "Deep Learning with Differential Privacy", CCS 2016 (arXiv 1607.00133); for groups C. Dwork,
A. Roth, "The Algorithmic Foundations of Differential Privacy", 2014, theorem 2.2.

Example: BatchNorm mixes the images of a batch, so a network with it is refused.

    >>> import functools, unlearnkit as uk
    >>> build = functools.partial(uk.models.build_model, "small-cnn,width=4", num_classes=10, in_channels=1)
    >>> job = {"seed": 0, "factory": build, "request": uk.ForgetRequest(classes=("3",))}
    >>> uk.unlearn(build(), uk.methods.make_method("dp"), uk.load_data("digits"), **job)
    Traceback (most recent call last):
    unlearnkit.errors...: Expected ...
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import nn

from unlearnkit.data.samples import Concat
from unlearnkit.errors import ConfigError
from unlearnkit.methods.common.fresh import fresh_model
from unlearnkit.methods.method import ConfiguredMethod, Context
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.group_privacy import for_request
from unlearnkit.training.private import Privacy, check_private, train_private
from unlearnkit.training.recipe import Recipe


class DP(ConfiguredMethod):
    """Training with differential privacy on all data, as a reference."""

    name: ClassVar[str] = "dp"
    control: ClassVar[bool] = True
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    epsilon: float = Field(default=8.0, gt=0, le=100, description="of the statement on one sample")
    delta: float | None = Field(default=None, gt=0, lt=1, description="of it; none: a tenth of one in n samples")
    max_grad_norm: float = Field(default=1.0, gt=0, le=1e6, description="length that each gradient is clipped to")
    recipe: Recipe = Recipe(epochs=30, batch_size=256, lr=0.5, schedule="one_cycle")

    @property
    def needs(self) -> frozenset[Part]:
        """Retained and forgotten training data."""
        return frozenset({Part.RETAIN_TRAIN, Part.FORGET_TRAIN})

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Build a model, and train it on all training data."""
        if ctx.criterion is not None:
            raise ConfigError("Expected the loss of `train` for dp, but got a criterion; leave it out.")
        with ctx.log.paused():  # which loads opacus
            check_private(model, self.recipe, ctx.runtime)
        network = fresh_model(model, ctx, self.name)
        forgotten = ctx.view.part(Part.FORGET_TRAIN)
        statement = train_private(
            network,
            Concat([forgotten, ctx.view.part(Part.RETAIN_TRAIN)]),
            self.recipe,
            Privacy(epsilon=self.epsilon, delta=self.delta, max_grad_norm=self.max_grad_norm),
            stage="private",
            generator=ctx.generator,
            runtime=ctx.runtime,
            log=ctx.log,
        )
        ctx.log.notes["statement"] = statement.model_dump()
        ctx.log.notes["request"] = for_request(statement.epsilon, statement.delta, len(forgotten)).as_record()
        return network
