"""GKT (gated knowledge transfer): teaches a fresh student by generated images, those of the class held back; no data.

Idea. Where no data is left, a generator can make images on which teacher and student disagree, and the student learns
the teacher's answers on them. A gate between the two lets no image pass to which the teacher gives a forgotten class
any probability to speak of. So the student learns everything but that.

Update. With G the generator, z ~ N(0, I), T the original, S the student, and p the teacher's probabilities, repeat

    generator, once:       maximise KL(T(x) || S(x))
    student, a few times:  minimise KL(T(x) || S(x)) + beta attention(T, S, x)

both over those images x = G(z) with p_k(x) <= gate for every class k to forget or forgotten earlier,

attention(T, S, x) the mean squared difference of the normalised maps of squared activations, after each convolution.

Reads: nothing but the class ids. Needs a factory that builds the architecture anew, from which the student starts.

Hyperparameters: `paper()` is z of 128, batches of 256, gate 0.01, beta 250, Adam at 1e-3 for both, 10 student steps for
each of the generator's, 4,000 rounds, as in public code and its descriptions for digits. The default is a tenth of the
rounds, with small batches, and a gate of 1 / 2K for K classes (ours): a teacher trained with smoothed labels gives no
class less than 0.01 or 0.02, and of several classes at once few images have so little. At 1 / K a class leaks.

Deviations from the paper: maps are compared after every convolution whose output has more than one position. The
generator starts at a quarter of the image's size, whatever that is, and is cut to it. Where no image of a batch
passes, the generator lowers the probabilities that hold them back (ours).

Cost per run: rounds x batch, three times forward and once backward through the teacher, and through the student forward
and backward once for the generator and once for each of its own steps.

When it fails: images of the generator need not look like data: on networks of more than digits the student stays far
below the teacher, and the published results are for small images. What the gate lets through may still hold the class's
parts. The student's BatchNorm statistics are those of generated images.

Source: V. S. Chundawat, A. K. Tarun, M. Mandal, M. Kankanhalli, "Zero-Shot Machine Unlearning", IEEE TIFS 2023 (arXiv
2201.05629), section IV-B; the transfer: P. Micaelli, A. Storkey, NeurIPS 2019 (arXiv 1905.09768).

Example: an untrained network stands for the trained one, and the settings are tiny; nothing is read.

    >>> import unlearnkit as uk
    >>> build = lambda: uk.models.build_model("small-cnn,width=4", num_classes=10, in_channels=1)
    >>> job = {"data": uk.load_data("digits"), "request": uk.ForgetRequest(classes=("3",)), "factory": build, "seed": 0}
    >>> result = uk.unlearn(build(), uk.METHODS["gkt"](rounds=2, batch_size=8, gate=1.0), **job)
    >>> result.access.forget_samples_read(result.split), result.notes["gate"]["passed"]
    (0, 16)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from unlearnkit.methods.common.fresh import fresh_model
from unlearnkit.methods.common.teachers import divergence
from unlearnkit.methods.method import ConfiguredMethod, Context, Turn
from unlearnkit.methods.space import Range, Space
from unlearnkit.network import logits_of, start_learning
from unlearnkit.split import Part
from unlearnkit.training.recipe import Recipe, make_optimizer

# Shapes: N generated images, C channels, H x W pixels, K classes.

Maps = dict[str, Tensor]  # after each convolution, by its name: (N, positions), of length 1


class GKT(ConfiguredMethod):
    """The method GKT with its settings; the docstring of the module describes it."""

    name: ClassVar[str] = "gkt"

    rounds: int = Field(default=400, gt=0, description="of one generator step and some student steps (paper: 4,000)")
    student_repeats: int = Field(default=10, gt=0, description="student steps of a round (paper: 10)")
    batch_size: int = Field(default=64, gt=1, description="generated images of a step (paper: 256)")
    noise: int = Field(default=128, gt=0, description="numbers that the generator makes an image of (paper: 128)")
    gate: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="probability of each class up to which an image passes; none: half of chance (paper: 0.01)",
    )
    beta: float = Field(default=250.0, ge=0, le=1e6, description="weight of the attention (paper: 250 on digits)")
    generator: Recipe = Recipe(optimizer="adam", lr=1e-3)
    student: Recipe = Recipe(optimizer="adam", lr=1e-3)

    @classmethod
    def paper(cls) -> Self:
        """The published numbers for digits, as far as they are known to us."""
        return cls(rounds=4000, batch_size=256, gate=0.01)

    @property
    def needs(self) -> frozenset[Part]:
        """No part of the data is read."""
        return frozenset()

    def space(self) -> Space:
        """The gate, the attention's weight, and both rates."""
        return {
            "gate": Range(1e-3, 0.3),
            "beta": Range(1.0, 1e3),
            "generator.lr": Range(1e-4, 1e-2),
            "student.lr": Range(1e-4, 1e-2),
        }

    def stronger(self) -> Mapping[str, Turn]:
        """The gate."""
        return {"gate": "lower"}

    def run(self, model: nn.Module, ctx: Context) -> nn.Module:
        """Alternate generator and student."""
        student = fresh_model(model, ctx, "GKT")
        teacher = model.eval().requires_grad_(False)
        dtype = next(model.parameters()).dtype
        maker = ctx.runtime.weights(Maker(self.noise, ctx.shape)).to(dtype)
        with ctx.log.paused():  # the first optimiser of a process loads torch's compiler
            optimizers = make_optimizer(maker, self.generator), make_optimizer(student, self.student)
        gone = [*ctx.request.forget, *ctx.request.already_forgotten]
        gate = self.gate or 1 / (2 * len(ctx.request.classes))
        passed = made = 0
        with ctx.log.stage("transfer", self.rounds) as stage, _maps(teacher) as wanted, _maps(student) as given:
            for _ in range(self.rounds):
                seeds = torch.randn((self.batch_size, self.noise), generator=ctx.generator)
                seeds = seeds.to(ctx.runtime.device, dtype)
                student.eval()
                images = maker(seeds)
                teacher_NK = logits_of(teacher(images))
                # Of what is held back the student stays ignorant: a generator rewarded for it would make nothing else.
                open_N = through(teacher_NK.detach(), gone, gate)
                if bool(open_N.any()):
                    goal = divergence(teacher_NK, logits_of(student(images)))[open_N].mean()
                else:
                    goal = 1 - teacher_NK.softmax(dim=1)[:, gone].sum(dim=1).mean()
                self._step(optimizers[0], maker, -goal)
                start_learning(student)
                with torch.no_grad():  # neither generator nor teacher changes while the student learns
                    images = maker(seeds)
                    open_N = through(logits_of(teacher(images)), gone, gate)
                    images = images[open_N]
                    made, passed = made + len(open_N), passed + len(images)
                    teacher_NK = logits_of(teacher(images)) if len(images) else teacher_NK[:0]
                for _ in range(self.student_repeats if len(images) > 1 else 0):  # BatchNorm needs two
                    loss = divergence(teacher_NK, logits_of(student(images))).mean()
                    if self.beta and given:
                        loss = loss + self.beta * attention_gap(wanted, given)
                    self._step(optimizers[1], student, loss)
                stage.step(goal)
        ctx.log.notes["gate"] = {"made": made, "passed": passed}
        return student

    def _step(self, optimizer: Any, trained: nn.Module, loss: Tensor) -> None:
        trained.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


