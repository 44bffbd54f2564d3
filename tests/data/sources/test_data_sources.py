"""Folders of images, sharded Parquet, Hugging Face `datasets` and torchvision: the same pixels, splits and refusals."""

from __future__ import annotations

import builtins
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from pictures_on_disk import png, write_parquet
from unlearnkit import ImageData, load_data
from unlearnkit.data.sources import parquet
from unlearnkit.data.sources.hold_out import held_out
from unlearnkit.data.storage import Storage
from unlearnkit.errors import DataError

CPU = torch.device("cpu")
NAMES = ("cat", "dog")
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (8, 6, 5, 3), dtype=np.uint8)
LABELS = [0, 0, 0, 0, 1, 1, 1, 1]


def folder_of(root: Path, *, pixels: np.ndarray = PIXELS, names: Sequence[str] = NAMES, side: str = "") -> Path:
    """Write root/side/CLASS/n.png."""
    for k, (image, label) in enumerate(zip(pixels, LABELS, strict=True)):
        place = root / side / names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{k}.png")
    return root


def read(data: ImageData, side: str = "train") -> Tensor:
    data.fix_shape(0)
    stored = data.train if side == "train" else data.test
    return stored.images(torch.arange(len(stored)), CPU)


def streamed(data: ImageData, side: str) -> Tensor:
    data.fix_shape(0)
    stored = data.train if side == "train" else data.test
    rows = torch.arange(len(stored)).tensor_split(3)
    return torch.cat(list(stored.stream([(part, range(len(part))) for part in rows], 3, CPU)))


# --- one set of images, from every source


def as_parquet(root: Path) -> str:
    for side in ("train", "test"):
        write_parquet(root / f"{side}.parquet", [png(p) for p in PIXELS], LABELS, NAMES)
    return f"parquet:{root}"


def as_folder(root: Path) -> str:
    for side in ("train", "test"):
        folder_of(root, side=side)
    return f"imagefolder:{root}"


def as_hub(root: Path) -> str:
    as_parquet(root)
    return f"hf:{root}"


def as_cifar(root: Path) -> str:
    """The files of CIFAR-10 with the images in a corner of theirs."""
    base = root / "cifar-10-batches-py"
    base.mkdir()
    canvas = np.zeros((8, 32, 32, 3), dtype=np.uint8)
    canvas[:, :6, :5] = PIXELS
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        last = name in ("data_batch_5", "test_batch")
        rows = slice(None) if last else slice(0, 0)
        content = {"data": canvas[rows].transpose(0, 3, 1, 2).reshape(-1, 3072), "labels": LABELS[rows]}
        (base / name).write_bytes(pickle.dumps(content))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": list(NAMES)}))
    return f"torchvision:CIFAR10:{root}"


SOURCES: dict[str, Callable[[Path], str]] = {
    "parquet": as_parquet,
    "imagefolder": as_folder,
    "hf": as_hub,
    "torchvision": as_cifar,
}


@pytest.fixture(autouse=True)
def private_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from torchvision.datasets import CIFAR10

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: (Path(self.root) / self.base_folder).is_dir())
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_images_streamed_or_kept(kind: str, tmp_path: Path) -> None:
    source = SOURCES[kind](tmp_path)
    expected = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    storages: tuple[tuple[Storage, int], ...] = (("memory", 0), ("stream", 0), ("stream", 2))
    for storage, workers in storages:
        data = load_data(source, storage=storage, workers=workers)
        assert data.classes == NAMES
        assert len(data.preprocessing.mean) == 3
        for side in ("train", "test"):
            assert data.labels(side).tolist() == LABELS  # type: ignore[arg-type]
            assert not data.set(side).decoded.any()  # type: ignore[arg-type]
            assert torch.equal(streamed(data, side)[..., :6, :5], expected)
            assert torch.equal(read(data, side)[..., :6, :5], expected)
    grey = load_data(source, channels=1, image_size=4)
    assert grey.preprocessing.mean == (0.5,)
    assert grey.preprocessing.std == (0.25,)
    assert read(grey).shape == (8, 1, 4, 4)


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_pickles_for_spawned_workers(kind: str, tmp_path: Path) -> None:
    data = load_data(SOURCES[kind](tmp_path))
    data.fix_shape(0)
    copy = pickle.loads(pickle.dumps(data.train._decode))
    assert torch.equal(copy([5, 2], data.shape), read(data)[[5, 2]])


