"""Streams: the images that `images` gives, for any batches and shares, in memory or decoded anew, by workers or not."""

from __future__ import annotations

import copyreg
import gc
import multiprocessing
import os
import random as python_random
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tblib.pickling_support import pickle_exception, pickle_traceback
from torch import Tensor

from unlearnkit import ForgetRequest, ImageData, ImageSet, Part, split_for
from unlearnkit.data import AccessLog, Batch, DataView, Samples, storage
from unlearnkit.data.samples import Augmented, Concat, TensorSamples
from unlearnkit.data.stream import DecodeFn
from unlearnkit.errors import ConfigError, DataError

CPU = torch.device("cpu")
SHAPE = (2, 9, 8)
ROWS = 24


def numbered(rows: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """Decode a row to noise that its number seeds."""
    generators = [torch.Generator().manual_seed(row) for row in rows]
    return torch.stack([torch.randint(0, 256, shape, generator=g, dtype=torch.uint8) for g in generators])


def broken(rows: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    if 7 in rows:
        raise DataError("Expected an image, but row 7 is none; remove it.")
    return numbered(rows, shape)


def rolled(rows: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """A row's number, and dice of every global generator."""
    dice = [(row, python_random.randrange(256), np.random.randint(256), int(torch.randint(256, ()))) for row in rows]
    return torch.tensor(dice, dtype=torch.uint8).view(-1, 4, 1, 1)


class Bench:
    """A method's view of 24 rows of three classes, read from `decode` or kept as told."""

    def __init__(self, kind: str = "stream", workers: int = 0, decode: DecodeFn = numbered, random: bool = False):
        labels = torch.arange(3).repeat(ROWS // 3)

        def image_set() -> ImageSet:
            return ImageSet(labels, lambda _: SHAPE, decode, storage=kind, workers=workers, random=random)  # type: ignore[arg-type]

        self.data = ImageData(source="made", classes=("a", "b", "c"), train=image_set(), test=image_set())
        self.data.fix_shape(0)
        split = split_for(ForgetRequest(classes=("c",)), self.data, val_fraction=0)
        self.log = AccessLog(self.data)
        view = DataView(self.data, split, frozenset(Part), reader="method", log=self.log, device=CPU)
        self.samples = view.part(Part.RETAIN_TRAIN)
        self.rows = split[Part.RETAIN_TRAIN]
        self.summary: Callable[[], dict[str, object]] = lambda: self.log.summary(split)


def in_memory(start: int, count: int) -> TensorSamples:
    rows = list(range(start, start + count))
    return TensorSamples(numbered(rows, SHAPE).float(), torch.arange(count), repeats=2)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


MAKERS: dict[str, Callable[[str], Samples]] = {
    "part": lambda kind: Bench(kind).samples,
    "tensor": lambda _: in_memory(100, 6),
    "concat": lambda kind: Concat([in_memory(100, 3), Bench(kind).samples, in_memory(200, 2)]),
    "augmented": lambda kind: Augmented(Bench(kind).samples, generator(), max_shift=2),
    "augmented concat": lambda kind: Augmented(Concat([Bench(kind).samples, in_memory(200, 2)]), generator()),
    "concat of augmented": lambda kind: Concat(
        [in_memory(100, 3), Augmented(Bench(kind).samples, g := generator()), Augmented(in_memory(200, 4), g, 3)]
    ),
}


@st.composite
def batches(draw: st.DrawFn, samples: int) -> list[Batch]:
    found = []
    for _ in range(draw(st.integers(0, 4))):
        positions = draw(st.lists(st.integers(0, samples - 1), max_size=8))
        start, stop = sorted(draw(st.tuples(st.integers(0, 9), st.integers(0, 9))))
        mine = draw(st.sampled_from([slice(None), slice(start, stop), slice(-stop, None)]))
        found.append(Batch(torch.tensor(positions, dtype=torch.int64), mine))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "stream"])
@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_stream_is_the_share_of_the_images_of_every_batch(name: str, kind: str, data: st.DataObject) -> None:
    streamed, whole = MAKERS[name](kind), MAKERS[name](kind)
    asked = data.draw(batches(len(whole)))
    got = list(streamed.stream(asked))
    assert len(got) == len(asked)
    for batch, images in zip(asked, got, strict=True):
        expected = whole.images(batch.positions)
        assert images.dtype == expected.dtype
        assert torch.equal(images, expected[batch.mine])


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(MAKERS)))
def test_streamed_images_are_those_in_memory_bit_for_bit(name: str, data: st.DataObject) -> None:
    kept, streamed = MAKERS[name]("memory"), MAKERS[name]("stream")
    asked = data.draw(batches(len(kept)))
    for one, other in zip(kept.stream(asked), streamed.stream(asked), strict=True):
        assert torch.equal(one, other)
    positions = torch.arange(len(kept))
    assert torch.equal(kept.images(positions), streamed.images(positions))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_access_counts_are_the_same_and_of_the_share_alone(data: st.DataObject) -> None:
    kept, streamed = Bench("memory"), Bench("stream")
    asked = data.draw(batches(len(kept.samples)))
    for bench in (kept, streamed):
        list(bench.samples.stream(asked))
    assert kept.summary() == streamed.summary()
    read = {int(kept.rows[p]) for batch in asked for p in batch.positions[batch.mine]}
    for bench in (kept, streamed):
        assert set(torch.nonzero(bench.data.train.decoded).flatten().tolist()) == read


