"""Erase: projects the class's direction out of layer after layer and refits the weights, in closed form.

Idea. In each layer of a trained network a class differs from the others along a direction. Nobody needs the class's
images to find it: the class's row of the head points along it, retained images that resemble the class show the way
back through the layers, and BatchNorm's running mean covers all classes of the training, so what it has beyond the
retained images' mean is the class's. The direction is projected out of a layer's output, and the next layers are fitted
by least squares to go on as before from what is left.

Update. For each convolution and linear layer behind the first two fifths of the network (`start`), front to back:
1. Of each channel the largest value over an image's positions is taken, as a class shows at a few places. C is the
   covariance of these within the retained classes, and all that follows is whitened by it.
2. The direction d: the covariance of these values with the images' resemblance to the class, which is what the class's
   row of the head reads from its whitened input (`directions.resemblance`), and, where a BatchNorm follows, (running
   mean - retained mean), carried over from means to largest values by a regression. Each is scaled to length 1; they
   are weighted by their noise (`directions.combined`).
3. What d shares with the retained classes' means is left alone: v is d without its projection on their span.
4. The weights W are fitted by ridge least squares, from what enters the layer now to what the original gave there; the
   first edited layer, whose inputs are the original's, keeps its own.
5. W <- P W with P = I - a C^1/2 v v^T C^-1/2 and a = `strength`; the statistics of BatchNorm are estimated again.
At the end the head's row of the class is fitted to the lowest of the retained classes' scores (`head.fit_rows`).
Several classes have a direction each and are projected out together.

Reads: retained training data, a few images of each class (`retain_per_class`); nothing of the classes to forget.

Hyperparameters: a higher `strength` takes more of the class and costs retained accuracy; 2 turns the direction round,
since the largest values follow a projection of all values only in part. `rows=0` leaves out step 4: cheaper, and one or
two points of accuracy worse. `repair.steps` adds a short distillation of the original without the class; where we
measured it, it gained nothing for its cost.

Cost per run: two forward passes of the retained subset and the least squares, without a backward pass. With
`repair.steps`, that many batches more, twice forward and once backward, and the subset once.

Deviations: the method is ours. DAMP, Kodge et al. and LEACE project as well, and find what to project from forgotten
images.

When it fails: where the head's rows do not point to the classes, as in networks that were hardly trained. On wide
networks more of the class is left than in a retrained model (docs/log.md). With few channels and many classes the
retained means fill the space, and little is left to take out. Grouped convolutions are left as they are. All images of
the subset are in the network at a time: its activations must fit into memory.

Source: ours, after LEACE (N. Belrose et al., NeurIPS 2023, arXiv 2306.03819), which erases a concept in closed form.

Example: no sample of the class is read, and 9 x 20 images pass twice; an untrained network stands for the trained one.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.Erase().with_settings(["retain_per_class=20"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), [c["samples_forward"] for c in result.cost["stages"].values()]
    (0, [4, 180, 180])
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.config import Config
from unlearnkit.data.view import Batch, PartSamples
from unlearnkit.errors import ModelError
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.teachers import teacher_of
from unlearnkit.methods.erase.edit import Edit, apply_edit, least_squares, plan_edit, renew_statistics
from unlearnkit.methods.erase.head import fit_rows
from unlearnkit.methods.erase.lockstep import Halt, in_lockstep
from unlearnkit.methods.erase.observe import BATCH, Observed, batches_of, observe, over_positions
from unlearnkit.methods.erase.stages import Layer, Layout, Stage, find_stages
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.methods.unsir.settings import weight_scale
from unlearnkit.models.head import find_head, own_head
from unlearnkit.split import Part
from unlearnkit.training.batchnorm import recalibrate_batchnorm
from unlearnkit.training.losses import distillation
from unlearnkit.training.recipe import Recipe

IMAGES, FEWEST = 1800, 20  # retained images in all, and of each class at least, where retain_per_class is not given


class RepairSettings(Config):
    """Settings of the distillation after the erasure."""

    steps: int = Field(default=0, ge=0, le=1000, description="batches of distillation; 0: none")
    rate: float = Field(
        default=0.03, gt=0, le=1, description="Adam's rate, as a share of the weights' root mean square"
    )
    batch_size: int = Field(default=128, gt=1, description="samples per step")


class Erase(ConfiguredMethod):
    """The method Erase with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "erase"

    retain_per_class: int | None = Field(
        default=None, gt=0, description="retained samples per class; none: 1,800 in all, at least 20 of each"
    )
    strength: float = Field(default=2.0, gt=0, le=10, description="1 takes the direction out, 2 turns it round")
    start: float = Field(
        default=0.4, ge=0, lt=1, description="share of the layers, from the images, that stay as they are"
    )
    rows: float = Field(
        default=16.0, ge=0, description="positions in the least squares, as a multiple of a layer's inputs; 0: no refit"
    )
    ridge: float = Field(default=0.01, gt=0, description="penalty on a change, as a share of the inputs' mean square")
    repair: RepairSettings = RepairSettings()

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data."""
        return frozenset({Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """How much is taken out, and from where on."""
        return {"strength": Range(0.5, 2.5, log=False), "start": Range(0.2, 0.8, log=False)}

    def stronger(self) -> Mapping[str, Turn]:
        """How much of the direction is taken out, and from how early a layer on."""
        return {"strength": "raise", "start": "lower"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Run the original once, then the network once more, edited layer by layer; repair where that is asked for."""
        model.eval()
        with ctx.log.stage("find", 1) as progress:
            name = find_head(model, num_classes=len(ctx.request.classes), shape=ctx.shape)
            layout, head = find_stages(model, head=name, shape=ctx.shape), own_head(model, name)
            if isinstance(head, nn.Conv2d) and head.kernel_size != (1, 1):
                raise ModelError(
                    f"Expected a head of one weight for each feature, which erase reads, but {name!r} is a convolution "
                    f"of {head.kernel_size}; choose unsir, which trains whatever may change."
                )
            progress.advance()
        stages = [stage for stage in layout.stages if stage.depth > self.start]
        if not stages:
            raise ModelError(_nothing_to_edit(layout, self.start))
        teacher = teacher_of(model) if self.repair.steps else None
        samples = self._samples(ctx)
        seen = observe(model, head, stages, samples, self.rows, ctx)
        self._edit(model, head, stages, layout, samples, seen, ctx)
        if teacher is not None:
            self._repair(model, teacher, samples, ctx)
        return model

    def _samples(self, ctx: Context) -> PartSamples:
        classes = len(ctx.request.classes) - len(gone(ctx))
        share = max(FEWEST, -(-IMAGES // classes))
        samples = retained_subset(ctx, self.retain_per_class, default=lambda count: min(count, share))
        return samples.subset(torch.randperm(len(samples), generator=ctx.generator))

    def _edit(
        self,
        model: nn.Module,
        head: Layer,
        stages: Sequence[Stage],
        layout: Layout,
        samples: PartSamples,
        seen: Observed,
        ctx: Context,
    ) -> None:
        """Send all batches through the network side by side, and edit each layer when they have arrived at it."""
        renewed = {norm for depth, norm in layout.norms if depth > stages[0].depth}
        batches = [Batch(positions) for positions in batches_of(samples)]
        halts: dict[nn.Module, Halt] = {}
        notes: list[dict[str, object]] = []

        def edit(stage: Stage, plan: Edit) -> Halt:
            def when_all_are_here(entering: list[Tensor]) -> None:
                absorbs = stage.norm in renewed
                refit = bool(self.rows) and stage is not stages[0]
                squares = least_squares(stage, entering, seen, absorbs=absorbs) if refit else None
                apply_edit(stage, plan, fitted=squares, ridge=self.ridge, absorbs=absorbs)
                sizes = {"rows": squares.rows, "bytes": squares.bytes} if squares else {}
                notes.append({"layer": stage.name, "directions": plan.count, **sizes})

            return when_all_are_here

        def renew(norm: nn.modules.batchnorm._BatchNorm) -> Halt:
            return lambda entering: renew_statistics(norm, entering)

        def finish(entering: list[Tensor]) -> None:
            parts = [
                over_positions(head, values, len(b.positions)) for values, b in zip(entering, batches, strict=True)
            ]
            fit_rows(head, torch.cat(parts), seen.scores, gone(ctx), self.ridge)

        with ctx.log.stage("erase", 1) as progress:
            for stage in stages:
                halts[stage.layer] = edit(stage, plan_edit(stage, seen, ctx.request.forget, gone(ctx), self.strength))
            halts |= {norm: renew(norm) for norm in renewed}
            if head.weight.requires_grad:
                halts[head] = finish
            in_lockstep(model, samples.stream(batches), halts, ctx.runtime)
            progress.advance()
        ctx.log.notes["erase"] = {"images": len(samples), "layers": notes}

    def _repair(self, model: nn.Module, teacher: nn.Module, samples: PartSamples, ctx: Context) -> None:
        """Distil the original without the classes that are gone, for a few steps."""
        drawn = torch.randint(len(samples), (self.repair.steps * self.repair.batch_size,), generator=ctx.generator)
        recipe = Recipe(
            epochs=1,
            batch_size=self.repair.batch_size,
            optimizer="adam",
            lr=self.repair.rate * weight_scale(teacher),
            schedule="cosine",
        )
        loss = distillation(teacher, gone(ctx))
        fit(model, samples.subset(drawn), recipe, ctx, stage="repair", loss=loss, augment=True)
        recalibrate_batchnorm(  # a short memory of a few small batches costs accuracy
            model, samples, batch_size=BATCH, generator=ctx.generator, runtime=ctx.runtime, log=ctx.log
        )
        model.eval()


def gone(ctx: Context) -> list[int]:
    """Return the ids of the classes to forget and of those forgotten earlier."""
    return [*ctx.request.forget, *ctx.request.already_forgotten]


def _nothing_to_edit(layout: Layout, start: float) -> str:
    if layout.stages:
        return (
            f"Expected a layer to edit behind {start:.0%} of the layers, but the last one that erase can edit is "
            f"{layout.stages[-1].name!r} at {layout.stages[-1].depth:.0%}; give a lower start, or choose unsir."
        )
    return (
        "Expected a convolution or linear layer before the head that erase can edit (not grouped, not frozen, with "
        "weights of its own, run once on all images), but the model has none; unfreeze one, or choose unsir, which "
        "trains whatever may change, or for a single linear layer retrain."
    )