@pytest.mark.parametrize("kind", ["imagefolder", "hf", "parquet"])
def test_a_broken_image_is_the_same_sentence_from_a_worker(kind: str, tmp_path: Path) -> None:
    if kind == "imagefolder":
        as_folder(tmp_path)
        (tmp_path / "train" / "cat" / "1.png").write_bytes(b"no image")
    else:
        images = [b"no image" if k == 1 else png(p) for k, p in enumerate(PIXELS)]
        for side in ("train", "test"):
            write_parquet(tmp_path / f"{side}.parquet", images, LABELS, NAMES)
    words = []
    for workers in (0, 2):
        with pytest.raises(DataError, match=r"Expected an image, but .*1.png.* does not decode \(not an image") as e:
            streamed(load_data(f"{kind}:{tmp_path}", storage="stream", workers=workers), "train")
        words.append(str(e.value))
    assert words[0] == words[1]


# --- folders of images


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_the_test_folder_goes_by_four_names(test: str, tmp_path: Path) -> None:
    folder_of(tmp_path, side="train")
    folder_of(tmp_path, side=test, pixels=PIXELS[::-1])
    data = load_data(f"imagefolder:{tmp_path}")
    assert torch.equal(read(data, "test"), torch.from_numpy(PIXELS[::-1].copy()).permute(0, 3, 1, 2))


@pytest.mark.parametrize("side", ["", "train"])
def test_a_folder_without_test_gives_a_fifth_of_every_class(side: str, tmp_path: Path) -> None:
    data = load_data(f"imagefolder:{folder_of(tmp_path, side=side)}")
    assert [torch.bincount(data.labels(s)).tolist() for s in ("train", "test")] == [[3, 3], [1, 1]]  # type: ignore[arg-type]
    rows = torch.cat([read(data), read(data, "test")]).flatten(1).tolist()
    assert sorted(rows) == sorted(torch.from_numpy(PIXELS).permute(0, 3, 1, 2).flatten(1).tolist())


def test_classes_are_the_union_of_both_sides(tmp_path: Path) -> None:
    folder_of(tmp_path, side="train", names=("dog", "eel"))
    folder_of(tmp_path, side="test", names=("ant", "eel"))
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    data = load_data(f"imagefolder:{tmp_path}")
    assert data.classes == ("ant", "dog", "eel")
    assert data.labels("train").unique().tolist() == [1, 2]
    assert data.labels("test").unique().tolist() == [0, 2]


