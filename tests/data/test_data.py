"""Data sources, decoding on first read, normalisation, class lists, and samples made from samples."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from pictures_on_disk import png, write_parquet
from unlearnkit import ImageData, ImageSet, load_data
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.data.samples import Augmented, Concat, TensorSamples, crop_and_flip, per_class
from unlearnkit.data.sources.decode import PictureDecoder
from unlearnkit.errors import ConfigError, DataError, UnlearnkitError

CPU = torch.device("cpu")
GREY = png(np.full((6, 5, 3), 99, dtype=np.uint8))
NAMES = ("cat", "dog")


class Recorder:
    """A decoder that writes down which rows it was asked for; a row's pixels are all its number."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, rows: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
        self.rows += list(rows)
        return torch.tensor(rows, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, *shape).clone()


def recorded_set(labels: Sequence[int]) -> tuple[ImageSet, Recorder]:
    recorder = Recorder()
    return ImageSet(torch.tensor(labels), lambda row: (1, row + 1, row + 1), recorder), recorder


def recorded_data(labels: Sequence[int], classes: tuple[str, ...]) -> ImageData:
    return ImageData(source="made", classes=classes, train=recorded_set(labels)[0], test=recorded_set(labels)[0])


def both(folder: Path, images: Sequence[bytes], labels: Sequence[int], names: Sequence[str] | None = NAMES) -> str:
    """Write train.parquet and test.parquet alike; returns the source's name."""
    for side in ("train", "test"):
        write_parquet(folder / f"{side}.parquet", images, labels, names)
    return f"parquet:{folder}"


def read_all(data: ImageData, *rows: int) -> Tensor:
    data.fix_shape(rows[0])
    return data.train.images(torch.tensor(rows), CPU)


# --- digits


def test_digits_are_all_there_and_split_by_class() -> None:
    data = load_data("digits")
    train, test = data.labels("train"), data.labels("test")
    assert len(train) + len(test) == 1797
    assert data.classes == tuple("0123456789")
    for class_id in range(10):
        counts = int((train == class_id).sum()), int((test == class_id).sum())
        assert counts[1] == sum(counts) // 5


def test_digits_are_the_pixels_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    data = load_data("digits")
    data.fix_shape(0)
    images = data.train.images(torch.arange(len(data.train)), CPU)
    assert images.shape[1:] == data.shape == (1, 8, 8)
    assert images.dtype == torch.uint8
    original = {tuple(image.astype(int).ravel()) for image in bunch.images}
    scaled_back = (images.double() * 16 / 255).round().long().flatten(1)
    assert all(tuple(image.tolist()) in original for image in scaled_back[:200])