class Maker(nn.Module):
    """A generator of images from noise: a linear layer at a quarter of the size, and two times doubled convolutions.

    Args:
        noise: numbers for each image.
        shape: (C, H, W) of the images.
        width: channels.
    """

    def __init__(self, noise: int, shape: tuple[int, int, int], width: int = 64) -> None:
        super().__init__()
        channels, height, breadth = shape
        self.start, self.size = (width, -(-height // 4), -(-breadth // 4)), (height, breadth)
        self.grow = nn.Linear(noise, width * self.start[1] * self.start[2])
        self.layers = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, seeds: Tensor) -> Tensor:
        """Map noise (n, d) to images (n, C, H, W) of mean 0 and variance 1 in each channel."""
        images: Tensor = self.layers(self.grow(seeds).unflatten(1, self.start))
        return images[:, :, : self.size[0], : self.size[1]]


def through(teacher_NK: Tensor, gone: list[int], gate: float) -> Tensor:
    """Return which images pass, (N,) bool: those with a probability of `gate` at most in every class that is gone.

    Args:
        teacher_NK: logits.
        gone: class ids.
        gate: a probability; 1 lets everything pass.
    """
    return (teacher_NK.softmax(dim=1)[:, gone] <= gate).all(dim=1)


def attention_gap(wanted: Maps, given: Maps) -> Tensor:
    """Return the sum over layers of the mean squared difference of the maps; both are of the same images."""
    gaps = [(given[name] - wanted[name]).square().mean() for name in given if given[name].shape == wanted[name].shape]
    return torch.stack(gaps).sum()


@contextmanager
def _maps(model: nn.Module) -> Iterator[Maps]:
    """Keep the attention maps of the model's last pass."""
    found: Maps = {}
    handles = []

    def watch(name: str, layer: nn.Module) -> None:
        def keep(_layer: nn.Module, _args: object, output: Tensor) -> None:
            found[name] = F.normalize(output.square().mean(dim=1).flatten(1), dim=1)

        handles.append(layer.register_forward_hook(keep))

    try:
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Conv2d):
                watch(name, layer)
        yield found
    finally:
        for handle in handles:
            handle.remove()
