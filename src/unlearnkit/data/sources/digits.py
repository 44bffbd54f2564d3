"""Loads `digits`: scikit-learn's bundled 8x8 handwritten digits, the offline default (1,797 images, 10 classes)."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from unlearnkit.data.images import ImageData, ImageSet
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.data.sources.decode import ImageOptions
from unlearnkit.errors import ConfigError, DataError


def load_digits(rest: str, options: ImageOptions) -> ImageData:
    """Return the digits, every fifth image of a class held back as test data.

    Images are (1, 8, 8) uint8 (the source's 0..16 scaled to 0..255). Source: scikit-learn `load_digits`, the test
    half of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.

    Raises:
        DataError: a folder is given.
        ConfigError: another size or number of channels is asked for.
    """
    if rest:
        raise DataError(f"Expected 'digits', but got 'digits:{rest}'; the bundled digits take no folder.")
    preprocessing = options.preprocessing
    if preprocessing.size not in (None, 8) or preprocessing.crop != 1:
        given_size = preprocessing.size if preprocessing.crop == 1 else f"a crop_pct of {preprocessing.crop}"
        raise ConfigError(
            f"Expected an image size of 8 for digits, but got {given_size}; leave that out (--image-size and "
            "--crop-pct, or image_size in a suite), or choose a model for 8 pixels."
        )
    if preprocessing.channels == 3:
        raise ConfigError("Expected 1 channel for digits, but got 3; leave the channels out.")
    pixels, labels = _bundled()
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for class_id in range(10):
        is_test[torch.nonzero(labels == class_id).flatten()[4::5]] = True

    def image_set(mask: Tensor) -> ImageSet:
        return ImageSet.from_tensor(pixels[mask], labels[mask], storage=options.storage)  # copies

    return ImageData(
        source="digits",
        classes=tuple(str(k) for k in range(10)),
        train=image_set(~is_test),
        test=image_set(is_test),
        preprocessing=Preprocessing(mean=(0.3,), std=(0.4,), channels=1),
        personal=False,
    )


@cache
def _bundled() -> tuple[Tensor, Tensor]:
    """Pixels (1797, 1, 8, 8) uint8 and labels, parsed from the source's text once; nobody may change them."""
    from sklearn.datasets import load_digits as sklearn_digits

    bunch = sklearn_digits()
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    return torch.from_numpy(np.round(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1), labels
