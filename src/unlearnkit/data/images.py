"""Defines ImageData: labels and images of a train and a test set, whose rows are decoded when they are read.

Shapes: N rows, C channels, H x W pixels. Labels are known at once, pixels are not: a row is decoded when somebody
reads it and never before, and `decoded` remembers which rows that were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from unlearnkit.class_names import all_in_one_form, repeated, unprintable
from unlearnkit.data.class_lists import check_count, ids_by_label, ids_by_name
from unlearnkit.data.preprocessing import DEFAULT_PREPROCESSING, Origin, Preprocessing
from unlearnkit.data.row_table import RowTable
from unlearnkit.data.storage import Storage, Store, checked_storage, checked_workers
from unlearnkit.data.stream import DecodeFn, RowReader, Shape, Share, read_seed, seeded, stream
from unlearnkit.errors import DataError
from unlearnkit.split import Part, Side, Split

ShapeFn = Callable[[int], Shape]


class ImageSet:
    """One stored set of images: labels (N,) int64 on the CPU, and images (N, C, H, W).

    Args:
        labels: class ids.
        shape_of: row -> (C, H, W) of its image, as far as possible without decoding the pixels.
        decode: rows and the expected shape -> images (n, C, H, W). It must pickle where workers are spawned.
        dtype: uint8, float32 (images as the model takes them), or None: that of the row whose shape is taken.
        storage: `memory` keeps what was decoded, `stream` decodes at each read, `auto` is `memory` where that fits.
        workers: processes that decode ahead when images are streamed; 0: none.
        random: whether a read of one row gives different pixels each time. Such a set is never kept in memory; each
            read of a row has its own seed, which depends on that of `seeded_reads` (outside of it on torch's initial
            seed), on how many reads came before it and on its place in the batch, but not on workers and processes.
    """

    def __init__(
        self,
        labels: Tensor,
        shape_of: ShapeFn,
        decode: DecodeFn,
        *,
        dtype: torch.dtype | None = torch.uint8,
        storage: Storage = "auto",
        workers: int = 0,
        random: bool = False,
    ) -> None:
        self.labels = labels.to(torch.int64).cpu()
        self.shape: Shape | None = None
        self.dtype = dtype
        self.shape_of = shape_of
        self.storage: Storage = "stream" if random else checked_storage(storage)
        self.workers = checked_workers(workers)
        self.random = random
        self.decoded = torch.zeros(len(labels), dtype=torch.bool)
        self.decode_seconds = 0.0
        self._decode = decode
        self._seed: int | None = None
        self.reads = 0  # so far; the seeds of random reads depend on it
        self._store = Store(self.storage, len(labels))

    @classmethod
    def from_tensor(cls, images: Tensor, labels: Tensor, *, storage: Storage = "auto") -> ImageSet:
        """Return a set of images that are already in memory.

        Args:
            images: (N, C, H, W) uint8, or float32 as the model takes them.
            labels: (N,) integers.
            storage: `stream` reads from `images` each time; else rows that were read are kept on the run's device.

        Raises:
            DataError: the images are neither uint8 nor float32 of four dimensions, or the labels are not as many
                integers.
        """
        if images.dtype not in (torch.uint8, torch.float32) or images.dim() != 4 or labels.shape != (len(images),):
            raise DataError(
                "Expected uint8 or float32 images (N, C, H, W) and labels (N,), but got "
                f"{images.dtype} {tuple(images.shape)} and {tuple(labels.shape)}; scale pixels to 0..255 first."
            )
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise DataError(f"Expected integer labels, but got {labels.dtype}; give class ids as int64.")
        rows = _TensorRows(images)
        return cls(labels, rows.shape_of, rows.decode, dtype=images.dtype, storage=storage)

    def __len__(self) -> int:
        return len(self.labels)

    def relabelled(self, labels: Tensor) -> ImageSet:
        """Return a set of the same images with other labels.

        This set is not changed, and the decoded images are not shared.
        """
        other = ImageSet(
            labels,
            self.shape_of,
            self._decode,
            dtype=self.dtype,
            storage=self.storage,
            workers=self.workers,
            random=self.random,
        )
        other.shape = self.shape
        return other

    def probe(self, row: int) -> tuple[Shape, torch.dtype]:
        """Return shape and type of a row's image; the row counts as decoded where only its pixels tell them."""
        with seeded(0) if self.random else nullcontext():
            shape = self.shape_of(row)
            if self.dtype is not None:
                return shape, self.dtype
            self.decoded[row] = True
            return shape, self._decode([row], shape).dtype

    def images(self, rows: Tensor, device: torch.device) -> Tensor:
        """Return the images of `rows` (n, C, H, W) on `device`, decoding what is not in memory."""
        start = time.perf_counter()
        rows = rows.cpu()
        if not self._kept(device):
            (share,) = self._drawn([(rows, range(len(rows)))], self._read_number())
            pixels = self._reader().read(share)
            self.decode_seconds += time.perf_counter() - start
            return pixels.to(device)
        missing = self._store.missing(rows)
        if len(missing):
            self._store.put(missing, self._reader().read(Share(missing)))
            self.decoded[missing] = True
            self.decode_seconds += time.perf_counter() - start
        return self._store.get(rows, device)

    def stream(self, shares: Iterable[tuple[Tensor, range]], count: int, device: torch.device) -> Iterator[Tensor]:
        """Yield each share's images on `device`; streamed ones are decoded ahead by worker processes.

        Args:
            shares: rows to read of each batch, and the places that they have in the batch.
            count: how many shares there are.
            device: where the images are delivered.
        """
        if self._kept(device):
            for rows, _ in shares:
                yield self.images(rows, device)
            return
        pin = device.type == "cuda"
        workers = min(self.workers, count) if count > 1 else 0  # to start processes for one batch only costs time
        chunks = stream(self._reader(), self._drawn(shares, self._read_number()), workers=workers, pin=pin)
        while True:
            start = time.perf_counter()
            pixels = next(chunks, None)
            self.decode_seconds += time.perf_counter() - start
            if pixels is None:
                return
            yield pixels.to(device, non_blocking=pin)

    @contextmanager
    def seeded_reads(self, seed: int) -> Iterator[None]:
        """Seed random reads in the `with` block and count them from 0; the earlier state is restored afterwards."""
        before = self._seed, self.reads
        self._seed, self.reads = seed, 0
        try:
            yield
        finally:
            self._seed, self.reads = before

    def _read_number(self) -> int:
        self.reads += 1
        return self.reads

    def _drawn(self, shares: Iterable[tuple[Tensor, range]], read: int) -> Iterator[Share]:
        """Return what is to be read; this process draws it, even for workers, so that every row is counted."""
        seed = torch.initial_seed() if self._seed is None else self._seed
        for number, (rows, places) in enumerate(shares):
            self.decoded[rows] = True
            seeds = [read_seed(seed, read, number, p) for p in places] if self.random else None
            yield Share(rows, seeds)

    def _kept(self, device: torch.device) -> bool:
        return self._store.settle(device, *self._known())

    def _reader(self) -> RowReader:
        return RowReader(self._decode, *self._known())

    def _known(self) -> tuple[Shape, torch.dtype]:
        assert self.shape is not None and self.dtype is not None, "fix_shape comes before the first read"  # noqa: PT018
        return self.shape, self.dtype


