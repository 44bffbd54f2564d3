"""Lists other ways to feed the same images to a model: the usual normalisations, and other sizes and crops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from unlearnkit.data import ImageData
from unlearnkit.data.preprocessing import LEVELS, PartialPreprocessing, Preprocessing
from unlearnkit.models.checkpoint import Checkpoint
from unlearnkit.models.hub import WeightsSource
from unlearnkit.models.preprocessing import own_preprocessing
from unlearnkit.steps.opening import InputOptions, load_images

LARGEST_TRIED = 512  # side of pictures that are tried as they are
USUAL = (224, 0.875)  # size and crop that most classifiers of photographs are evaluated with


class Feeding(NamedTuple):
    """Another way to feed images of uint8 pixels: its name, the options for it, and pixels -> what the model takes."""

    name: str
    options: str
    feed: Callable[[Tensor], Tensor]


class Size(NamedTuple):
    """Another size that pictures are read in, with the name that a message gives it and its options."""

    wanted: PartialPreprocessing
    name: str
    options: str

    @classmethod
    def of(cls, size: int, crop: float) -> Self:
        """Return the size with its name."""
        return cls(
            wanted=PartialPreprocessing(size=size, crop=crop),
            name=f"{size} pixels" + (" and no crop" if crop == 1 else f" and a crop of {crop:g}"),
            options=f"--image-size {size} --crop-pct {crop:g}",
        )


def sizes(
    data: ImageData, source: str, inputs: InputOptions, architecture: str, hub: WeightsSource | None, row: int
) -> list[Size]:
    """Return other sizes that the model may have been trained with: its own, that of the pictures, the usual one.

    Args:
        data: in the present size.
        source, inputs: what it was read from, and how.
        architecture: name of the model.
        hub: what a hub says of the weights.
        row: of a training picture, of which only the header is read.
    """
    present = (data.shape[-1], data.preprocessing.crop)
    own = (hub.preprocessing if hub else None) or own_preprocessing(architecture)
    fed: Preprocessing | None = own.preprocessing if own else None
    plain = InputOptions(
        classes=data.classes, storage="stream", image_column=inputs.image_column, label_column=inputs.label_column
    )
    side = min(load_images(source, None, plain).train.probe(row)[0][1:])
    candidates = [
        *([(fed.size, fed.crop), (fed.size, 1.0)] if fed is not None and fed.size is not None else []),
        *([(side, 1.0)] if side <= LARGEST_TRIED else []),
        (present[0], 1.0),
        (present[0], USUAL[1]),
        USUAL,
    ]
    return [Size.of(*each) for each in dict.fromkeys(candidates) if each != present]


def read_at(
    size: Size,
    source: str,
    checkpoint: Checkpoint,
    inputs: InputOptions,
    architecture: str,
    hub: WeightsSource | None,
) -> ImageData:
    """Return the same data, its pictures read in another size."""
    wanted = replace(inputs.wanted, size=size.wanted.size, crop=size.wanted.crop)
    options = replace(inputs, wanted=wanted, storage="stream", workers=0)
    return load_images(source, checkpoint, options, model=architecture, hub=hub)


def normalisations(data: ImageData) -> list[Feeding]:
    """The usual ways to feed uint8 pictures, all but the present one."""
    channels, fed = data.shape[0], data.preprocessing
    usual = {
        "mean 0.5 and std 0.5": ((0.5,), (0.5,)),
        "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "CIFAR-10's mean and std": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        "MNIST's mean and std": ((0.1307,), (0.3081,)),
        "pixels from 0 to 1": ((0.0,), (1.0,)),
        "pixels from 0 to 255": ((0.0,), (1 / LEVELS,)),
    }
    ways = []
    for name, (mean, std) in usual.items():
        if len(mean) in (1, channels) and (mean * channels, std * channels) != (fed.mean, fed.std):
            options = " ".join(f"--{key} {_listed(values)}" for key, values in (("mean", mean), ("std", std)))
            ways.append(Feeding(name, f"give {options}", _normalising(mean, std)))
    if channels == 3:
        turn = "no option turns the channels round, so turn round the input channels of the first layer in the weights"
        caffe = _normalising((0.406, 0.456, 0.485), (1 / LEVELS,))
        ways.append(Feeding("blue before red", turn, lambda pixels: data.normalise(pixels.flip(1))))
        ways.append(
            Feeding(
                "blue before red, pixels from 0 to 255 less ImageNet's mean",
                f"{turn}, and give --mean 0.485,0.456,0.406 --std {1 / LEVELS:.6g}",
                lambda pixels: caffe(pixels.flip(1)),
            )
        )
    return ways


def _normalising(mean: tuple[float, ...], std: tuple[float, ...]) -> Callable[[Tensor], Tensor]:
    def feed(pixels: Tensor) -> Tensor:
        centre, scale = (torch.tensor(values, device=pixels.device).view(1, -1, 1, 1) for values in (mean, std))
        return (pixels.float() / LEVELS - centre) / scale

    return feed


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:.6g}" for value in values)