SEVERAL = [
    Batch(torch.tensor(p), slice(m, None)) for p, m in (([3, 1, 2], 0), ([0, 9, 9, 4], 2), ([5], 1), ([15, 8], 0))
]


@pytest.mark.parametrize("name", ["part", "concat of augmented"])
def test_workers_give_the_same_images_and_counts(name: str) -> None:
    made: list[Bench] = []

    def maker(_kind: str, workers: int) -> Samples:
        made.append(Bench("stream", workers))
        if name == "part":
            return made[-1].samples
        return Concat([in_memory(100, 3), Augmented(made[-1].samples, generator())])

    alone, helped = (list(maker("stream", workers).stream(SEVERAL)) for workers in (0, 2))
    assert all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))
    assert made[0].summary() == made[1].summary()
    assert not multiprocessing.active_children()


def test_streaming_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    for workers, random in ((0, False), (2, False), (0, True)):
        bench = Bench("stream", workers, random=random)
        list(bench.samples.stream(SEVERAL))
        bench.samples.images(torch.arange(3))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_a_consumer_that_stops_early_leaves_no_worker() -> None:
    many = [Batch(torch.tensor([k % 16])) for k in range(40)]
    bench = Bench("stream", 2)
    stream = bench.samples.stream(many)
    next(stream)
    assert len(multiprocessing.active_children()) == 2
    stream.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()
    assert 1 <= int(bench.data.train.decoded.sum()) <= 6  # what was drawn ahead counts

    def fail() -> None:
        for _ in Concat([bench.samples, in_memory(0, 2)]).stream(many):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    gc.collect()
    assert not multiprocessing.active_children()