def test_a_forgotten_folder_that_is_gone_leaves_ids_and_test_images_as_they_were(tmp_path: Path) -> None:
    names = ("2", "zebra", "10", "ant")  # sorted: 10, 2, ant, zebra
    rng = np.random.default_rng(3)
    for name in names:
        (tmp_path / name).mkdir()
        for k in range(10):
            Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).save(tmp_path / name / f"{k}.png")
    before = load_data(f"imagefolder:{tmp_path}")
    assert before.classes == ("10", "2", "ant", "zebra")
    model = ("zebra", "10", "ant", "2")
    images = {side: read(before, side) for side in ("train", "test")}
    shutil.rmtree(tmp_path / "2")
    after = load_data(f"imagefolder:{tmp_path}").with_classes(model)
    assert after.labels("train").unique().tolist() == [0, 1, 2]
    before = before.with_classes(model)
    for side in ("train", "test"):
        kept = before.labels(side) != model.index("2")  # type: ignore[arg-type]
        assert torch.equal(before.labels(side)[kept], after.labels(side))  # type: ignore[arg-type]
        assert torch.equal(images[side][kept], read(after, side))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "train" / "cow").mkdir(), r"every class folder of .*train, but 'cow' has none; add images or"),
        (lambda d: (d / "test" / "cow").mkdir(), r"every class folder of .*test, but 'cow' has none"),
        (lambda d: shutil.rmtree(d / "train"), "a folder `train` beside `test`"),
        (lambda d: [shutil.rmtree(d / "test" / n) for n in NAMES], "one folder for each class in .*test"),
        (lambda d: [(d / "test").rename(d / "val"), (d / "valid").mkdir()], "one folder of test images.*val and valid"),
        (lambda d: shutil.rmtree(d), "Expected the folder .*, but there is none"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(tmp_path: Path, spoil: Callable[[Path], object], words: str) -> None:
    source = as_folder(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=words):
        load_data(source)


def test_no_image_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one folder for each class in"):
        load_data(f"imagefolder:{tmp_path}")
    (tmp_path / "cat").mkdir()
    Image.fromarray(PIXELS[0]).save(tmp_path / "cat" / "a.png")
    with pytest.raises(DataError, match="every class has one, so that none is left for the test"):
        load_data(f"imagefolder:{tmp_path}")


@pytest.mark.slow
@given(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.integers(0, 4))
def test_a_class_keeps_its_test_rows_whatever_the_others_are(counts: list[int], gone: int) -> None:
    names = [f"class {k}" for k in range(len(counts))]
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    mark = held_out(labels, names)
    for k, count in enumerate(counts):
        test = int(mark[labels == k].sum())
        assert test == (max(1, round(count / 5)) if count > 1 else 0)
        fewer = [name for name in names if name != names[gone % len(names)]]
        if names[k] in fewer:
            others = torch.tensor([fewer.index(names[j]) for j in labels.tolist() if names[j] in fewer])
            assert torch.equal(held_out(others, fewer)[others == fewer.index(names[k])], mark[labels == k])


# --- Parquet


@pytest.mark.parametrize("place", ["", "data"])
@pytest.mark.parametrize("test", ["test", "validation"])
def test_shards_are_read_in_order(tmp_path: Path, place: str, test: str) -> None:
    folder = tmp_path / place
    folder.mkdir(exist_ok=True)
    for k, rows in enumerate((slice(0, 3), slice(3, 8))):
        write_parquet(folder / f"train-{k:05}-of-00002.parquet", [png(p) for p in PIXELS[rows]], LABELS[rows], NAMES)
    write_parquet(folder / f"{test}-00000-of-00001.parquet", [png(PIXELS[0])], [0], NAMES)
    data = load_data(f"parquet:{tmp_path}")
    assert torch.equal(read(data), torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    assert data.labels("train").tolist() == LABELS
    (folder / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"Expected 2 files like .*train-00000.*, but got 1; fetch"):
        load_data(f"parquet:{tmp_path}")


def test_a_file_and_shards_together_are_refused(tmp_path: Path) -> None:
    source = as_parquet(tmp_path)
    shutil.copy(tmp_path / "train.parquet", tmp_path / "train-1.parquet")
    with pytest.raises(DataError, match=r"either .*train.parquet or shards, but got train-1.parquet too"):
        load_data(source)


def test_shards_of_other_classes_are_refused(tmp_path: Path) -> None:
    as_parquet(tmp_path)
    (tmp_path / "train.parquet").rename(tmp_path / "train-0.parquet")
    write_parquet(tmp_path / "train-1.parquet", [png(PIXELS[0])], [0], NAMES[::-1])
    with pytest.raises(DataError, match="same class names"):
        load_data(f"parquet:{tmp_path}")


def test_files_larger_than_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = as_parquet(tmp_path)
    monkeypatch.setattr(parquet, "free_bytes", lambda _device: 1000)
    with pytest.raises(DataError, match=rf"fit into memory, .* are free; read them from disk with hf:{tmp_path}"):
        load_data(source)


# --- Hugging Face datasets


def hub_error(source: str) -> str:
    with pytest.raises(DataError) as found:
        load_data(source)
    return str(found.value)


def test_a_name_while_offline_says_so() -> None:
    words = hub_error("hf:uoft-cs/cifar10")
    assert words.startswith("Expected to reach 'uoft-cs/cifar10' on the Hugging Face Hub, but this machine is offline")
    assert "HF_HOME" in words


def test_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def nobody(*_: object) -> None:
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", nobody)
    assert "a data set 'a/b' on the Hugging Face Hub, but there is none" in hub_error("hf:a/b:config")


def test_the_configuration_comes_after_a_colon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *given: asked.append(given) or {})
    for source in ("hf:a/b:c", "hf:a/b", f"hf:{tmp_path}"):
        assert "a split 'train'" in hub_error(source)
    assert asked == [("a/b", "c"), ("a/b", None), (str(tmp_path), None)]


def test_a_script_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "made.py").write_text("raise SystemExit('it was run')\n")
    assert "code of others is not run" in hub_error(f"hf:{tmp_path / 'made'}")


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    assert "it cannot be read" in hub_error(f"hf:{tmp_path}")
    as_parquet(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"junk")
    assert "it cannot be read" in hub_error(f"hf:{tmp_path}")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert "pip install 'unlearnkit[hf]'" in hub_error("hf:a/b")


def hub_folder(root: Path, **splits: dict[str, Any]) -> str:
    """Write splits of one image each row; a column is a list of labels, names of classes come in `names`."""
    import datasets

    for split, columns in splits.items():
        names = {**columns.pop("names", {})}
        images = {name: [Image.fromarray(p) for p in PIXELS] for name in columns.pop("images", ["image"])}
        features = {name: datasets.Image() for name in images}
        for name, values in columns.items():
            kind = datasets.Value("string" if isinstance(values[0], str) else "int64")
            features[name] = datasets.ClassLabel(names=names[name]) if name in names else kind
        made = datasets.Dataset.from_dict({**images, **columns}, features=datasets.Features(features))
        made.to_parquet(root / f"{split}.parquet")
    return f"hf:{root}"


