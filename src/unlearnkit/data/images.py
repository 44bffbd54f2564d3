"""ImageData: labels and uint8 images of a train and a test set, decoded row by row on first use.

Shapes: N rows, C channels, H x W pixels. Labels are known at once, pixels are not: a row is decoded when somebody
reads it and never before, and `decoded` remembers which rows that were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unlearnkit.errors import DataError
from unlearnkit.split import Side

Shape = tuple[int, int, int]
DecodeFn = Callable[[Sequence[int], Shape], Tensor]
ShapeFn = Callable[[int], Shape]


class ImageSet:
    """One stored set: labels (N,) int64 on the CPU, and images (N, C, H, W) uint8 held on `device`.

    Args:
        labels: class ids.
        shape_of: row -> (C, H, W) of its image, without decoding the pixels.
        decode: rows and the expected shape -> uint8 images (n, C, H, W); called once for each row at most.
    """

    def __init__(self, labels: Tensor, shape_of: ShapeFn, decode: DecodeFn) -> None:
        self.labels = labels.to(torch.int64).cpu()
        self.shape: Shape | None = None
        self.shape_of = shape_of
        self.decoded = torch.zeros(len(labels), dtype=torch.bool)
        self.decode_seconds = 0.0
        self._decode = decode
        self._pixels: Tensor | None = None

    @classmethod
    def from_tensor(cls, images: Tensor, labels: Tensor) -> ImageSet:
        """Return a set of images that are in memory already.

        Args:
            images: (N, C, H, W) uint8.
            labels: (N,) integers.

        Raises:
            DataError: the images are not uint8 of four dimensions, or there are not as many labels.
        """
        if images.dtype != torch.uint8 or images.dim() != 4 or labels.shape != (len(images),):
            raise DataError(
                "Expected uint8 images (N, C, H, W) and labels (N,), but got "
                f"{images.dtype} {tuple(images.shape)} and {tuple(labels.shape)}; scale pixels to 0..255 first."
            )
        shape = (images.shape[1], images.shape[2], images.shape[3])
        return cls(labels, lambda _row: shape, lambda rows, _shape: images[torch.tensor(rows)])

    def __len__(self) -> int:
        return len(self.labels)

    def relabelled(self, labels: Tensor) -> ImageSet:
        """Return the same images under other labels; this set stays as it is, and what it decoded is not shared."""
        other = ImageSet(labels, self.shape_of, self._decode)
        other.shape = self.shape
        return other

    def images(self, rows: Tensor, device: torch.device) -> Tensor:
        """Return the images of `rows` as uint8 (n, C, H, W) on `device`, decoding what is not decoded yet."""
        start = time.perf_counter()
        assert self.shape is not None, "fix_shape comes before the first read"
        if self._pixels is None:
            self._pixels = torch.empty((len(self), *self.shape), dtype=torch.uint8, device=device)
        elif self._pixels.device != device:
            self._pixels = self._pixels.to(device)
        rows = rows.cpu()
        missing = rows[~self.decoded[rows]].unique()
        if len(missing):
            pixels = self._decode(missing.tolist(), self.shape)
            if pixels.shape[1:] != self.shape:
                raise DataError(
                    f"Expected images of shape {self.shape}, but got {tuple(pixels.shape[1:])}; give all one size."
                )
            self._pixels[missing.to(device)] = pixels.to(device)
            self.decoded[missing] = True
            self.decode_seconds += time.perf_counter() - start
        return self._pixels[rows.to(device)]


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A labelled image data set with its class list and how its pixels are fed to a model.

    Args:
        source: where it came from, as given on the command line.
        classes: class names; a label is an index into this list.
        mean, std: per channel, in units of [0, 1] pixels. They are constants of the configuration, never computed
            from the images: statistics of the data would carry the forgotten samples into the preprocessing.
        augment: what training does to images unless told otherwise, `none` or `crop_flip`.
        image_size: height and width that images are resized to, or None where they are taken as they are.
    """

    source: str
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    augment: str = "none"
    image_size: int | None = None

    def __post_init__(self) -> None:
        if len(set(self.classes)) < len(self.classes):
            raise DataError("Expected distinct class names, but one stands twice; rename one of them.")
        for side in (self.train, self.test):
            bad = side.labels[(side.labels < 0) | (side.labels >= len(self.classes))]
            if len(bad):
                raise DataError(
                    f"Expected labels from 0 to {len(self.classes) - 1}, but got {int(bad[0])}; "
                    "a label is an index into the class list."
                )

    @property
    def shape(self) -> Shape:
        """(C, H, W) of every image; known after `fix_shape`."""
        assert self.train.shape is not None, "fix_shape comes before the first read"
        return self.train.shape

    def fix_shape(self, row: int) -> None:
        """Take the image shape of a training row as the shape of all; the row must be one that may be read."""
        if self.train.shape is None:
            shape = self.train.shape_of(row)
            if len(self.mean) not in (1, shape[0]) or len(self.std) not in (1, shape[0]):
                raise DataError(
                    f"Expected one mean and std or {shape[0]} for images of {shape[0]} channels, but got "
                    f"{len(self.mean)} and {len(self.std)}; give one value per channel."
                )
            self.train.shape = self.test.shape = shape

    @property
    def decode_seconds(self) -> float:
        """Wall seconds spent on decoding so far."""
        return self.train.decode_seconds + self.test.decode_seconds

    def set(self, side: Side) -> ImageSet:
        """Return the stored set of one side."""
        return self.train if side == "train" else self.test

    def labels(self, side: Side) -> Tensor:
        """Labels of one side, (N,) int64."""
        return self.set(side).labels

    def normalise(self, pixels_NCHW: Tensor) -> Tensor:
        """uint8 pixels -> float32 `(pixels / 255 - mean) / std`."""
        mean = torch.tensor(self.mean, device=pixels_NCHW.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels_NCHW.device).view(1, -1, 1, 1)
        return (pixels_NCHW.float() / 255.0 - mean) / std

    def with_classes(self, classes: Sequence[str]) -> ImageData:
        """Return the same data under the model's class list: labels are mapped by class name.

        The data may lack classes of the model (their samples are already gone), not the other way round.

        Raises:
            DataError: the data holds a class that the model does not know.
        """
        if tuple(classes) == self.classes:
            return self
        known = {name: k for k, name in enumerate(classes)}
        unknown = [name for name in self.classes if name not in known]
        if unknown:
            raise DataError(
                f"Expected only classes that the model knows, but {self.source} also holds {unknown[0]!r}"
                f"{f' and {len(unknown) - 1} more' if len(unknown) > 1 else ''}; "
                "give the data that the model was trained on."
            )
        mapping = torch.tensor([known[name] for name in self.classes], dtype=torch.int64)
        train, test = (s.relabelled(mapping[s.labels]) for s in (self.train, self.test))
        return replace(self, classes=tuple(classes), train=train, test=test)
