"""The columns of images and labels, found alike in Parquet files and through `datasets`."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pictures_on_disk import png
from unlearnkit import ImageData, load_data
from unlearnkit.data.sources.columns import find_columns
from unlearnkit.errors import ConfigError, DataError

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 5, 3), dtype=np.uint8)
IDS = [0, 0, 1, 1, 2, 2, 3, 3]
NAMES = ("ant", "bee", "cow", "dog")
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
PICTURES = pa.array([{"bytes": png(p), "path": None} for p in PIXELS], STRUCT)
BARE = pa.array([png(p) for p in PIXELS], pa.binary())
IMAGE = {"_type": "Image"}
TEXT = [NAMES[k] for k in IDS]


def class_label(*names: str) -> dict[str, Any]:
    return {"names": list(names), "_type": "ClassLabel"}


def write(folder: Path, columns: dict[str, Any], features: dict[str, Any] | None = None, side: str = "") -> Path:
    """Write the same table as train and test."""
    table = pa.table(
        {name: column if isinstance(column, pa.Array) else pa.array(column) for name, column in columns.items()}
    )
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    for name in [side] if side else ["train", "test"]:
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


@pytest.fixture(autouse=True)
def private_caches(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("hf"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


def read(data: ImageData, side: str = "train") -> torch.Tensor:
    data.fix_shape(0)
    stored = data.train if side == "train" else data.test
    return stored.images(torch.arange(len(stored)), CPU)


both = pytest.mark.parametrize("kind", ["parquet", "hf"])

FITTING: dict[str, tuple[dict[str, Any], dict[str, Any] | None, Sequence[str], Sequence[str]]] = {
    # columns, features -> class names, words of the remarks
    "img": ({"img": PICTURES, "label": IDS}, {"img": IMAGE, "label": class_label(*NAMES)}, NAMES, []),
    "fine": (
        {"img": PICTURES, "fine_label": IDS, "coarse_label": [k // 2 for k in IDS]},
        {"img": IMAGE, "fine_label": class_label(*NAMES), "coarse_label": class_label("insect", "mammal")},
        NAMES,
        ["'fine_label' is read, not 'coarse_label' (--label-column"],
    ),
    "labels": ({"image": PICTURES, "labels": IDS}, None, "0123", []),
    "class": ({"image": PICTURES, "class": IDS}, None, "0123", []),
    "fine, no features": (
        {"image": PICTURES, "fine_label": IDS, "id": [7] * 8},
        {
            "image": IMAGE,
            "fine_label": {"dtype": "int64", "_type": "Value"},
            "id": {"dtype": "int64", "_type": "Value"},
        },
        "0123",
        [],
    ),
    "text": (
        {"image": PICTURES, "label": TEXT},
        {"image": IMAGE, "label": {"dtype": "string", "_type": "Value"}},
        NAMES,
        ["are text: its 4 classes are in the order of their names ('ant', 'bee', 'cow', 'dog')"],
    ),
    "text in another order": (
        {"image": PICTURES, "label": TEXT[::-1]},
        None,
        NAMES,
        ["are text"],
    ),
    "dictionary": ({"image": PICTURES, "label": pa.array(TEXT).dictionary_encode()}, None, NAMES, ["are text"]),
    "numbers as text": (
        {"image": PICTURES, "label": [("0", "1", "10", "2")[k] for k in IDS]},
        None,
        ("0", "1", "10", "2"),
        ["are text", "order of the numbers needs its class list (--classes)"],
    ),
    "binary": ({"image": BARE, "label": IDS}, None, "0123", []),
    "large": ({"image": BARE.cast(pa.large_binary()), "label": pa.array(IDS, pa.uint8())}, None, "0123", []),
    "binary besides": ({"hash": BARE, "img": PICTURES, "label": IDS}, None, "0123", []),
    "two images": ({"mask": PICTURES, "image": PICTURES, "label": IDS}, None, "0123", ["'image' is read, not 'mask'"]),
    "from one": (
        {"image": PICTURES, "label": [k + 1 for k in IDS]},
        None,
        "1234",
        ["start from 1 and have no names: output 0 of a model is taken for label 1"],
    ),
    "forms": (
        {"image": PICTURES, "label": ["caf\u00e9", "cafe\u0301"] * 4},
        None,
        ("caf\u00e9",),
        ["are text"],
    ),
    "names in one form": (
        {"image": PICTURES, "label": IDS},
        {"image": IMAGE, "label": class_label("ant", "cafe\u0301", "cow", "dog")},
        ("ant", "caf\u00e9", "cow", "dog"),
        [],
    ),
    "lists besides": ({"image": PICTURES, "fine_label": IDS, "target": [[k] for k in IDS]}, None, "0123", []),
}


@both
@pytest.mark.parametrize("name", FITTING)
def test_columns_are_found_by_their_types(kind: str, name: str, tmp_path: Path) -> None:
    columns, features, names, remarks = FITTING[name]
    data = load_data(f"{kind}:{write(tmp_path, columns, features)}")
    assert data.classes == tuple(names)
    expected = [0] * 8 if name == "forms" else IDS[::-1] if name == "text in another order" else IDS
    for side in ("train", "test"):
        assert data.labels(side).tolist() == expected  # type: ignore[arg-type]
    assert len(data.remarks) == len(remarks)
    for words, said in zip(remarks, data.remarks, strict=True):
        assert words in said
    assert data.named == (tuple(names) not in (tuple("0123"), tuple("1234")))
    assert not data.train.decoded.any()
    assert not data.test.decoded.any()
    assert torch.equal(read(data), torch.from_numpy(PIXELS).permute(0, 3, 1, 2))


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str]] = {
    "lists": (
        {"image": PICTURES, "label": [[k, (k + 1) % 4] for k in IDS]},
        None,
        "one label for each image in .*, but column 'label' holds lists of them.*--label-column",
    ),
    "lists of class labels": (
        {"image": PICTURES, "labels": [[k] for k in IDS]},
        {"image": IMAGE, "labels": {"feature": class_label(*NAMES), "_type": "List"}},
        "column 'labels' holds lists",
    ),
    "floats": (
        {"image": PICTURES, "label": [0.5] * 8},
        None,
        "integer labels or text in .*'label' is of the type double",
    ),
    "no labels": ({"image": PICTURES, "species": IDS}, None, r"but got none among image \(struct<.*species \(int64\)"),
    "two labels": (
        {"image": PICTURES, "labels": IDS, "target": IDS},
        None,
        "class labels in .*, but got labels, target among .*choose one by --label-column",
    ),
    "two class labels": (
        {"image": PICTURES, "a": IDS, "b": IDS},
        {"image": IMAGE, "a": class_label(*NAMES), "b": class_label(*NAMES)},
        "class labels in .*, but got a, b among",
    ),
    "two images": (
        {"left": PICTURES, "right": PICTURES, "label": IDS},
        None,
        "column of images in .*, but got left, right among .*choose one by --image-column",
    ),
    "no images": ({"label": IDS, "url": TEXT}, None, "column of images in .*, but got none among label"),
    "sounds": (
        {"audio": PICTURES, "label": IDS},
        {"audio": {"_type": "Audio"}, "label": class_label(*NAMES)},
        "column of images in .*, but got none among audio",
    ),
    "missing text": ({"image": PICTURES, "label": [*TEXT[1:], None]}, None, "every row of .*but got missing values"),
    "empty text": ({"image": PICTURES, "label": [*TEXT[1:], ""]}, None, "every row of .*but some are empty"),
    "names twice": (
        {"image": PICTURES, "label": [0, 1] * 4},
        {"image": IMAGE, "label": class_label("cafe\u0301", "caf\u00e9")},
        "'caf\u00e9' stands for more than one class",
    ),
    "negative": ({"image": PICTURES, "label": [*IDS[1:], -1]}, None, "labels from 0 to 3 in .*, but got -1"),
    "beyond the names": (
        {"image": PICTURES, "label": [*IDS[1:], 4]},
        {"image": IMAGE, "label": class_label(*NAMES)},
        "labels from 0 to 3 in .*, but got 4",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_columns_that_do_not_fit_are_refused_by_name(name: str, tmp_path: Path) -> None:
    columns, features, words = REFUSED[name]
    with pytest.raises(DataError, match=words):
        load_data(f"parquet:{write(tmp_path, columns, features)}")


@pytest.mark.parametrize("name", ["lists", "floats", "no labels", "two labels", "two images", "empty text", "negative"])
def test_datasets_are_refused_in_the_same_words(name: str, tmp_path: Path) -> None:
    columns, features, words = REFUSED[name]
    with pytest.raises(DataError, match=words):
        load_data(f"hf:{write(tmp_path, columns, features)}")


@both
def test_columns_may_be_named(kind: str, tmp_path: Path) -> None:
    columns = {"left": PICTURES, "right": BARE, "a": IDS, "coarse_label": [k // 2 for k in IDS], "x": [[1]] * 8}
    features = {"left": IMAGE, "a": class_label(*NAMES), "coarse_label": class_label("insect", "mammal")}
    source = f"{kind}:{write(tmp_path, columns, features if kind == 'parquet' else None)}"
    data = load_data(source, image_column="right", label_column="coarse_label")
    assert data.labels("train").tolist() == [k // 2 for k in IDS]
    assert data.classes == (("insect", "mammal") if kind == "parquet" else ("0", "1"))
    assert data.remarks == ()
    assert torch.equal(read(data), torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    for given, words in (
        ({"label_column": "x"}, "column 'x' holds lists"),
        ({"label_column": "nope"}, "Expected a column 'nope' in .*, as --label-column says, but it has left, right, a"),
        ({"image_column": "a"}, "column of encoded images in .*, but 'a' is of the type int64"),
        ({"image_column": "nope"}, "as --image-column says"),
    ):
        with pytest.raises(DataError, match=words):
            load_data(source, **{"image_column": "left", "label_column": "a"} | given)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["digits", "imagefolder:DIR", "torchvision:MNIST:x"])
def test_other_sources_have_no_columns(source: str) -> None:
    with pytest.raises(ConfigError, match="name of a column for a table alone"):
        load_data(source, label_column="label")


def test_damaged_metadata_are_as_none() -> None:
    schema = pa.schema([("image", STRUCT), ("label", pa.int64())])
    for raw in (b"{", b"[]", b'{"info": {"features": 3}}', b'{"info": {"features": {"label": [1], "image": 2}}}'):
        found = find_columns(schema.with_metadata({"huggingface": raw}), "made")
        assert (found.image, found.label, found.names) == ("image", "label", None)


@both
def test_a_list_names_nameless_labels_by_position(kind: str, tmp_path: Path) -> None:
    source = f"{kind}:{write(tmp_path, {'image': PICTURES, 'label': IDS})}"
    data = load_data(source, classes=NAMES)
    assert data.classes == NAMES
    assert data.labels("train").tolist() == IDS
    assert "label 0 is taken for 'ant', the first of the 4 classes" in data.remarks[0]
    with pytest.raises(DataError, match="has the label 3"):
        load_data(source, classes=NAMES[:3])


@both
def test_labels_from_one_and_a_list(kind: str, tmp_path: Path) -> None:
    source = f"{kind}:{write(tmp_path, {'image': PICTURES, 'label': [k + 1 for k in IDS]})}"
    data = load_data(source, classes=NAMES)
    assert data.labels("test").tolist() == IDS
    assert "label 1 is taken for 'ant'" in data.remarks[0]
    # a model whose output 0 nobody uses
    unused = load_data(source, classes=("background", *NAMES))
    assert unused.labels("test").tolist() == [k + 1 for k in IDS]


def test_a_class_that_is_gone_does_not_shift_the_others(tmp_path: Path) -> None:
    """Nameless labels after the data of the first class have been deleted, under the list that the weights hold."""
    kept = [k for k in IDS if k]
    write(tmp_path, {"image": PICTURES[2:], "label": kept})
    data = load_data(f"parquet:{tmp_path}", classes=("0", "1", "2", "3"))
    assert data.labels("train").tolist() == kept
    write(tmp_path, {"image": PICTURES[2:], "label": [k + 1 for k in kept]})
    data = load_data(f"parquet:{tmp_path}", classes=("1", "2", "3", "4"))
    assert data.labels("train").tolist() == kept


@both
def test_text_labels_under_a_list(kind: str, tmp_path: Path) -> None:
    source = f"{kind}:{write(tmp_path, {'image': PICTURES, 'label': TEXT})}"
    data = load_data(source, classes=("dog", "eel", "cow", "bee", "ant"))
    assert data.labels("train").tolist() == [4, 4, 3, 3, 2, 2, 0, 0]
    assert data.remarks == ()
    with pytest.raises(DataError, match="also holds 'ant', 'bee'"):
        load_data(source, classes=("cow", "dog"))


def test_shards_must_agree(tmp_path: Path) -> None:
    write(tmp_path, {"image": PICTURES, "label": IDS}, side="train")
    write(tmp_path, {"image": PICTURES, "label": TEXT}, side="test")
    with pytest.raises(DataError, match="labels of one type in"):
        load_data(f"parquet:{tmp_path}")
    write(tmp_path, {"image": PICTURES, "labels": IDS}, side="test")
    with pytest.raises(
        DataError, match=r"same columns in all files of .*'image' and 'label' in one and 'image' and 'labels'"
    ):
        load_data(f"parquet:{tmp_path}")


def test_a_test_split_without_text_labels_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, {"image": PICTURES, "label": TEXT}, side="train")
    write(tmp_path, {"image": PICTURES, "label": pa.array([None] * 8, pa.string())}, side="test")
    data = load_data(f"hf:{tmp_path}")
    assert data.classes == NAMES
    assert [len(data.train), len(data.test)] == [4, 4]


@both
def test_postscript_in_a_table_starts_no_program(kind: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(buffer, format="EPS")
    raw = pa.array([{"bytes": buffer.getvalue(), "path": "x.png"}, *PICTURES.to_pylist()[1:]], STRUCT)
    data = load_data(f"{kind}:{write(tmp_path, {'image': raw, 'label': IDS})}", image_size=5)
    data.fix_shape(0)
    with pytest.raises(DataError, match=r"'x.png'.* does not decode .not an image of a format that is read"):
        data.train.images(torch.tensor([0]), CPU)