def test_without_test_the_hub_gives_a_fifth_of_every_class(tmp_path: Path) -> None:
    data = load_data(hub_folder(tmp_path, train={"label": LABELS}))
    assert data.classes == ("0", "1")
    assert [len(data.train), len(data.test)] == [6, 2]
    rows = torch.cat([read(data), read(data, "test")]).flatten(1).tolist()
    assert sorted(rows) == sorted(torch.from_numpy(PIXELS).permute(0, 3, 1, 2).flatten(1).tolist())


def test_a_test_split_without_labels_is_passed_over(tmp_path: Path) -> None:
    source = hub_folder(tmp_path, train={"label": LABELS}, test={"label": [-1] * 8}, validation={"label": [1] * 8})
    assert load_data(source).labels("test").tolist() == [1] * 8


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"labels": LABELS}, LABELS),
        (
            {"coarse_label": [0] * 8, "fine_label": LABELS, "names": {"coarse_label": ["x"], "fine_label": NAMES}},
            LABELS,
        ),
        ({"label": LABELS, "fine_label": [0] * 8, "names": {"label": NAMES, "fine_label": NAMES}}, LABELS),
        ({"kind": LABELS, "label": [5] * 8, "names": {"kind": NAMES}}, LABELS),
        ({"images": ["image", "mask"], "label": LABELS}, LABELS),
        ({"images": ["img"], "label": LABELS}, LABELS),
    ],
)
def test_columns_are_found(tmp_path: Path, columns: dict[str, Any], expected: list[int]) -> None:
    data = load_data(hub_folder(tmp_path, train=columns, test={**columns}))
    assert data.labels("train").tolist() == expected
    assert torch.equal(read(data), torch.from_numpy(PIXELS).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"a": LABELS, "b": LABELS, "names": {"a": NAMES, "b": NAMES}},
            "one column of class labels.*but got a, b among",
        ),
        ({"species": ["cat"] * 8}, "one column of class labels.*but got none among image .*, species"),
        ({"images": ["left", "right"], "label": LABELS}, "one column of images.*but got left, right among"),
        ({"images": [], "label": LABELS}, "one column of images.*but got none among label"),
        ({"label": [*LABELS[1:], None]}, "every row of the train data of hf:.*but got missing values"),
        ({"label": [*LABELS[1:], -1]}, "labels from 0 to 1 in the train data of hf:.*, but got -1"),
    ],
)
def test_columns_that_do_not_fit_are_refused(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_data(hub_folder(tmp_path, train=columns))


# --- torchvision


def test_other_names_are_refused_with_the_list() -> None:
    with pytest.raises(DataError, match=r"NAME one of CIFAR10, CIFAR100, MNIST.*but got 'CelebA'"):
        load_data("torchvision:CelebA:/tmp")
    with pytest.raises(DataError, match="ROOT is missing"):
        load_data("torchvision:CIFAR10")


@pytest.mark.parametrize(
    "name", ["CIFAR10", "MNIST", "SVHN", "STL10", "Flowers102", "OxfordIIITPet", "GTSRB", "EMNIST"]
)
def test_missing_files_say_how_to_download(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"datasets.{name}\('{tmp_path}', .*download=True\)"):
        load_data(f"torchvision:{name}:{tmp_path}")


def test_mnist_is_read_and_not_mirrored(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, count in (("train", 6), ("t10k", 3)):
        pixels = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        head = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in pixels.shape)
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(range(count))
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(labels)
    data = load_data(f"torchvision:MNIST:{tmp_path}", channels=1)
    assert data.augment == "none"
    assert len(data.classes) == 10
    assert data.labels("test").tolist() == [0, 1, 2]
    assert torch.equal(read(data, "test"), torch.from_numpy(pixels).unsqueeze(1))


def test_parquet_reads_two_columns_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, asked = as_parquet(tmp_path), []
    real = pq.read_table

    def recorded(path: Path, *, columns: list[str], memory_map: bool) -> object:
        asked.extend(columns)
        return real(path, columns=columns, memory_map=memory_map)

    monkeypatch.setattr(pq, "read_table", recorded)
    load_data(source)
    assert sorted(asked) == ["image", "image", "label", "label"]
