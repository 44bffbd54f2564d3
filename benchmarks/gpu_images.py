"""Images for `gpu.py`: a loader that decodes each of them once, and digits for the smoke test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearnkit.data import ImageData, ImageSet
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.data.sources.decode import ImageOptions


def decoded_once(load: Callable[[str, ImageOptions], ImageData]) -> Callable[[str, ImageOptions], ImageData]:
    """A loader like `load` that decodes everything once, and not for every model anew.

    Each opening still has its own marks of what was read, and its own copy on the device.
    """
    kept: dict[tuple[str, ImageOptions], tuple[ImageData, list[Tensor]]] = {}

    def loaded(directory: str, options: ImageOptions) -> ImageData:
        wanted = replace(options.preprocessing, channels=options.preprocessing.channels or 3)
        key = directory, replace(options, preprocessing=wanted)
        if key not in kept:
            data = load(*key)
            data.fix_shape(0)
            kept[key] = data, [s.images(torch.arange(len(s)), torch.device("cpu")) for s in (data.train, data.test)]
        data, (train, test) = kept[key]
        return replace(
            data,
            train=ImageSet.from_tensor(train, data.train.labels),
            test=ImageSet.from_tensor(test, data.test.labels),
        )

    return loaded


def digits(_directory: str, _options: ImageOptions) -> ImageData:
    """120 digits for training and 60 for the test, as RGB images of 16 pixels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    small = torch.tensor(found.images[:180], dtype=torch.float32)[:, None] * (255 / 16)
    images = F.interpolate(small, size=16, mode="nearest").to(torch.uint8).repeat(1, 3, 1, 1)
    labels = torch.tensor(found.target[:180])
    train, test = (ImageSet.from_tensor(images[a:b], labels[a:b]) for a, b in ((0, 120), (120, 180)))
    fed = Preprocessing(mean=(0.5,) * 3, std=(0.25,) * 3)
    return ImageData(
        source="parquet:digits", classes=tuple(map(str, range(10))), train=train, test=test, preprocessing=fed
    )