# --- sources and preprocessing


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("cifar", "digits, parquet.*'cifar'"),
        ("", "digits, parquet"),
        ("digits:here", "take no folder"),
        ("imagefolder:", "folder is missing"),
        ("hf:", "name is missing"),
        ("torchvision:", "name is missing"),
        ("parquet", "folder is missing"),
        ("parquet:", "folder is missing"),
        ("parquet:/no/such/folder", "/no/such/folder/train.parquet"),
    ],
)
def test_an_unknown_source_is_refused(source: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_data(source)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mean": (0.1, 0.2)}, "1 value for mean, but got 2"),
        ({"std": (0.1, 0.2, 0.3)}, "1 value for std, but got 3"),
        ({"std": (0.0,)}, "positive number for std, but got 0.0"),
        ({"std": (-1.0,)}, "positive number for std, but got -1.0"),
        ({"std": (float("nan"),)}, "positive number for std, but got nan"),
        ({"mean": (float("nan"),)}, "finite number for mean, but got nan"),
        ({"mean": (float("inf"),)}, "finite number for mean, but got inf"),
        ({"mean": ()}, "1 value for mean, but got 0"),
        ({"image_size": 9}, "8 for digits, but got 9"),
        ({"image_size": 0}, "image size from 1 to 8192 pixels, but got 0"),
        ({"image_size": 8, "crop_pct": 0.5}, "8 for digits, but got a crop_pct of 0.5"),
        ({"crop_pct": 0.9}, "image size beside crop_pct 0.9"),
        ({"image_size": 8, "crop_pct": 0.0}, "crop_pct above 0 and up to 1, but got 0.0"),
        ({"image_size": 8, "crop_pct": float("nan")}, "crop_pct above 0 and up to 1, but got nan"),
        ({"interpolation": "cubic"}, "bicubic.* but got 'cubic'"),
        ({"channels": 2}, "1 or 3 channels, but got 2"),
        ({"channels": 3}, "1 channel for digits, but got 3"),
        ({"storage": "disk"}, "auto, memory or stream, but got 'disk'"),
        ({"workers": -1}, "0 or more workers, but got -1"),
    ],
)
def test_preprocessing_that_does_not_fit_is_refused(options: dict[str, tuple[float, ...]], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_data("digits", **options)  # type: ignore[arg-type]


def test_one_value_stands_for_every_channel(parquet_folder: Callable[..., Path]) -> None:
    data = load_data(f"parquet:{parquet_folder()}", mean=(0.0,), std=(1.0, 0.5, 0.25))
    assert data.preprocessing.mean == (0.0, 0.0, 0.0)
    assert data.preprocessing.std == (1.0, 0.5, 0.25)
    with pytest.raises(ConfigError, match="1 or 3 values for mean, but got 2"):
        load_data(data.source, mean=(0.0, 1.0))


def test_normalisation_is_the_formula() -> None:
    data = ImageData(
        source="made", classes=("a",), train=recorded_set([0])[0], test=recorded_set([0])[0],
        preprocessing=Preprocessing(mean=(0.5, 0.25), std=(0.25, 2.0)),
    )  # fmt: skip
    pixels = torch.tensor([[[[0, 51]], [[255, 102]]]], dtype=torch.uint8)
    expected = torch.tensor([[[[-2.0, -1.2]], [[0.375, 0.075]]]])
    normalised = data.normalise(pixels)
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(normalised, expected)


# --- decoding


def test_a_row_is_decoded_once_and_only_when_it_is_read() -> None:
    image_set, recorder = recorded_set([0] * 9)
    image_set.shape = (1, 2, 2)
    assert recorder.rows == []
    first = image_set.images(torch.tensor([4, 2, 4]), CPU)
    assert sorted(recorder.rows) == [2, 4]
    second = image_set.images(torch.tensor([2, 5, 4]), CPU)
    assert sorted(recorder.rows) == [2, 4, 5]
    assert first[:, 0, 0, 0].tolist() == [4, 2, 4]
    assert second[:, 0, 0, 0].tolist() == [2, 5, 4]
    assert torch.nonzero(image_set.decoded).flatten().tolist() == [2, 4, 5]


@pytest.mark.slow
@given(st.lists(st.lists(st.integers(0, 7), max_size=9), max_size=6))
def test_any_order_of_reads_gives_the_rows_asked_for(reads: list[list[int]]) -> None:
    image_set, recorder = recorded_set([0] * 8)
    image_set.shape = (1, 1, 1)
    for rows in reads:
        images = image_set.images(torch.tensor(rows, dtype=torch.int64), CPU)
        assert images.flatten().tolist() == rows
    assert sorted(recorder.rows) == sorted({row for rows in reads for row in rows})


def test_the_shape_is_that_of_the_row_named_first() -> None:
    data = recorded_data([0] * 5, ("a",))
    data.fix_shape(3)
    data.fix_shape(1)
    assert data.shape == data.test.shape == (1, 4, 4)


def test_time_spent_on_decoding_is_counted() -> None:
    data = recorded_data([0] * 5, ("a",))
    assert data.decode_seconds == 0
    read_all(data, 0, 1)
    first = data.decode_seconds
    assert first > 0
    read_all(data, 0, 1)
    assert data.decode_seconds == first


# --- class lists


def test_labels_are_mapped_by_class_name() -> None:
    data = recorded_data([0, 1, 1, 0], ("dog", "cat"))
    mapped = data.with_classes(("cat", "gone", "dog"))
    assert mapped.classes == ("cat", "gone", "dog")
    assert mapped.labels("train").tolist() == [2, 0, 0, 2]
    assert mapped.labels("test").tolist() == [2, 0, 0, 2]
    assert read_all(mapped, 2).unique().tolist() == [2]


def test_mapping_leaves_the_data_it_came_from_alone() -> None:
    data = recorded_data([0, 1], ("dog", "cat"))
    data.with_classes(("cat", "gone", "dog"))
    mapped = data.with_classes(("gone", "cat", "dog"))
    assert data.classes == ("dog", "cat")
    assert data.labels("train").tolist() == [0, 1]
    assert mapped.labels("train").tolist() == [2, 1]


def test_reads_of_mapped_data_are_counted_on_their_own() -> None:
    data = recorded_data([0, 1], ("dog", "cat"))
    read_all(data, 0)
    mapped = data.with_classes(("cat", "dog"))
    assert not mapped.train.decoded.any()
    assert read_all(mapped, 1).unique().tolist() == [1]
    assert data.train.decoded.tolist() == [True, False]


def test_data_with_a_class_that_the_model_lacks_is_refused() -> None:
    data = recorded_data([0, 1, 2], ("dog", "cat", "cow"))
    with pytest.raises(
        DataError, match=r"made also holds 'cat', 'cow': of its 3 classes the model's list of 2 lacks 2"
    ):
        data.with_classes(("dog", "pig"))


# --- parquet


def test_parquet_gives_labels_names_and_exact_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    data = load_data(both(tmp_path, [png(p) for p in pixels], [1, 0, 1, 1]))
    assert data.classes == NAMES
    assert data.labels("train").tolist() == [1, 0, 1, 1]
    read = read_all(data, 3, 0)
    assert data.shape == (3, 6, 5)
    assert torch.equal(read, torch.from_numpy(pixels[[3, 0]]).permute(0, 3, 1, 2))


def test_grey_images_become_three_equal_channels(tmp_path: Path) -> None:
    grey = np.arange(30, dtype=np.uint8).reshape(6, 5)
    read = read_all(load_data(both(tmp_path, [png(grey)], [0])), 0)
    assert torch.equal(read, torch.from_numpy(grey).expand(1, 3, 6, 5))


def test_without_names_the_classes_are_the_ids_of_both_files(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [GREY] * 2, [0, 1], None)
    write_parquet(tmp_path / "test.parquet", [GREY], [4], None)
    assert load_data(f"parquet:{tmp_path}").classes == ("0", "1", "2", "3", "4")


def test_nothing_is_decoded_by_loading(parquet_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda file, formats: opened.append(1) or real(file, formats=formats))
    data = load_data(f"parquet:{parquet_folder()}")
    data.with_classes((*data.classes, "gone"))
    assert opened == []
    data.fix_shape(7)
    assert len(opened) == 1
    data.train.images(torch.tensor([7, 8, 7]), CPU)
    data.train.images(torch.tensor([8, 7]), CPU)
    assert len(opened) == 3


def test_corrupt_bytes_do_no_harm_until_their_row_is_read(tmp_path: Path) -> None:
    data = load_data(both(tmp_path, [b"junk", GREY, GREY], [0, 1, 1]))
    assert read_all(data, 1, 2).unique().tolist() == [99]
    with pytest.raises(DataError, match=r"'image-0.png' \(row 0\).*train.parquet does not decode"):
        data.train.images(torch.tensor([0]), CPU)
    assert data.train.decoded.tolist() == [False, True, True]


@pytest.mark.parametrize("keep", [0.01, 0.2, 0.5, 0.7])
def test_a_truncated_image_is_named(tmp_path: Path, keep: float) -> None:
    whole = png(np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8))
    data = load_data(both(tmp_path, [GREY, whole[: int(keep * len(whole))]], [0, 1]))
    with pytest.raises(DataError, match=r"'image-1.png' \(row 1\)"):
        read_all(data, 0, 1)