class _TensorRows:
    """Rows of a tensor that is already in memory."""

    def __init__(self, images: Tensor) -> None:
        self._images = images

    def shape_of(self, _row: int) -> Shape:
        return self._images.shape[1], self._images.shape[2], self._images.shape[3]

    def decode(self, rows: Sequence[int], _shape: Shape) -> Tensor:
        return self._images[torch.tensor(rows)]


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """A labelled image data set with its class list and its preprocessing.

    Args:
        source: where it came from, as given on the command line.
        classes: class names, in Unicode's normal form C; a label is an index into this list.
        preprocessing: how the images are read, and normalised.
        augment: what training does to images unless told otherwise, `none` or `crop_flip`.
        personal: whether the images may show people; what a source does not know is taken for personal. Of personal
            data no picture of a sample is written unless somebody asks for it.
        origins: where each field of `preprocessing` came from; empty for data that was put together in Python.
        named: whether the source has names for its classes; else they are the labels, written as text.
        remarks: sentences on what a reader of the source should know, such as files that were not read.
        tables: file names and metadata of the rows of each set, where the source has any.
    """

    source: str
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet
    preprocessing: Preprocessing = DEFAULT_PREPROCESSING
    augment: str = "none"
    personal: bool = True
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False)
    named: bool = True
    remarks: tuple[str, ...] = ()
    tables: Mapping[Side, RowTable] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        check_count(len(self.classes), self.source)
        object.__setattr__(self, "classes", all_in_one_form(self.classes))
        twice = repeated(self.classes)
        wrong = next(filter(unprintable, self.classes), None)
        if wrong is not None:
            raise DataError(
                f"Expected class names without control characters, but got the class name {wrong!r} in {self.source}; "
                "rename the class."
            )
        if twice is not None:
            raise DataError(f"Expected distinct class names, but {twice!r} stands twice; rename one of the classes.")
        for side in (self.train, self.test):
            bad = side.labels[(side.labels < 0) | (side.labels >= len(self.classes))]
            if len(bad):
                raise DataError(
                    f"Expected labels from 0 to {len(self.classes) - 1}, but got {int(bad[0])}; "
                    "a label is an index into the class list."
                )

    @property
    def shape(self) -> Shape:
        """Shape (C, H, W) of every image; known after `fix_shape`."""
        assert self.train.shape is not None, "fix_shape comes before the first read"
        return self.train.shape

    def fix_shape(self, row: int, side: Side = "train") -> None:
        """Take the shape of this row's image as that of all images; the reader must be allowed to read the row."""
        if self.train.shape is None:
            shape, dtype = self.set(side).probe(row)
            self.preprocessing.check_channels(shape[0])
            for image_set in (self.train, self.test):
                image_set.shape, image_set.dtype = shape, dtype

    def fix_shape_for(self, split: Split) -> None:
        """Take the shape of the first row; a class to forget is used only where no retained one is left.

        Where nothing but pixels tells the shape, that row counts as decoded.

        Raises:
            DataError: no part has a row.
        """
        part = next((part for part in sorted(Part, key=lambda part: part.forgotten) if len(split[part])), None)
        if part is None:
            raise DataError(
                "Expected an image of a class that is not forgotten yet, to read the image shape from, but the data "
                "has none; give data that holds one."
            )
        self.fix_shape(int(split[part][0]), part.side)

    @contextmanager
    def seeded_reads(self, seed: int) -> Iterator[None]:
        """Seed the random reads of both sets in the `with` block; see `ImageSet.seeded_reads`."""
        with self.train.seeded_reads(seed), self.test.seeded_reads(seed):
            yield

    @property
    def decode_seconds(self) -> float:
        """Wall seconds that this process has spent on decoding, or on waiting for workers that decode."""
        return self.train.decode_seconds + self.test.decode_seconds

    @property
    def wait_seconds(self) -> float:
        """Wall seconds for which a consumer of images has waited for pixels, all of `decode_seconds`."""
        return self.decode_seconds

    def set(self, side: Side) -> ImageSet:
        """Return the stored train or test set."""
        return self.train if side == "train" else self.test

    def labels(self, side: Side) -> Tensor:
        """Labels of one side, (N,) int64."""
        return self.set(side).labels

    def normalise(self, pixels_NCHW: Tensor) -> Tensor:
        """Turn uint8 pixels into float32 `(pixels / 255 - mean) / std`; float32 pixels are not divided by 255."""
        mean = torch.tensor(self.preprocessing.mean, device=pixels_NCHW.device).view(1, -1, 1, 1)
        std = torch.tensor(self.preprocessing.std, device=pixels_NCHW.device).view(1, -1, 1, 1)
        scaled = pixels_NCHW if pixels_NCHW.is_floating_point() else pixels_NCHW.float() / 255.0
        return (scaled - mean) / std

    def with_classes(self, classes: Sequence[str]) -> ImageData:
        """Return the same data with the model's class list; labels are mapped by class name.

        Where the source has no names (`named` is false), labels are positions in the list, see
        `class_lists.ids_by_label`. The data may lack classes of the model (their samples are already gone), not the
        other way round.

        Raises:
            DataError: the data holds a class that the model does not know, or the list names one twice.
        """
        check_count(len(classes), "the class list")
        wanted = all_in_one_form(classes)
        if wanted == self.classes:
            return self
        twice = repeated(wanted)
        if twice is not None:
            raise DataError(f"Expected a list of distinct classes, but {twice!r} stands twice there; rename one.")
        remarks = self.remarks
        mapping = torch.zeros(len(self.classes), dtype=torch.int64)
        if self.named:
            mapping[:] = torch.tensor(ids_by_name(wanted, self.classes, self.source))
        else:
            present = torch.cat([self.train.labels, self.test.labels]).unique()
            names = [self.classes[k] for k in present.tolist()]
            first, ids = ids_by_label(wanted, [int(name) for name in names], self.source)
            mapping[present] = torch.tensor(ids)
            if [wanted[k] for k in ids] != names:
                remarks += (
                    f"The labels of {self.source} have no names: label {first} is taken for {wanted[0]!r}, the first "
                    f"of the {len(wanted):,} classes in the list, and so on.",
                )
        train, test = (s.relabelled(mapping[s.labels]) for s in (self.train, self.test))
        return replace(self, classes=wanted, train=train, test=test, named=True, remarks=remarks)
