"""Trains with differential privacy (DP-SGD), by opacus: every sample's gradient is clipped, and noise is added.

Source: M. Abadi et al., "Deep Learning with Differential Privacy", CCS 2016 (arXiv 1607.00133).

Shapes: n samples, C channels, H x W pixels, K classes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from pydantic import Field
from torch import nn

from unlearnkit.config import Config
from unlearnkit.data.samples import Augmented
from unlearnkit.data.view import Batch, Samples
from unlearnkit.errors import ConfigError, ModelError, reason
from unlearnkit.network import batchnorm_layers
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.training.losses import supervised
from unlearnkit.training.recipe import Recipe, make_optimizer, rate_factor

# of opacus: Renyi divergences of subsampled Gaussian noise, an upper bound; I. Mironov, K. Talwar, L. Zhang, 2019
# (arXiv 1908.10530). "prv" is tighter, by about 7 % of the noise on digits, but numerical, and ten times as slow.
ACCOUNTANT = "rdp"
ORDERS = [1.25, 1.5, 1.75, *range(2, 65), 80, 96, 128, 192, 256, 384, 512]  # others between cost seconds, and gain 1 %
INSTEAD = "small-cnn,norm=group, timm:resnet50_gn, or a vision transformer"


class Privacy(Config):
    """The statement that a private training is to make of every sample, and the clipping of gradients."""

    epsilon: float = Field(gt=0, le=100, description="of the statement on one sample")
    delta: float | None = Field(default=None, gt=0, lt=1, description="of it; none: a tenth of one in n samples")
    max_grad_norm: float = Field(default=1.0, gt=0, le=1e6, description="length that each gradient is clipped to")


class PrivateTraining(Config):
    """What is recorded of a private training: the statement that holds, and what it follows from."""

    epsilon: float = Field(ge=0, description="spent, by the accountant, for one sample")
    delta: float = Field(gt=0, lt=1, description="of the statement")
    wanted_epsilon: float = Field(gt=0, description="that was asked for")
    max_grad_norm: float = Field(gt=0, description="length that each gradient was clipped to")
    noise_multiplier: float = Field(ge=0, description="standard deviation of the noise, in units of that length")
    sample_rate: float = Field(gt=0, le=1, description="chance of each sample to be in a batch")
    steps: int = Field(gt=0, description="batches")
    samples: int = Field(gt=0, description="training samples")
    accountant: str = Field(description="how losses of privacy were added up")
    opacus: str = Field(description="version")


def check_private(network: nn.Module, recipe: Recipe, runtime: Runtime) -> None:
    """Refuse a network, a recipe or a run of which the privacy statement would not be true.

    Raises:
        ConfigError: opacus is not installed, several processes train, or the recipe does what has no account.
        ModelError: the network mixes samples (BatchNorm), or is initialised from the data.
    """
    opacus()
    if batchnorm_layers(network):
        raise ModelError(
            "Expected a network for --dp-epsilon that treats each image alone, but BatchNorm mixes the images of a "
            f"batch; choose an architecture with GroupNorm or LayerNorm, for example {INSTEAD}."
        )
    if callable(getattr(network, "initialise", None)):
        raise ModelError(
            "Expected a network for --dp-epsilon that begins with random weights, but this one is initialised from "
            f"training images, which no account covers; choose another one, for example {INSTEAD}."
        )
    if recipe.lookahead or recipe.clip_value is not None or runtime.micro_batch_size or runtime.compile:
        raise ConfigError(
            "Expected a plain recipe for --dp-epsilon, but got lookahead, clip_value, --micro-batch or --compile; "
            "leave them out."
        )
    if runtime.processes.count > 1:
        raise ConfigError("Expected one process for --dp-epsilon, but a launcher started several; start it without.")


def train_private(
    network: nn.Module,
    samples: Samples,
    recipe: Recipe,
    privacy: Privacy,
    *,
    stage: str,
    generator: torch.Generator,
    runtime: Runtime,
    log: RunLog,
) -> PrivateTraining:
    """Train `network` in place by DP-SGD, and return the statement that holds of every sample.

    Each step takes each sample with the chance batch size / n (Poisson sampling, which the account assumes; batches
    differ in size), clips each sample's gradient to the length C, and adds N(0, (z C)^2) to their sum. z is the least
    noise that keeps the account of all steps within epsilon. Two data sets are neighbours where one has a sample more.

    Noise is drawn by torch's generators, which are not made for cryptography, and floating point is not the real line.

    Args:
        network: without BatchNorm, on the run's device.
        samples: labelled images.
        recipe: how.
        privacy: what is asked for.
        stage: name under which cost and losses are logged.
        generator: CPU generator of batches.
        runtime: device and precision, one process.
        log: where cost and losses go.

    Raises:
        ConfigError, ModelError: see `check_private`; also where dropout is inside a layer that has weights.
        NonFiniteLossError: a loss became NaN or infinite.
    """
    check_private(network, recipe, runtime)
    package = opacus()
    count = len(samples)
    rate = min(1.0, recipe.batch_size / count)
    steps = recipe.epochs * max(1, round(1 / rate))
    delta = privacy.delta if privacy.delta is not None else 0.1 / count
    try:
        noise = package.noise_for(privacy.epsilon, delta, rate, steps)
    except ValueError as error:
        raise ConfigError(
            f"Expected an epsilon that some noise gives in {steps} steps, but got {privacy.epsilon:g}; raise it, or "
            "train fewer epochs."
        ) from error
    chosen = [torch.nonzero(torch.rand(count, generator=generator) < rate).flatten() for _ in range(steps)]
    draws = torch.Generator(device=runtime.device).manual_seed(int(torch.randint(2**31, (), generator=generator)))
    read: Samples = samples
    if recipe.augment == "crop_flip":
        read = Augmented(samples, generator, recipe.max_shift)
    images = read.stream([Batch(positions) for positions in chosen if len(positions)])
    loss = supervised(label_smoothing=recipe.label_smoothing)
    network.to(memory_format=torch.contiguous_format)  # that of opacus' gradients
    with _plain_modules(network), log.meter.by_hand(network), log.stage(stage, steps) as progress:
        wrapped = package.wrapped(network)
        with log.paused():  # the first optimiser of a process loads torch's compiler
            plain = make_optimizer(network, recipe)
        optimizer = package.optimizer(
            plain,
            noise_multiplier=noise,
            max_grad_norm=privacy.max_grad_norm,
            expected_batch_size=min(count, recipe.batch_size),
            generator=draws,
        )
        try:
            wrapped.train()
            for step, positions in enumerate(chosen):
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * rate_factor(recipe.schedule, step, steps, recipe.warmup)
                if len(positions):
                    with _refusing_draws():
                        with runtime.autocast():
                            labels = samples.labels[positions].to(runtime.device)
                            value = loss(wrapped, runtime.inputs(next(images)), labels)
                        value.backward()
                else:  # noise is added all the same
                    value = torch.zeros(())
                    for parameter in optimizer.params:
                        parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
                log.meter.forward += len(positions)
                log.meter.backward += len(positions)
                optimizer.step()
                optimizer.zero_grad()
                progress.step(value)
        finally:
            wrapped.to_standard_module()
    network.zero_grad(set_to_none=True)
    return PrivateTraining(
        epsilon=package.spent(noise, delta, rate, steps),
        delta=delta,
        wanted_epsilon=privacy.epsilon,
        max_grad_norm=privacy.max_grad_norm,
        noise_multiplier=noise,
        sample_rate=rate,
        steps=steps,
        samples=count,
        accountant=ACCOUNTANT,
        opacus=version("opacus"),
    )


@dataclass(frozen=True, kw_only=True)
class Opacus:
    """The parts of opacus that are used; it is an extra, imported where it is needed."""

    multiplier: Any
    wrap: Any
    optimizer: Any
    account: Any

    def noise_for(self, epsilon: float, delta: float, rate: float, steps: int) -> float:
        """Return the least noise, in units of the clipping length, whose account of all steps is within epsilon.

        Raises:
            ValueError: none is enough.
        """
        wanted = {"target_epsilon": epsilon, "target_delta": delta, "sample_rate": rate, "steps": steps}
        with _account_at_its_last_order():
            return float(self.multiplier(**wanted, accountant=ACCOUNTANT, alphas=ORDERS))

    def spent(self, noise: float, delta: float, rate: float, steps: int) -> float:
        """Return the epsilon that the account gives for all steps."""
        account = self.account()
        account.history = [(noise, rate, steps)]
        with _account_at_its_last_order():
            return float(account.get_epsilon(delta, alphas=ORDERS))

    def wrapped(self, network: nn.Module) -> Any:
        """Return the network with gradients of single samples.

        Raises:
            ModelError: it has a layer for which opacus cannot work them out.
        """
        try:
            return self.wrap(network, loss_reduction="mean")
        except NotImplementedError as error:
            raise ModelError(
                f"Expected a network whose layers opacus knows, but got: {reason(error)}; choose another one, for "
                f"example {INSTEAD}."
            ) from error


def opacus() -> Opacus:
    """Import opacus.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own imports
            from opacus import GradSampleModule
            from opacus.accountants import RDPAccountant
            from opacus.accountants.utils import get_noise_multiplier
            from opacus.optimizers import DPOptimizer
    except ImportError as error:
        raise ConfigError(
            "Expected the package opacus for --dp-epsilon, but it is not installed; pip install 'unlearnkit[dp]'."
        ) from error
    return Opacus(multiplier=get_noise_multiplier, wrap=GradSampleModule, optimizer=DPOptimizer, account=RDPAccountant)


@contextmanager
def _account_at_its_last_order() -> Iterator[None]:
    """Silence the advice to try more orders: with very much noise the bound could be tighter, and holds as it is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the largest alpha")
        yield


@contextmanager
def _refusing_draws() -> Iterator[None]:
    """Say in a sentence that a layer draws at random for which gradients of single samples are computed by vmap.

    Raises:
        ModelError: it does.
    """
    try:
        yield
    except RuntimeError as error:
        if "vmap: called random operation" not in str(error):
            raise
        raise ModelError(
            "Expected a network for --dp-epsilon whose dropout is a layer of its own, but one has it inside a layer "
            "with weights, such as attention; set that dropout to 0."
        ) from error


@contextmanager
def _plain_modules(network: nn.Module) -> Iterator[None]:
    """Switch off what opacus' hooks do not bear: activations that overwrite their input, which change no result."""
    changed = [module for module in network.modules() if getattr(module, "inplace", False) is True]
    for module in changed:
        module.inplace = False  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            warnings.filterwarnings("ignore", message="There is a performance drop")  # of attention, by vmap
            yield
    finally:
        for module in changed:
            module.inplace = True  # type: ignore[assignment]