@given(st.data())
def test_damaged_image_bytes_are_an_image_or_a_named_error(data: st.DataObject) -> None:
    raw = bytearray(GREY)
    for position in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=6)):
        raw[position] = data.draw(st.integers(0, 255))

    class Damaged:
        def open(self, row: int) -> Image.Image:
            return Image.open(io.BytesIO(bytes(raw)))

        def name(self, row: int) -> str:
            return "x.png"

    try:
        PictureDecoder(Damaged(), Preprocessing()).decode([0], (3, 6, 5))
    except UnlearnkitError as error:
        assert "x.png" in str(error)  # noqa: PT017 - no error is fine as well


@pytest.mark.parametrize("image", [None, {"bytes": None, "path": "a.png"}, {"bytes": b"", "path": "a.png"}])
def test_an_image_without_bytes_is_named(tmp_path: Path, image: dict[str, bytes] | None) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for side in ("train", "test"):
        pq.write_table(pa.table({"image": pa.array([image], type=kind), "label": [0]}), tmp_path / f"{side}.parquet")
    with pytest.raises(DataError, match=r"row 0.*\(it has no bytes\)"):
        load_data(f"parquet:{tmp_path}").fix_shape(0)


def test_images_of_mixed_sizes_need_an_image_size(tmp_path: Path) -> None:
    source = both(tmp_path, [GREY, png(np.full((9, 9, 3), 99, dtype=np.uint8))], [0, 1])
    with pytest.raises(
        DataError, match=r"5x6 pixels.*'image-1.png'.*9x9; give an image size .*--image-size, or image_size in a suite"
    ):
        read_all(load_data(source), 0, 1)
    read = read_all(load_data(source, image_size=4), 0, 1)
    assert read.shape == (2, 3, 4, 4)
    assert read.unique().tolist() == [99]


