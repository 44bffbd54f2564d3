"""Data sets of one's own from Python: labels known beforehand, items read when needed, transforms, batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from unlearnkit import ForgetRequest, ImageData, ImageSet, Part, split_for
from unlearnkit.data import AccessLog, Batch, DataView, from_batches, from_datasets
from unlearnkit.data.sources.labels import known_labels
from unlearnkit.errors import DataError

CPU = torch.device("cpu")
LABELS = [0, 1, 2] * 5
IMAGES = torch.rand((15, 3, 4, 5), generator=torch.Generator().manual_seed(0))


class Own(Dataset[tuple[Any, int]]):
    """A dataset that writes down what was read of it."""

    def __init__(self, images: Sequence[Any] | Tensor = IMAGES, labels: Sequence[Any] = tuple(LABELS)) -> None:
        self.images, self.targets, self.read = images, list(labels), []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Any, int]:
        self.read.append(row)
        return self.images[row], self.targets[row]


class Noisy(Own):
    """The images plus a random transform's noise."""

    def __getitem__(self, row: int) -> tuple[Any, int]:
        return self.images[row] + torch.rand(()), self.targets[row]


def all_of(data: ImageData, side: str = "train") -> Tensor:
    data.fix_shape(0)
    stored = data.train if side == "train" else data.test
    return data.normalise(stored.images(torch.arange(len(stored)), CPU))


def test_nothing_is_read_before_it_is_needed() -> None:
    train, test = Own(), Own()
    data = from_datasets(train, test, classes=("a", "b", "c"))
    split = split_for(ForgetRequest(classes=("b",)), data)
    assert train.read == test.read == []
    first = int(split[Part.RETAIN_TRAIN][0])
    data.fix_shape(first)
    assert set(train.read) == {first}
    assert torch.nonzero(data.train.decoded).flatten().tolist() == [first]
    view = DataView(data, split, frozenset(Part), reader="method", log=AccessLog(data), device=CPU)
    retained = view.part(Part.RETAIN_TRAIN)
    for images in retained.stream([Batch(torch.arange(len(retained)))]):
        assert torch.equal(images, IMAGES[split[Part.RETAIN_TRAIN]])
    assert not {LABELS[row] for row in train.read} & {1}
    assert test.read == []


def test_floats_arrive_as_they_are_and_8_bits_are_divided() -> None:
    assert torch.equal(all_of(from_datasets(Own(), Own())), IMAGES)
    eight = (IMAGES * 255).to(torch.uint8)
    expected = eight.float() / 255
    arrays = [image.permute(1, 2, 0).numpy() for image in eight]
    for images in (eight, arrays, [Image.fromarray(array) for array in arrays]):
        data = from_datasets(Own(images), Own(images))
        assert torch.equal(all_of(data), expected)
        assert data.train.dtype == torch.uint8
    grey = from_datasets(Own([array[..., 0] for array in arrays]), Own())
    assert torch.equal(all_of(grey), expected[:, :1])
    scaled = from_datasets(Own(), Own(), mean=(0.5,), std=(2.0,))
    assert torch.equal(all_of(scaled), (IMAGES - 0.5) / 2)


def test_doubles_and_16_bit_pictures_are_taken() -> None:
    assert torch.equal(all_of(from_datasets(Own(IMAGES.double()), Own())), IMAGES)
    deep = [Image.fromarray(np.full((4, 5), 32768, dtype=np.uint16))] * 15
    assert all_of(from_datasets(Own(deep), Own())).unique().tolist() == pytest.approx([128 / 255])


def test_a_cached_set_is_read_once() -> None:
    train = Own()
    data = from_datasets(train, Own(), cache=True)
    all_of(data)
    train.read.clear()
    assert torch.equal(all_of(data), IMAGES)
    assert train.read == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_random_transform_stays_random_and_seeded(workers: int) -> None:
    def draws(cache: bool) -> list[Tensor]:
        data = from_datasets(Noisy(), Noisy(), cache=cache, workers=workers)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            return [all_of(data), all_of(data)]

    one, other = draws(cache=False)
    assert not torch.equal(one, other)
    assert torch.equal(one, draws(cache=False)[0])
    kept = draws(cache=True)
    assert torch.equal(kept[0], kept[1])


def test_a_noisy_set_stays_noisy_under_another_class_list() -> None:
    data = from_datasets(Noisy(), Noisy(), classes=("a", "b", "c")).with_classes(("c", "a", "x", "b"))
    assert data.train.random
    assert not torch.equal(all_of(data), all_of(data))


# --- labels


