"""Noisy fine-tuning: trains on retained data with clipped gradients and noise, sized for an (epsilon, delta) statement.

Idea. Two runs of the same noisy training that start from different weights become harder to tell apart with every step:
each step can part them by no more than a clipped gradient, and its noise hides part of what there was. If the start is
clipped too, the noise can be chosen so that in the end nobody can tell whether the run began from the original or
from weights that never knew the class. Plain training afterwards only processes that result.

Update. With clip_C(v) = v min(1, C / |v|) over all trainable weights at once,

    w_0 = clip_C0(w),   w_{t+1} = w_t - lr clip_C1(g_t) + n_t,   n_t ~ N(0, sigma^2 I),   t < T,

g_t the gradient of a retained batch, T = ceil(C0 / (C1 lr)), and by the paper's theorem for clipped gradients

    sigma^2 = 9 log(1 / delta) (C0 + C1 lr T)^2 / (epsilon^2 T);    then plain training on retained data.

Statement: for every set S of weights, Pr[U(w) in S] <= e^epsilon Pr[U(w') in S] + delta and the same with w and w'
exchanged, for U the method up to here and w' any other start, such as a model retrained without the class. We derive
the theorem again in the tests, from shifted Renyi divergences; its constant 9 suffices for epsilon <= log(1 / delta) /
4, and more is refused.

Where the statement is empty. It covers the trainable weights alone: of frozen weights it says nothing. BatchNorm's
statistics are estimated from retained data in the end, for the original's know the class; where they are frozen, or a
model has other buffers that were learned, it says nothing of these. It compares with the same training from another
start, and does not say that the result is any good: on a network of usual size the noise of all steps together, sigma
sqrt(T), is far larger than the clipped weights, and what is left is a training from random weights; the notes give the
ratio. It assumes that settings were not chosen by the forget data, and real numbers in place of floating point.

Reads: retain_train.

Hyperparameters: epsilon 1, delta 1e-5 are the paper's usual target. C0, C1 and the rate are ours, small enough that the
noise is of the size of an initialisation; the paper's for its networks were not verified by us, so there is no `paper`
preset.

Deviations from the paper: no regularisation in the noisy steps (its lambda is 0). BatchNorm's statistics, of which the
paper does not speak, as above.

Cost per run: T batches and then epochs x retained samples, forward and backward; one forward pass to recalibrate.

When it fails: accuracy is what the plain training regains from noise in its epochs; with enough of them that is
retraining, at retraining's price.

Source: A. Koloskova, Y. Allouah, A. Jha, R. Guerraoui, S. Koyejo, "Certified Unlearning for Neural Networks", ICML 2025
(arXiv 2506.06985), section 4, gradient clipping.

Example: an untrained network stands for the trained one, and the settings are tiny.

    >>> import unlearnkit as uk
    >>> data, model = uk.load_data("digits"), uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> method = uk.METHODS["noisy-finetune"]().with_settings(["recipe.epochs=1", "retain_per_class=5"])
    >>> result = uk.unlearn(model, method, data, uk.ForgetRequest(classes=("3",)), seed=0)
    >>> result.notes["statement"]["epsilon"], result.notes["statement"]["steps"]
    (1.0, 20)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from unlearnkit.data.view import Batch, PartSamples
from unlearnkit.methods.common.fitting import fit, retained_subset
from unlearnkit.methods.common.importance import trainable
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.network import start_learning
from unlearnkit.request import EVERY_KIND, Kind
from unlearnkit.split import Part
from unlearnkit.training.batchnorm import recalibrate_batchnorm
from unlearnkit.training.losses import supervised
from unlearnkit.training.micro_batches import MicroBatches
from unlearnkit.training.recipe import Recipe


class NoisyFineTune(ConfiguredMethod):
    """The method noisy fine-tuning with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "noisy-finetune"
    kinds: ClassVar[frozenset[Kind]] = EVERY_KIND

    epsilon: float = Field(default=1.0, gt=0, le=1e3, description="of the statement (paper: 1)")
    delta: float = Field(default=1e-5, gt=0, lt=0.5, description="of the statement (paper: 1e-5)")
    clip_weights: float = Field(default=0.01, gt=0, le=1e6, description="C0, length that all weights are clipped to")
    clip_gradient: float = Field(default=0.01, gt=0, le=1e6, description="C1, length that a gradient is clipped to")
    lr: float = Field(default=0.05, gt=0, le=1e3, description="rate of the noisy steps")
    batch_size: int = Field(default=128, gt=0, description="retained samples of a noisy step, at most")
    recipe: Recipe = Recipe(epochs=10, batch_size=64, lr=0.05, weight_decay=5e-4, schedule="one_cycle")
    retain_per_class: int | None = Field(default=None, gt=0, description="retained samples per class; none: all")
    augment: bool = Field(default=True, description="augment retained images of the plain training")

    @model_validator(mode="after")
    def _within_the_theorem(self) -> Self:
        most = math.log(1 / self.delta) / 4
        if self.epsilon > most:
            raise ValueError(
                f"expected epsilon of at most {most:.3g}, a quarter of log(1 / delta), for which the theorem's noise "
                f"suffices, but got {self.epsilon:g}; lower it, or lower delta."
            )
        return self

    @property
    def needs(self) -> frozenset[Part]:
        """Retained training data."""
        return frozenset({Part.RETAIN_TRAIN})

    def space(self) -> Space:
        """Rate and length of the plain training; the statement's settings are no matter of accuracy."""
        return {"recipe.lr": Range(1e-3, 0.3), "recipe.epochs": Range(2, 30)}

    def stronger(self) -> Mapping[str, Turn]:
        """The statement."""
        return {"epsilon": "lower", "delta": "lower"}

    @property
    def steps(self) -> int:
        """Number T of noisy steps, which needs the least noise in all."""
        return max(1, math.ceil(self.clip_weights / (self.clip_gradient * self.lr) - 1e-9))

    @property
    def sigma(self) -> float:
        """Standard deviation of each step's noise."""
        reach = self.clip_weights + self.clip_gradient * self.lr * self.steps
        return 3 * math.sqrt(math.log(1 / self.delta) / self.steps) * reach / self.epsilon

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Clip the weights, make the noisy steps, train on, and estimate BatchNorm's statistics again."""
        retained = retained_subset(ctx, self.retain_per_class)
        weights = trainable(model)
        with torch.no_grad():
            length = math.sqrt(sum(float(weight.double().square().sum()) for weight in weights.values()))
            for weight in weights.values():
                weight.mul_(min(1.0, self.clip_weights / max(length, 1e-300)))
        self._noisy_steps(model, retained, ctx)
        total = self.sigma * math.sqrt(self.steps)
        count = sum(weight.numel() for weight in weights.values())
        ctx.log.notes["statement"] = {
            "code": "statement_weights",
            "epsilon": self.epsilon,
            "delta": self.delta,
            "steps": self.steps,
            "sigma": self.sigma,
            "noise_to_weights": total * math.sqrt(count) / min(length, self.clip_weights),
            "covers": "trainable weights",
            "frozen_weights": sum(not parameter.requires_grad for parameter in model.parameters()),
        }
        fit(model, retained, self.recipe, ctx, stage="train", augment=self.augment)
        recalibrate_batchnorm(
            model,
            retained,
            batch_size=self.batch_size,
            generator=ctx.generator,
            runtime=ctx.runtime,
            log=ctx.log,
        )
        return model

    def _noisy_steps(self, model: nn.Module, retained: PartSamples, ctx: Context) -> None:
        """Make T steps on random batches; processes share each, and add the same noise."""
        processes, weights = ctx.runtime.processes, trainable(model)
        size = min(self.batch_size, len(retained))
        draws = [torch.randperm(len(retained), generator=ctx.generator)[:size] for _ in range(self.steps)]
        batches = [Batch(positions, processes.share(size)) for positions in draws]
        micro_batches = MicroBatches(model, supervised(ctx.criterion), ctx.runtime, ctx.log)
        start_learning(model)
        with ctx.log.stage("noise", self.steps) as progress:
            for batch, images in zip(batches, retained.stream(batches), strict=True):
                labels = retained.labels[batch.positions[batch.mine]].to(images.device)
                value = micro_batches.backward(images, labels, of=size)
                gradients = {
                    name: torch.zeros_like(p) if p.grad is None else p.grad
                    for name, p in model.named_parameters()
                    if name in weights
                }
                processes.sum([value, *gradients.values()])
                length = math.sqrt(sum(float(g.double().square().sum()) for g in gradients.values()))
                with torch.no_grad():
                    for name, weight in weights.items():
                        weight -= self.lr * min(1.0, self.clip_gradient / max(length, 1e-300)) * gradients[name]
                        noise = torch.randn(weight.shape, generator=ctx.generator, dtype=torch.float64)
                        weight += (self.sigma * noise).to(weight)
                progress.step(value)
        processes.average_buffers(model)
        model.zero_grad(set_to_none=True)