def _table(image: object = None, label: object = None) -> pa.Table:
    columns = {
        "image": pa.array([{"bytes": GREY, "path": "a"}]) if image is None else image,
        "label": pa.array([0]) if label is None else label,
    }
    return pa.table({name: column for name, column in columns.items() if column is not False})


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (_table(label=False), "column of class labels in .*train.parquet, but got none among image"),
        (_table(image=False), "column of images in .*train.parquet, but got none among label"),
        (_table(image=pa.array(["x"])), r"column of images in .*, but got none among image \(string\)"),
        (_table(image=pa.array([{"path": "a"}])), r"got none among image \(struct<path: string>\)"),
        (
            _table(label=pa.array([None], type=pa.int64())),
            "integer labels or text in every row of .*train.parquet, but got missing values",
        ),
        (_table(label=pa.array(["a"])), "labels of one type in .*train.parquet and .*test.parquet, but some are text"),
        (
            _table(label=pa.array([0.5])),
            "integer labels or text in .*train.parquet, but column 'label' is of the type double",
        ),
        (_table(label=pa.array([-1])), "labels from 0 to 1 in .*train.parquet, but got -1"),
        (_table(label=pa.array([2])), "labels from 0 to 1 in .*train.parquet, but got 2"),
        (_table().slice(0, 0), "Expected samples in .*train.parquet, but it has no rows"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, table: pa.Table, words: str) -> None:
    source = both(tmp_path, [GREY], [0])
    features = {"label": {"names": list(NAMES), "_type": "ClassLabel"}}
    described = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(described, tmp_path / "train.parquet")
    with pytest.raises(DataError, match=words):
        load_data(source)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(200) + b"PAR1", b"not a parquet file at all"])
