"""Rows by number, name, value and content: how they are found, found again, and which look alike."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from canonical import tiny_data
from row_data import PER_CLASS, pixels_of, write_people
from unlearnkit.data import AccessLog, ImageData, ImageSet
from unlearnkit.data.choosing_rows import RowChoice, choose_rows
from unlearnkit.data.duplicates import difference_hash, distances, find_duplicates
from unlearnkit.data.row_names import NamedRows, hashes_of, located, named_rows, order_of
from unlearnkit.data.sources.registry import load_data
from unlearnkit.errors import DataError, RequestError
from unlearnkit.request import ForgetRequest
from unlearnkit.split import split_for

N = 3 * PER_CLASS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people"))


@pytest.fixture
def people(folder: Path) -> ImageData:
    return load_data(f"parquet:{folder}", label_column="label")


def keys(path: Path, text: str) -> RowChoice:
    path.write_text(text, encoding="utf-8")
    return RowChoice(file=path)


def found(choice: RowChoice, data: ImageData) -> tuple[int, ...]:
    return choose_rows(choice, data, AccessLog(data)).rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("row\n4\n0\n", (0, 4)),
        ("file_name\ntrain-7.png\ntrain-3.png\n", (3, 7)),
        ("person\np1\n", tuple(range(1, N, 6))),
        ("﻿taken\r\n2009\r\n\r\n2011\r\n", (9, 11)),
        (f"sha256\n{'{hash}'}\n", (5,)),
    ],
    ids=["numbers", "file names", "text", "numbers in a column", "content"],
)
def test_a_file_names_rows_by_one_kind_of_key(
    text: str, rows: tuple[int, ...], people: ImageData, tmp_path: Path
) -> None:
    people.fix_shape(0)
    log = AccessLog(people)
    digest = hashes_of(people, "train", [5], log)[0]
    assert found(keys(tmp_path / "keys.csv", text.replace("{hash}", digest)), people) == rows
    if "sha256" not in text:
        assert int(people.train.decoded.sum()) <= 2  # the shape's row and the fifth: nothing was looked at


def test_parquet_files_and_conditions_name_rows_too(people: ImageData, tmp_path: Path) -> None:
    pq.write_table(pa.table({"row": [8, 2]}), tmp_path / "keys")
    assert found(RowChoice(file=tmp_path / "keys", where=["person=p2"]), people) == tuple(range(2, N, 6))
    assert found(RowChoice(where=["taken=2001", "taken=2035"]), people) == (1, 35)
    assert not people.train.decoded.any()


def test_a_subclass_has_rows_in_both_sets(people: ImageData) -> None:
    (subclass,) = choose_rows(RowChoice(subclasses=["ant:red"]), people, AccessLog(people)).subclasses
    assert (subclass.name, subclass.train, subclass.test) == ("ant:red", tuple(range(0, N, 6)), (0, 6))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("row\n", "at least one row in .*, but got none"),
        ("", "but got none"),
        ("row,file_name\n1,train-1.png\n", "one kind of key in .*, but got 2 columns \\('row', 'file_name'\\)"),
        ("row\n1\ntrain-2.png\n", "got 'train-2.png'; write whole numbers, or file names under"),
        ("row\n1\n-2\n", "got '-2'"),
        ("1\n2\n", "name of the column in the first line of .*, but got '1'; write 'row' above"),
        ("rwo\n1\n", "no 'rwo' \\(did you mean 'row'"),
        ("row\n1\n1\n", "row 1 is named twice"),
        ("file_name\ntrain-1.png\ntrain-1.png\n", "'train-1.png' is named twice"),
        ("file_name\ntrain-99.png\n", "none is called 'train-99.png' \\(did you mean 'train-9.png'"),
        ("file_name\ntest-3.png\n", "'test-3.png' is in the test data alone"),
        ("persn\np1\n", "no 'persn' \\(did you mean 'person'\\?\\)"),
        ("person\np9\n", "no training row has 'p9'"),
        ("sha256\nabc\n", "none has 'abc'"),
        ("\0", "but "),
    ],
)
def test_keys_that_name_no_row_are_refused(text: str, words: str, people: ImageData, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=words):
        found(keys(tmp_path / "keys.csv", text), people)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (RowChoice(file=Path("missing.csv")), "missing.csv, but it cannot be read"),
        (RowChoice(where=["person"]), "Expected column=value, but got 'person'"),
        (RowChoice(where=["peson=p1"]), "did you mean 'person'"),
        (RowChoice(where=["label=ant"]), "no 'label'"),  # what the model is trained on is --forget's business
        (RowChoice(subclasses=["ant"]), "write them as COARSE:FINE"),
        (RowChoice(subclasses=["ent:red"]), "did you mean 'ant'"),
        (RowChoice(subclasses=["ant:redd"]), "has 'redd' in it \\(did you mean 'red'\\?\\)"),
        (RowChoice(subclasses=["ant:p0"]), None),
    ],
)
def test_conditions_that_name_no_row_are_refused(choice: RowChoice, words: str | None, people: ImageData) -> None:
    if words is None:  # any column may part a class
        assert choose_rows(choice, people, AccessLog(people)).subclasses[0].train == tuple(range(0, N, 6))
        return
    with pytest.raises(RequestError, match=words):
        choose_rows(choice, people, AccessLog(people))


def test_data_without_names_takes_numbers_alone(tmp_path: Path) -> None:
    digits = load_data("digits")
    assert found(keys(tmp_path / "a", "row\n3\n"), digits) == (3,)
    for text in ("file_name\na.png\n", "person\nx\n"):
        with pytest.raises(RequestError, match="but digits has none; name training rows by number"):
            found(keys(tmp_path / "a", text), digits)


def test_an_image_folder_names_files_and_has_metadata(tmp_path: Path) -> None:
    for side, count in (("train", 4), ("test", 2)):
        for name in ("ant", "bee"):
            (tmp_path / side / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(pixels_of(i)).save(tmp_path / side / name / f"{i}.png")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,person\nant/1.png,Ada\nbee/0.png,Ada\n")
    data = load_data(f"imagefolder:{tmp_path}")
    assert found(RowChoice(where=["person=Ada"]), data) == (1, 4)
    assert found(keys(tmp_path / "a", "file_name\ntrain/bee/3.png\nant/0.png\n"), data) == (0, 7)
    with pytest.raises(RequestError, match=r"'0\.png' is that of 2; give more of its path"):
        found(keys(tmp_path / "a", "file_name\n0.png\n"), data)
    (tmp_path / "train" / "metadata.csv").write_text("name,person\nant/1.png,Ada\n")
    with pytest.raises(DataError, match=r"column 'file_name' in .*metadata\.csv"):
        found(RowChoice(where=["person=Ada"]), load_data(f"imagefolder:{tmp_path}"))


# ---- content ------------------------------------------------------------------------------------------------------


def test_rows_are_found_again_after_the_data_was_reordered(people: ImageData, tmp_path: Path) -> None:
    log = AccessLog(people)
    named = named_rows(people, "train", (9, 4, 20), log)
    assert NamedRows.from_record(named.as_record()) == named
    image = people.train.images(torch.tensor([4]), torch.device("cpu"))[0]
    assert named.by_number[4] == hashlib.sha256(b"torch.uint8(3, 8, 8)" + image.numpy().tobytes()).hexdigest()
    order = [*range(20, N), *range(20)]
    moved = load_data(f"parquet:{write_people(tmp_path, order=order)}", label_column="label")
    assert order_of(moved, "train") != named.order
    again = located(named, moved, AccessLog(moved), check=True)
    assert {order[number] for number in again.numbers} == {9, 4, 20}
    assert again.by_number[order.index(9)] == named.by_number[9]
    gone = load_data(f"parquet:{write_people(tmp_path, order=[r for r in order if r != 9])}", label_column="label")
    assert len(located(named, gone, AccessLog(gone), check=True).numbers) == 2
    none = load_data(f"parquet:{write_people(tmp_path, order=range(21, N))}", label_column="label")
    with pytest.raises(RequestError, match="none of its images has the content of one"):
        located(named, none, AccessLog(none), check=True)
    assert located(named, none, AccessLog(none), check=False).numbers == ()


def test_where_the_order_holds_only_rows_that_may_be_read_are_read(people: ImageData) -> None:
    named = named_rows(people, "train", (9, 4), AccessLog(people))
    people = load_data(people.source, label_column="label")
    assert located(named, people, AccessLog(people), check=False) == named
    assert not people.train.decoded.any()
    assert located(named, people, AccessLog(people), check=True) == named
    assert torch.nonzero(people.train.decoded).flatten().tolist() == [4, 9]


def test_reads_for_naming_are_counted_apart(people: ImageData) -> None:
    log, split = AccessLog(people), split_for(ForgetRequest(rows=(9, 4)), people)
    named_rows(people, "train", (9, 4), log)
    summary = log.summary(split)
    assert summary["forget_samples_read_by_naming"] == 2
    assert summary["forget_samples_read"] == summary["forget_samples_read_by_audit"] == 0
    assert summary["parts"]["forget_train"]["ant"]["read_by_naming"] == 1


@pytest.mark.parametrize("change", [{"sha256": ["x"]}, {"numbers": [1, 1]}, {"numbers": [-1]}, {"side": "val"}])
def test_a_damaged_record_of_rows_is_refused(change: dict[str, object], people: ImageData) -> None:
    record = named_rows(people, "train", (1,), AccessLog(people)).as_record() | change
    with pytest.raises(ValueError, match="row"):
        NamedRows.from_record(record)


def test_duplicates_in_the_retained_part_are_found(tmp_path: Path) -> None:
    data = load_data(f"parquet:{write_people(tmp_path, same={30: 6, 31: 6})}", label_column="label")
    log, split = AccessLog(data), split_for(ForgetRequest(rows=(6, 31), already_forgotten_rows=(30,)), data)
    data.fix_shape(0)
    assert find_duplicates(data, split, log).exact == ()  # 31 is to be forgotten itself, 30 is gone
    split = split_for(ForgetRequest(rows=(6,)), data)
    pairs = find_duplicates(data, split, AccessLog(data))
    assert pairs.exact == ((6, 30), (6, 31))
    assert (pairs.as_record()["exact"], pairs.looked_at) == (2, N - 1)
    assert not any(b == 6 for _, b in (*pairs.exact, *pairs.near))


def test_like_hashes_of_another_brightness_are_no_near_duplicates() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).view(1, 8, 8)
    images = torch.stack([ramp, ramp + 3, ramp + 100, 70 - ramp])
    pixels = ImageSet(torch.tensor([0, 0, 0, 0]), lambda _row: (1, 8, 8), lambda rows, _shape: images[list(rows)])
    data = replace(tiny_data(), train=pixels)
    data.fix_shape(0)
    found = find_duplicates(data, split_for(ForgetRequest(rows=(0,)), data, val_fraction=0), AccessLog(data))
    assert (found.exact, found.near) == ((), ((0, 1),))


def test_the_difference_hash_is_of_the_brightness_of_neighbours() -> None:
    ramp = torch.arange(72).view(1, 1, 8, 9).float()
    assert difference_hash(ramp).sum() == 64
    assert difference_hash(-ramp).sum() == 0
    noise = torch.rand((6, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    hashes = difference_hash(noise)
    assert distances(hashes, hashes).diagonal().tolist() == [0.0] * 6
    by_hand = [[int((a ^ b).sum()) for b in hashes] for a in hashes]
    assert distances(hashes, hashes).tolist() == by_hand
    slightly = difference_hash((noise + 0.01).clamp(0, 1))
    assert int(distances(hashes, slightly).diagonal().max()) <= 4
    assert int((distances(hashes, hashes) + 64 * torch.eye(6)).min()) > 4