@pytest.fixture
def exceptions_with_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let exceptions take their tracebacks to other processes, as they do once dask is imported."""
    for kind, reduce in ((DataError, pickle_exception), (TracebackType, pickle_traceback)):
        monkeypatch.setitem(copyreg.dispatch_table, kind, reduce)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.usefixtures("exceptions_with_tracebacks")
def test_a_broken_image_is_one_sentence_from_a_worker_too(workers: int) -> None:
    bench = Bench("stream", workers, decode=broken)
    place = bench.rows.tolist().index(7)
    with pytest.raises(DataError) as found:
        list(
            bench.samples.stream([Batch(torch.tensor([0])), Batch(torch.tensor([1, place])), Batch(torch.tensor([2]))])
        )
    assert str(found.value) == "Expected an image, but row 7 is none; remove it."
    assert not multiprocessing.active_children()


def dying(rows: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    os._exit(3)


def test_a_worker_that_dies_is_a_named_error() -> None:
    with pytest.raises(DataError, match=r"one of them died.*use fewer workers"):
        list(Bench("stream", 2, decode=dying).samples.stream(SEVERAL))


@pytest.mark.filterwarnings("ignore:Got pickle error")
def test_data_that_does_not_pickle_is_a_named_error_where_workers_are_spawned() -> None:
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        with pytest.raises(DataError, match=r"does not pickle .*or use 0 workers"):
            list(Bench("stream", 2, decode=lambda rows, shape: numbered(rows, shape)).samples.stream(SEVERAL))
    finally:
        multiprocessing.set_start_method(before, force=True)


def test_one_batch_starts_no_worker() -> None:
    stream = Bench("stream", 2).samples.stream(SEVERAL[:1])
    next(stream)
    assert not multiprocessing.active_children()


# --- random reads


def dice(workers: int, asked: Sequence[Batch], seed: int = 1, times: int = 1) -> list[Tensor]:
    bench = Bench("stream", workers, decode=rolled, random=True)
    for side in (bench.data.train, bench.data.test):
        side.shape = (4, 1, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [images for _ in range(times) for images in bench.samples.stream(asked)]


def test_random_reads_depend_on_the_seed_and_not_on_workers_or_processes() -> None:
    whole = [Batch(torch.tensor([3, 1, 3])), Batch(torch.tensor([2, 3]))]
    shares = [[Batch(b.positions, mine) for b in whole] for mine in (slice(0, 1), slice(1, None))]
    expected = dice(0, whole)
    assert all(torch.equal(a, b) for a, b in zip(expected, dice(2, whole), strict=True))
    first, second = (dice(0, share) for share in shares)
    assert all(torch.equal(e, torch.cat(p)) for e, p in zip(expected, zip(first, second, strict=True), strict=True))
    assert not torch.equal(expected[0], dice(0, whole, seed=2)[0])
    rolls = {tuple(image.flatten().tolist()) for images in dice(0, whole, times=2) for image in images}
    assert len(rolls) == 10  # drawn anew for every read of a row


@pytest.mark.parametrize("workers", [0, 2])
def test_a_read_in_between_does_not_change_a_stream(workers: int) -> None:
    asked = [Batch(torch.tensor([k, k + 1])) for k in range(8)]
    bench = Bench("stream", workers, decode=rolled, random=True)
    bench.data.train.shape = (4, 1, 1)
    got = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for images in bench.samples.stream(asked):
            got.append(images)
            bench.samples.images(torch.tensor([0]))
    assert all(torch.equal(a, b) for a, b in zip(got, dice(0, asked), strict=True))


def test_random_sets_are_never_kept() -> None:
    bench = Bench("memory", decode=rolled, random=True)
    assert bench.data.train.storage == "stream"


# --- waiting


def slow(rows: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    time.sleep(0.02)
    return numbered(rows, shape)


@pytest.mark.parametrize("workers", [0, 2])
def test_waiting_for_a_stream_is_counted_and_the_consumers_time_is_not(workers: int) -> None:
    bench = Bench("stream", workers, decode=slow)
    for _ in bench.samples.stream([Batch(torch.tensor([k])) for k in range(4)]):
        time.sleep(0.05)
    assert 0.02 <= bench.data.wait_seconds == bench.data.decode_seconds
    if workers == 0:
        assert 0.08 <= bench.data.wait_seconds < 0.2


# --- where images are kept


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    memory = {"cpu": 1000, "cuda": 1000}
    monkeypatch.setattr(storage, "free_bytes", lambda device: memory[device.type])
    return memory


@pytest.mark.parametrize(
    ("kind", "size", "device", "expected"),
    [
        ("auto", 400, "cpu", "cpu"),
        ("auto", 401, "cpu", None),
        ("auto", 400, "cuda", "cuda"),
        ("auto", 401, "cuda", None),
        ("memory", 1000, "cpu", "cpu"),
        ("memory", 401, "cuda", "cpu"),
        ("stream", 1, "cpu", None),
    ],
)
def test_images_are_kept_where_they_fit(
    free: dict[str, int], kind: storage.Storage, size: int, device: str, expected: str | None
) -> None:
    found = storage.home(kind, size, torch.device(device))
    assert (found.type if found else None) == expected


def test_main_memory_is_second_to_the_device(free: dict[str, int]) -> None:
    free["cpu"] = 10_000
    assert storage.home("auto", 401, torch.device("cuda")) == CPU


def test_memory_that_does_not_suffice_is_refused_with_the_sizes(free: dict[str, int]) -> None:
    bench = Bench("memory")
    free["cpu"] = SHAPE[0] * SHAPE[1] * SHAPE[2] * ROWS - 1
    with pytest.raises(DataError, match=r"fit into memory, but they take 0.00346 MB and 0.00346 MB are free; choose"):
        bench.samples.images(torch.tensor([0]))


def test_sizes_decide_before_anything_is_allocated(free: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    free["cpu"] = 8600
    asked: list[int] = []
    monkeypatch.setattr(storage, "home", lambda kind, size, device: asked.append(size))
    for dtype, size in ((torch.uint8, 1), (torch.float32, 4)):
        images = torch.zeros((5, *SHAPE), dtype=dtype)
        made = ImageSet.from_tensor(images, torch.zeros(5, dtype=torch.int64))
        made.shape = SHAPE
        made.images(torch.tensor([1]), CPU)
        assert asked.pop() == 5 * 144 * size


def test_auto_streams_what_does_not_fit(free: dict[str, int]) -> None:
    reads: list[int] = []

    def counting(rows: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
        reads.extend(rows)
        return numbered(rows, shape)

    for memory, expected in ((10_000_000, [0]), (1000, [0, 0])):
        free["cpu"] = memory
        bench = Bench("auto", decode=counting)
        for _ in range(2):
            bench.samples.images(torch.tensor([0]))
        assert reads == expected
        reads.clear()


def test_the_free_memory_is_that_of_the_machine() -> None:
    assert 0 < storage.free_bytes(CPU) <= psutil.virtual_memory().total


def test_workers_default_to_the_cores() -> None:
    assert storage.checked_workers(None) == min(4, os.cpu_count() or 1)
    with pytest.raises(ConfigError):
        storage.checked_workers(-2)
