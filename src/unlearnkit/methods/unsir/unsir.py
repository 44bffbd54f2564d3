"""UNSIR: learns error-maximising noise, impairs with it, repairs; reads no sample of the forgotten classes.

Idea. Noise is learned on which the frozen model errs as much as possible about the classes to forget. One epoch at a
high learning rate on that noise, labelled with those classes, and a small subset of the retained data overwrites what
the model knows of them (*impair*). An epoch on the retained subset alone heals the rest (*repair*). It forgets whole
classes: the noise maximises the error of an output, and a row or a subclass has none of its own; against the output of
its class it would damage what is to stay.

Update. Noise as in `methods/unsir/noise.py`. Impair: minimise CE over {(N_c, c)} and the retained subset, shuffled
together. Repair: minimise CE over the retained subset; with `repair.distill` instead

    - sum over k not forgotten of p_k(x) log q_k(x),   p = softmax of the original's logits without those forgotten,

where q is the softmax over all of the model's outputs, so that the forgotten outputs are pushed down.

Reads: the class ids and the retained training data (`retain_val` too, where the rate is searched). Never forget data.

Hyperparameters: `paper()` is 1000 retained samples per class, 256 noise images per class learned in 40 steps of Adam
0.1 with lambda 0.1 and each shown 20 times, one epoch of impair at Adam 0.02 and one of repair at Adam 0.01, batches of
256: the authors' notebook for CIFAR-10 and ResNet18. The default keeps the noise's steps, rate and lambda and derives
the rest from the data and the model: a fifth of each class, at least 100 samples; noise of about 0.3 of that subset in
an epoch; both rates 0.1 of the root mean square of the model's weights; batches of 1/64 of the subset, between 8 and
256.

Cost per run: noise.steps passes of the noise images (256 a class, or 512 or 0.3 of the retained subset together,
whichever is least, but 16 a class at the least); search.steps batches of impair for each rate that is tried; then, for
each attempt of the search, an epoch of impair over noise and subset and three of repair over the subset, twice forward
where it distils and images are augmented (of images that stay as they are the original is asked once); beside them a
forward pass of `retain_val` for each of either and for the original, and one of the subset for BatchNorm.

Deviations of the default from the paper: both rates are 0.1 of the root mean square of the model's weights, and
`search` halves them, while a few steps of impair destroy the model, and then, starting again from the original, while
the retained validation accuracy falls by more than the tolerance; the repair takes three epochs of falling rate,
distils the original and augments as the data source does; BatchNorm statistics are estimated anew at the end. `paper()`
is the published notebook's numbers with its bugs fixed, `notebook()` is the notebook bug for bug.

When it fails: rates near the notebook's (Adam 0.02) destroy a model that was trained with smaller ones; rates near
1e-4 leave the class half known; a representation can keep the class though its accuracy is 0, which only an audit of
it shows.

Source: A. K. Tarun, V. S. Chundawat, M. Mandal, M. Kankanhalli, "Fast Yet Effective Machine Unlearning", IEEE TNNLS
2023 (arXiv 2111.08947); settings from the authors' notebook, GitHub vikram2000b/Fast-Machine-Unlearning, commit
252bc92.

Example: an untrained network stands for the trained one, and the settings are tiny; no sample of the forgotten class is
read.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.UNSIR().with_settings(["retain_per_class=5", "noise.steps=2", "noise.batch_size=8", "search=none"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.access.forget_samples_read(result.split), list(result.cost["stages"])
    (0, ['answers', 'noise', 'impair', 'repair', 'recalibrate'])
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, Self

from pydantic import Field
from torch import nn

from unlearnkit.data.samples import Augmented, Concat, TensorSamples
from unlearnkit.data.view import Samples
from unlearnkit.methods.common.fitting import retained_subset
from unlearnkit.methods.common.rate_search import SearchSettings, brief_trial, search_rates
from unlearnkit.methods.common.soft_targets import distilled
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.methods.unsir.noise import NoiseSettings, learn_noise, notebook_noise
from unlearnkit.methods.unsir.settings import ImpairSettings, Plan, RepairSettings, plan_for
from unlearnkit.split import Part
from unlearnkit.training.batchnorm import recalibrate_batchnorm
from unlearnkit.training.loop import train
from unlearnkit.training.losses import Loss, supervised

NOISE_SHARE = 0.3  # of the retained subset: noise in an impair epoch, where noise.repeats is not given


class UNSIR(ConfiguredMethod):
    """The method UNSIR with our tuned default; the docstring of the module describes it."""

    name: ClassVar[str] = "unsir"

    retain_per_class: int | None = Field(
        default=None, gt=0, description="retained samples per class; none: a fifth of the class, at least 100"
    )
    noise: NoiseSettings | None = Field(default=NoiseSettings(), description="none: the no-noise control")
    impair: ImpairSettings = ImpairSettings()
    repair: RepairSettings = RepairSettings()
    rounds: int = Field(default=1, gt=0, description="impair-repair rounds")
    augment: bool = Field(default=True, description="augment retained images where the data source does")
    recalibrate: bool = Field(default=True, description="estimate BatchNorm statistics anew on the retained subset")
    search: SearchSettings | None = Field(
        default=SearchSettings(trials=0),  # an impair is to do harm: on digits trials chose rates that forget nothing
        description="none: the rates as given",
    )
    quirks: bool = Field(default=False, description="the notebook's bugs, for comparison")

    @classmethod
    def paper(cls) -> Self:
        """The notebook's numbers with its bugs fixed (the paper's text gives none that differ)."""
        return cls(
            retain_per_class=1000,
            noise=NoiseSettings(batch_size=256, steps=40, lr=0.1, penalty=0.1, repeats=20),
            impair=ImpairSettings(lr=0.02, batch_size=256),
            repair=RepairSettings(lr=0.01, epochs=1, batch_size=256, schedule="constant", distill=False),
            augment=False,
            recalibrate=False,
            search=None,
        )

    @classmethod
    def notebook(cls) -> Self:
        """The published notebook with its bugs, on the first samples of each class; see `notebook_noise`."""
        return cls.paper().model_copy(update={"quirks": True})

    @classmethod
    def presets(cls) -> dict[str, Callable[[], Self]]:
        """The presets by name."""
        return super().presets() | {"notebook": cls.notebook}

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data, and retained validation data where the rates are searched."""
        return frozenset({Part.RETAIN_TRAIN} | ({Part.RETAIN_VAL} if self.search else set()))

    def space(self) -> Space:
        """Rates and lengths of both steps."""
        return {
            "impair.lr": Range(1e-4, 3e-2),
            "impair.epochs": Range(1, 3),
            "repair.lr": Range(1e-4, 3e-2),
            "repair.epochs": Range(1, 5),
        }

    def stronger(self) -> Mapping[str, Turn]:
        """Rate and length of the impair step."""
        return {"impair.lr": "raise", "impair.epochs": "raise"}

    def for_tuning(self) -> tuple[str, ...]:
        """Use the rates as given instead of searching for them."""
        return ("search=none",) if self.search else ()

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Learn noise once, then impair and repair; the search repeats these two at lower rates where needed."""
        original = copy.deepcopy(model).eval().requires_grad_(False)
        subset = retained_subset(
            ctx, self.retain_per_class, default=lambda samples: max(100, samples // 5), first=self.quirks
        )
        retained: Samples = subset
        if self.augment and ctx.view.augment == "crop_flip":
            retained = Augmented(subset, ctx.generator)
        plan = plan_for(self.impair, self.repair, original, len(subset))
        repair: tuple[Samples, Loss] = retained, supervised(ctx.criterion)
        if self.repair.distill:
            repair = distilled(original, retained, (*ctx.request.forget, *ctx.request.already_forgotten), ctx)
        noise = self._noise(model, len(subset), ctx)
        ctx.log.notes["plan"] = {"impair": plan.impair.model_dump(), "repair": plan.repair.model_dump()}

        def attempt(factor: float) -> nn.Module:
            candidate = copy.deepcopy(model)
            return self._impair_and_repair(candidate, noise, retained, repair, plan.scaled(factor), ctx)

        if self.search is None:
            return attempt(1.0)
        mixed = Concat([noise, retained]) if noise else retained
        known = supervised(ctx.criterion)
        trial = partial(brief_trial, model, mixed, plan.impair, known, ctx, steps=self.search.steps)
        return search_rates(attempt, original, self.search, ctx, trial=trial)

    def _noise(self, model: nn.Module, retained: int, ctx: Context) -> Samples | None:
        if self.noise is None:
            return None
        learn = notebook_noise if self.quirks else learn_noise
        room = round(NOISE_SHARE * retained)
        size = self.noise.per_class(len(ctx.request.forget), room)
        images, labels = learn(
            model,
            ctx.request.forget,
            ctx.shape,
            self.noise.model_copy(update={"batch_size": size}),
            generator=ctx.generator,
            runtime=ctx.runtime,
            log=ctx.log,
            criterion=ctx.criterion,
        )
        ctx.log.keep_images("noise", images, labels)
        repeats = self.noise.repeats or max(1, round(room / len(images)))
        ctx.log.notes["noise"] = {
            "images": len(images),
            "repeats": repeats,
            "mean_absolute_value": float(images.abs().mean()),
        }
        return TensorSamples(images, labels, repeats)

    def _impair_and_repair(
        self,
        model: nn.Module,
        noise: Samples | None,
        retained: Samples,
        repair: tuple[Samples, Loss],
        plan: Plan,
        ctx: Context,
    ) -> nn.Module:
        mixed = Concat([noise, retained]) if noise else retained
        images, loss = repair
        fit = partial(train, generator=ctx.generator, runtime=ctx.runtime, log=ctx.log)
        for _ in range(self.rounds):
            fit(model, mixed, plan.impair, stage="impair", loss=supervised(ctx.criterion))
            fit(model, images, plan.repair, stage="repair", loss=loss)
        if self.recalibrate:
            recalibrate_batchnorm(
                model,
                retained,
                batch_size=plan.repair.batch_size,
                generator=ctx.generator,
                runtime=ctx.runtime,
                log=ctx.log,
            )
        return model