def test_a_corrupt_file_is_refused(tmp_path: Path, content: bytes) -> None:
    source = both(tmp_path, [GREY], [0])
    (tmp_path / "test.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"Parquet file at .*test.parquet, but it cannot be read"):
        load_data(source)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    source = both(tmp_path, [GREY] * 50, [0, 1] * 25)
    path = tmp_path / "train.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        load_data(source)


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_missing_file_is_refused(tmp_path: Path, side: str) -> None:
    source = both(tmp_path, [GREY], [0])
    (tmp_path / f"{side}.parquet").unlink()
    with pytest.raises(DataError, match=f"{side}.parquet, but there is none"):
        load_data(source)


def test_class_names_must_agree_and_be_distinct(tmp_path: Path) -> None:
    source = both(tmp_path, [GREY], [0], NAMES)
    write_parquet(tmp_path / "test.parquet", [GREY], [0], NAMES[::-1])
    with pytest.raises(DataError, match="same class names"):
        load_data(source)
    with pytest.raises(DataError, match="'cat' stands for more than one class"):
        load_data(both(tmp_path, [GREY], [0], ("cat", "dog", "cat")))


@pytest.mark.parametrize("metadata", ["{", "[]", '"text"', '{"info": null}', '{"info": {"features": {"label": 3}}}'])
def test_metadata_of_another_kind_is_passed_over(tmp_path: Path, metadata: str) -> None:
    source = both(tmp_path, [GREY] * 2, [0, 1])
    for side in ("train", "test"):
        table = pq.read_table(tmp_path / f"{side}.parquet").replace_schema_metadata({"huggingface": metadata})
        pq.write_table(table, tmp_path / f"{side}.parquet")
    assert load_data(source).classes == ("0", "1")


# --- samples made from samples


def numbered(first: int, count: int, repeats: int = 1) -> TensorSamples:
    values = torch.arange(first, first + count)
    return TensorSamples(values.float().view(-1, 1, 1, 1), values, repeats)


def test_repeated_samples_keep_images_and_labels_together() -> None:
    samples = numbered(5, 3, repeats=4)
    assert len(samples) == len(samples.labels) == 12
    positions = torch.tensor([11, 0, 4])
    assert samples.images(positions).flatten().tolist() == samples.labels[positions].tolist() == [7, 5, 6]


@pytest.mark.slow
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_joined_sets_keep_the_order_asked_for(sizes: list[int], random) -> None:
    sets = [numbered(100 * k, size) for k, size in enumerate(sizes)]
    if not sum(sizes):
        return
    joined = Concat(sets)
    order = list(range(len(joined)))
    random.shuffle(order)
    positions = torch.tensor(order)
    assert len(joined) == sum(sizes)
    assert joined.images(positions).flatten().tolist() == joined.labels[positions].tolist()


def test_per_class_draws_that_many_of_every_class() -> None:
    labels = torch.tensor([2, 0, 2, 2, 0, 1])
    drawn = per_class(labels, 2, torch.Generator().manual_seed(3))
    assert torch.bincount(labels[drawn]).tolist() == [2, 1, 2]
    assert len(drawn.unique()) == len(drawn)
    assert per_class(labels, 2, None).tolist() == [1, 4, 5, 0, 2]


def test_crop_and_flip_shows_windows_of_the_reflected_image() -> None:
    images = torch.randn((40, 2, 6, 7), generator=torch.Generator().manual_seed(0))
    shown = crop_and_flip(images, torch.Generator().manual_seed(1))
    again = crop_and_flip(images, torch.Generator().manual_seed(1))
    assert shown.shape == images.shape
    assert torch.equal(shown, again)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="reflect")
    flipped = 0
    for image, wide in zip(shown, padded, strict=True):
        windows = [wide[:, y : y + 6, x : x + 7] for y in range(3) for x in range(3)]
        plain = any(torch.equal(image, window) for window in windows)
        mirrored = any(torch.equal(image, window.flip(-1)) for window in windows)
        assert plain or mirrored
        flipped += mirrored and not plain
    assert 5 < flipped < 35


def test_augmented_samples_keep_their_labels_and_change_at_every_read() -> None:
    plain = TensorSamples(torch.randn((8, 1, 6, 6), generator=torch.Generator().manual_seed(0)), torch.arange(8))
    samples = Augmented(plain, torch.Generator().manual_seed(0))
    assert len(samples) == 8
    assert samples.labels.tolist() == list(range(8))
    positions = torch.arange(8)
    assert not torch.equal(samples.images(positions), samples.images(positions))