def test_labels_are_known_through_wrappers() -> None:
    own = Own()
    listed = {
        "subset": (Subset(own, [4, 2, 3]), [1, 2, 0]),
        "subset of a subset": (Subset(Subset(own, [4, 2, 3]), [2, 0]), [0, 1]),
        "concat": (ConcatDataset([own, Subset(own, [1])]), [*LABELS, 1]),
        "tensors": (TensorDataset(IMAGES, torch.tensor(LABELS)), LABELS),
        "subset of tensors": (Subset(TensorDataset(IMAGES, torch.tensor(LABELS)), [1, 2]), [1, 2]),
        "loader": (DataLoader(own, shuffle=True), LABELS),
    }
    for name, (dataset, expected) in listed.items():
        data = from_datasets(dataset, own)
        assert data.labels("train").tolist() == expected, name
    data = from_datasets(Subset(own, [4, 2, 3]), own)
    assert torch.equal(all_of(data), IMAGES[[4, 2, 3]])
    assert own.read


def test_labels_of_other_names_are_known() -> None:
    for name in ("labels", "_labels"):
        own = Own()
        own.__dict__[name] = own.__dict__.pop("targets")
        assert known_labels(own) == LABELS
    own.__dict__.pop("_labels")
    own._samples = [("path", k) for k in LABELS]  # type: ignore[attr-defined]
    assert known_labels(own) == LABELS


def test_unknown_labels_are_refused_and_not_read() -> None:
    own = Own()
    del own.targets
    with pytest.raises(DataError, match="would read the images to forget; give train_labels="):
        from_datasets(own, Own())
    with pytest.raises(DataError, match="give test_labels="):
        from_datasets(Own(), own)
    assert own.read == []
    assert from_datasets(own, Own(), train_labels=np.array(LABELS)).labels("train").tolist() == LABELS


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([*LABELS[1:], -1], "labels from 0 for the train dataset, but got -1"),
        ([*LABELS[1:], 3], "labels from 0 to 2, but got 3"),
        ([*LABELS[1:], float("nan")], "integer labels for the train dataset, but got NaN"),
        ([*LABELS[1:], 0.5], "integer labels for the train dataset, but got float64"),
        (["a"] * 15, "integer labels for the train dataset, but got <U1"),
        ([*LABELS[1:], None], "integer labels for the train dataset, but got object"),
        ([True] * 15, "integer labels for the train dataset, but got bool"),
        ([[0]] * 15, r"15 labels for the train dataset, but got the shape \(15, 1\)"),
        ([[0], [1, 2]], "one integer label for each image of the train dataset, but got lists"),
        (LABELS[1:], r"15 labels for the train dataset, but got the shape \(14,\)"),
    ],
)
def test_labels_that_are_no_class_ids_are_refused(labels: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        from_datasets(Own(), Own(), classes=("a", "b", "c"), train_labels=labels)


def test_labels_in_another_order_than_the_items_are_noticed() -> None:
    data = from_datasets(Own(), Own(), train_labels=LABELS[::-1])
    with pytest.raises(
        DataError, match=r"label 2 of item 0 of the train dataset.*but the item has 0; give the labels in"
    ):
        data.fix_shape(0)


def test_classes_are_those_of_the_dataset_or_the_ids() -> None:
    own = Own()
    assert from_datasets(own, own).classes == ("0", "1", "2")
    own.classes = ["x", "y", "z"]  # type: ignore[attr-defined]
    assert from_datasets(Subset(own, [0, 1]), own).classes == ("x", "y", "z")
    assert from_datasets(own, own, classes=("a", "b", "c", "d")).classes == ("a", "b", "c", "d")


def test_without_test_a_fifth_of_every_class_is_held_out() -> None:
    data = from_datasets(Own())
    assert torch.bincount(data.labels("train")).tolist() == [4, 4, 4]
    assert torch.bincount(data.labels("test")).tolist() == [1, 1, 1]
    rows = torch.cat([all_of(data), all_of(data, "test")]).flatten(1).tolist()
    assert sorted(rows) == sorted(IMAGES.flatten(1).tolist())
    with pytest.raises(DataError, match="every class has one; give test data"):
        from_datasets(Own(IMAGES[:3], LABELS[:3]))
    with pytest.raises(DataError, match="a test dataset beside test_labels"):
        from_datasets(Own(), test_labels=LABELS)


# --- items and datasets that do not fit


class Stream(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        yield from zip(IMAGES, LABELS, strict=True)


@pytest.mark.parametrize("dataset", [Stream(), DataLoader(Stream()), 3, iter([1])])
def test_what_can_only_be_iterated_is_sent_to_from_batches(dataset: Any) -> None:
    with pytest.raises(DataError, match="pass data that can only be iterated to from_batches"):
        from_datasets(dataset, Own())


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError, match="images in the train dataset, but there are none"):
        from_datasets(Own([], []), Own())


NAN = IMAGES.clone()
NAN[9, 1, 2, 3] = float("nan")


@pytest.mark.parametrize("cache", [False, True])
def test_pixels_that_are_no_numbers_name_the_row(cache: bool) -> None:
    data = from_datasets(Own(NAN), Own(), cache=cache)
    with pytest.raises(DataError, match="finite pixels, but row 9 has NaN"):
        all_of(data)
    data = ImageData(
        source="made",
        classes=("0", "1", "2"),
        train=ImageSet.from_tensor(NAN, torch.tensor(LABELS)),
        test=ImageSet.from_tensor(NAN, torch.tensor(LABELS)),
    )
    with pytest.raises(DataError, match="finite pixels, but row 9 has NaN"):
        all_of(data)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.rand(3, 4, 6), r"shape \(3, 4, 5\) and torch.float32, but item 3 of the train dataset has \(3, 4, 6\)"),
        (
            torch.zeros(3, 4, 5, dtype=torch.uint8),
            "pixels of torch.float32, but row 3 has torch.uint8; give all one type",
        ),
        (torch.zeros(4, 5), r"an image tensor \(C, H, W\).*but item 3 of the train dataset is torch.float32 \(4, 5\)"),
        (torch.zeros(3, 4, 5, dtype=torch.int64), "an image tensor.*torch.int64"),
        (np.zeros((4, 5, 3)), "a uint8 array .* but item 3 of the train dataset is an array of float64"),
        ("cat.png", "an image tensor.* but item 3 of the train dataset is str"),
        (Image.new("F", (5, 4)), "8-bit images, but item 3 of the train dataset has Pillow's mode 'F'"),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_is_no_such_image_is_named(image: Any, words: str, workers: int) -> None:
    images = [*IMAGES]
    images[3] = image
    data = from_datasets(Own(images), Own(), cache=False, workers=workers)
    data.fix_shape(0)
    rows = torch.arange(15).split(5)
    with pytest.raises(DataError, match=words):
        list(data.train.stream([(part, range(5)) for part in rows], 3, CPU))


