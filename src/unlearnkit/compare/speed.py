"""Times a training step of a suite's network on this machine and counts its data, for the suite's plan."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from unlearnkit.compare.subset import first_of
from unlearnkit.compare.suite_parts import SuiteRequest, SuiteSetting
from unlearnkit.compare.work import Place, training
from unlearnkit.data import AccessLog, ImageData
from unlearnkit.data.choosing_rows import ChosenRows, choose_rows
from unlearnkit.errors import ModelError, reason
from unlearnkit.models import build_model, check_model
from unlearnkit.network import logits_of
from unlearnkit.request import ForgetRequest, ResolvedRequest
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part, Split, split_for, split_resolved
from unlearnkit.steps.identity import Identity
from unlearnkit.steps.opening import load_images
from unlearnkit.steps.original import original_identity
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.training.micro_batches import out_of_memory

STEPS, STEP_IMAGES = 4, 64  # that are timed, and images in the batch of each


@dataclass(frozen=True, kw_only=True)
class Parted:
    """Training samples as a request parts them.

    Args:
        retained: of each class, those held out for validation not among them.
        forgotten: to forget now, whatever their class.
    """

    retained: Mapping[int, int]
    forgotten: int


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What the plan knows of a setting.

    Args:
        sample_seconds: seconds that a sample takes forward and backward.
        epochs: of a training.
        samples: that an original is trained on.
        images: the data; no picture of it is read.
        trained: what its originals are, but for the seed and the content of the data.
        source: the data source, as a run records it.
    """

    sample_seconds: float
    epochs: int
    samples: int
    images: ImageData
    trained: Identity
    source: str

    def training(self, samples: int, epochs: int | None = None) -> float:
        """Return the seconds of a training on so many samples, for the original's epochs or others."""
        return self.sample_seconds * samples * (epochs or self.epochs)

    def parted(self, request: SuiteRequest) -> Parted:
        """Return the training samples as a request of a suite parts them.

        Raises:
            RequestError: it does not fit the data.
        """
        chosen = choose_rows(request.choice, self.images, AccessLog(self.images)) if request.choice else ChosenRows()
        asked = ForgetRequest(
            classes=request.forget,
            rows=chosen.rows,
            subclasses=chosen.subclasses,
            already_forgotten=tuple(name for earlier in request.after for name in earlier),
        )
        split = split_for(asked, self.images)
        labels = self.images.labels("train")[split[Part.RETAIN_TRAIN]]
        return Parted(retained=Counter(labels.tolist()), forgotten=len(split[Part.FORGET_TRAIN]))


def measured(setting: SuiteSetting, place: Place) -> Speed:
    """Time a training step of a setting's network, and count its data; nothing is written.

    Raises:
        UnlearnkitError: the data or the model cannot be had.
    """
    spec, runtime = training(setting, place.whole(setting)), place.runtime()
    images, split = _opened(spec, setting.samples)
    with isolated_randomness(0):
        network = build_model(spec.model, num_classes=len(images.classes), in_channels=images.shape[0])
        check_model(network, classes=len(images.classes), shape=images.shape)
        seconds = _of_a_sample(network, images, runtime)
    trained = original_identity(spec, images, split, data="", seed=0)
    return Speed(
        sample_seconds=seconds,
        epochs=int(trained.recipe["epochs"]),
        samples=len(split[Part.RETAIN_TRAIN]),
        images=images,
        trained=trained,
        source=images.source if setting.samples is None else place.planned_source(setting),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in one thread: several wait for each other by turning, and count that, where other programs are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def _of_a_sample(network: nn.Module, images: ImageData, runtime: Runtime) -> float:
    """Return the seconds of a training step for one image; where memory runs out, the steps have fewer images."""
    runtime = runtime.fitted(network, images.shape)  # a training's layout may be twice as fast
    network = runtime.weights(network).train()
    size, seconds = STEP_IMAGES, list[float]()
    while len(seconds) < STEPS:
        batch = runtime.inputs(torch.randn(size, *images.shape, device=runtime.device))
        labels = torch.arange(size, device=runtime.device) % len(images.classes)
        began = _clock(runtime)
        try:
            with runtime.autocast():
                loss = F.cross_entropy(logits_of(network(batch)), labels)
            loss.backward()
        except Exception as error:  # of a network of the user's
            if isinstance(error, RuntimeError) and out_of_memory(error) and size > 2:
                size, seconds = size // 2, []
                continue
            raise ModelError(
                f"Expected a training step of the model on {size} images of shape {images.shape}, but it fails "
                f"({reason(error)}); see whether it can be trained."
            ) from error
        seconds.append((_clock(runtime) - began) / size)
    return min(seconds)  # the first step warms up, and others may be held up by what else runs


def _opened(spec: TrainSpec, samples: int | None) -> tuple[ImageData, Split]:
    """Open the data of a training, or the first samples of it, as the training itself does."""
    images = load_images(spec.data, None, spec.inputs, model=spec.model, pretrained=spec.pretrained)
    if samples is not None:
        images = first_of(images, samples)
    nothing = ResolvedRequest(forget=(), already_forgotten=(), classes=images.classes)
    split = split_resolved(nothing, images)
    images.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
    return images, split


def _clock(runtime: Runtime) -> float:
    """Return seconds of this process on the CPU, which other programs do not lengthen; else seconds of the clock."""
    if runtime.device.type == "cpu":
        return time.process_time()
    runtime.synchronize()
    return time.perf_counter()