class Failing(Own):
    def __getitem__(self, row: int) -> tuple[Any, int]:
        if row == 2:
            raise KeyError("lost.jpg")
        return super().__getitem__(row)


def test_an_error_of_the_dataset_itself_is_one_sentence() -> None:
    with pytest.raises(DataError, match=r"item 2 of the train dataset, but reading it raised KeyError \('lost.jpg'\)"):
        all_of(from_datasets(Failing(), Own()))


@pytest.mark.parametrize("item", [IMAGES[0], {"image": IMAGES[0]}, (IMAGES[0],)])
def test_items_that_are_no_pairs_are_refused(item: Any) -> None:
    class Odd(Own):
        def __getitem__(self, row: int) -> Any:
            return item

    with pytest.raises(DataError, match=r"items \(image, label\), but item 0 of the train dataset is a"):
        all_of(from_datasets(Odd(), Own()))


# --- batches


def test_batches_are_read_once_into_memory() -> None:
    loader = DataLoader(Stream(), batch_size=4)
    data = from_batches(loader, loader, classes=("a", "b", "c"))
    assert data.labels("train").tolist() == LABELS
    assert torch.equal(all_of(data), IMAGES)
    held = from_batches(loader)
    assert [len(held.train), len(held.test)] == [12, 3]
    eight = from_batches([((IMAGES * 255).to(torch.uint8), torch.tensor(LABELS))])
    assert eight.train.dtype == torch.uint8


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "train batches, but there are none"),
        ([IMAGES], "train batch 0 is a Tensor"),
        ([(IMAGES, torch.tensor(LABELS).float())], "integer labels for train batch 0, but got float32"),
        ([(IMAGES, torch.tensor(LABELS)[1:])], r"15 labels for train batch 0, but got the shape \(14,\)"),
        ([(IMAGES, torch.tensor(LABELS)), (IMAGES[..., 1:], torch.tensor(LABELS))], r"batch 1 has .*\(3, 4, 4\)"),
        ([(IMAGES[0], torch.tensor(LABELS[:3]))] * 2, "uint8 or float32 images"),
    ],
)
def test_batches_that_do_not_fit_are_refused(batches: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        from_batches(batches)
