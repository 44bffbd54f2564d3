"""Which files of a folder are read, in what order, and what is said of those that are not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from unlearnkit import load_data
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.data.sources.decode import PictureDecoder
from unlearnkit.data.sources.formats import ENDINGS, FORMATS, open_picture
from unlearnkit.data.sources.torchvision_sets import TorchvisionImages
from unlearnkit.errors import DataError

CPU = torch.device("cpu")
APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X        " + b"\0" * 80


def picture(value: int) -> Image.Image:
    return Image.fromarray(np.full((6, 6, 3), value, dtype=np.uint8))


def folder_of(root: Path, *names: str, count: int = 4) -> Path:
    """Write root/train/CLASS/k.png and root/test/CLASS/k.png."""
    for side in ("train", "test"):
        for k, name in enumerate(names):
            place = root / side / name
            place.mkdir(parents=True)
            for i in range(count):
                picture(20 * k + i).save(place / f"{i}.png")
    return root


def test_hidden_files_are_skipped_and_said(tmp_path: Path) -> None:
    folder_of(tmp_path, "cat", "dog")
    for place in (tmp_path / side / name for side in ("train", "test") for name in ("cat", "dog")):
        (place / "._0.png").write_bytes(APPLE_DOUBLE)
        (place / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    checkpoints = tmp_path / "train" / "cat" / ".ipynb_checkpoints"
    checkpoints.mkdir()
    picture(0).save(checkpoints / "0-checkpoint.png")
    (tmp_path / "train" / "__MACOSX").mkdir()
    data = load_data(f"imagefolder:{tmp_path}")
    assert data.classes == ("cat", "dog")
    assert [len(data.train), len(data.test)] == [8, 8]
    assert data.remarks == ("8 files were not read: 8 hidden; 2 hidden folders were skipped.",)


def test_what_is_not_read_is_counted_by_ending(tmp_path: Path) -> None:
    folder_of(tmp_path, "cat", "dog")
    for k in range(10):
        (tmp_path / "train" / "cat" / f"{k}.TXT").write_text("about a cat")
    for k in range(2):
        (tmp_path / "test" / "dog" / f"{k}.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    (tmp_path / "train" / "labels.csv").write_text("1")
    (tmp_path / "README").write_text("about")
    data = load_data(f"imagefolder:{tmp_path}")
    assert data.remarks == ("14 files were not read: 10 .txt, 2 .mp4, 1 without an ending, 1 .csv.",)
    assert not data.train.decoded.any()


def test_folders_beside_the_training_data_are_said(tmp_path: Path) -> None:
    folder_of(tmp_path, "cat", "dog")
    (tmp_path / "val").mkdir()
    (tmp_path / "unlabeled").mkdir()
    data = load_data(f"imagefolder:{tmp_path}")
    assert data.remarks == ("Folders beside the training data were not read: 'unlabeled', 'val'.",)


def test_still_images_are_read_whatever_their_format_and_ending(tmp_path: Path) -> None:
    """By ending in any case; by content where the ending says nothing."""
    place = folder_of(tmp_path, "cat", "dog") / "train" / "cat"
    shutil.rmtree(place)
    place.mkdir()
    for name, kind in FORMATS.items():
        for ending in kind:
            picture(100).save(place / f"x{ending}", format=name)
    for name in ("JPEG", "PNG", "GIF", "WEBP", *(["AVIF"] if "AVIF" in FORMATS else [])):
        picture(100).save(place / name.lower(), format=name)
        picture(100).save(place / f"{name.lower()}.download", format=name)
    picture(100).save(place / "y.JPG", format="JPEG")
    picture(100).save(place / "z.JfIf", format="JPEG")
    data = load_data(f"imagefolder:{tmp_path}")
    rows = torch.nonzero(data.labels("train") == 0).flatten()
    assert len(rows) == len(ENDINGS) + 2 * (len(FORMATS) - 3) + 2
    assert data.remarks == ()
    data.fix_shape(0)
    assert (data.train.images(rows, CPU).int() - 100).abs().max() <= 3


def test_the_first_frame_of_a_gif_is_taken(tmp_path: Path) -> None:
    place = folder_of(tmp_path, "cat", "dog") / "train" / "cat"
    picture(200).save(place / "0.gif", save_all=True, append_images=[picture(10), picture(20)])
    data = load_data(f"imagefolder:{tmp_path}")
    data.fix_shape(0)
    assert data.train.images(torch.tensor([0]), CPU).unique().tolist() == [200]


def test_torchvision_sets_start_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loaded:
        """Opens files as the data sets of torchvision do."""

        def __getitem__(self, row: int) -> tuple[Image.Image, int]:
            return Image.open(paths[row]).convert("RGB"), 0

    paths = [tmp_path / "0.jpg", tmp_path / "1.jpg"]
    picture(3).save(paths[0])
    picture(3).save(paths[1], format="EPS")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    started: list[object] = []
    monkeypatch.setattr("subprocess.check_call", lambda *given, **more: started.append((given, more)))
    decoder = PictureDecoder(TorchvisionImages(Loaded(), "the train data of DTD"), Preprocessing())
    assert decoder.decode([0], (3, 6, 6)).shape == (1, 3, 6, 6)
    with pytest.raises(DataError, match=r"row 1 in the train data of DTD does not decode"):
        decoder.decode([1], (3, 6, 6))
    assert started == []
    assert EpsImagePlugin.gs_binary == "gs"


@pytest.mark.parametrize("name", ["x.eps", "x.png", "x"])
def test_postscript_starts_no_program(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given: started.append(given))
    place = folder_of(tmp_path, "cat", "dog") / "train" / "cat"
    picture(3).save(place / name, format="EPS")
    with pytest.raises(UnidentifiedImageError):
        open_picture(place / name)
    data = load_data(f"imagefolder:{tmp_path}")
    if name == "x.png":
        data.fix_shape(0)
        with pytest.raises(DataError, match=r"x.png does not decode \(not an image of a format that is read: JPEG"):
            data.train.images(torch.arange(len(data.train)), CPU)
    else:
        assert data.remarks[0].startswith("1 file was not read: 1 ")
    assert started == []


def test_a_folder_whose_files_are_all_left_out_says_which(tmp_path: Path) -> None:
    folder_of(tmp_path, "cat", "dog")
    (tmp_path / "train" / "cow").mkdir()
    (tmp_path / "train" / "cow" / "1.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(DataError, match=r"'cow' has none \(1 file was not read: 1 .heic\); add .*--classes"):
        load_data(f"imagefolder:{tmp_path}")


def test_an_empty_folder_is_fine_where_the_class_list_has_it(tmp_path: Path) -> None:
    folder_of(tmp_path, "cat", "dog")
    (tmp_path / "train" / "cow").mkdir()
    data = load_data(f"imagefolder:{tmp_path}", classes=("dog", "cow", "cat"))
    assert data.labels("train").tolist() == [2] * 4 + [0] * 4
    with pytest.raises(DataError, match="'cow' has none"):
        load_data(f"imagefolder:{tmp_path}", classes=("dog", "cat"))


def test_a_link_back_does_not_read_the_same_files_twice(tmp_path: Path) -> None:
    place = folder_of(tmp_path, "cat", "dog") / "train" / "cat"
    (place / "loop").symlink_to(place, target_is_directory=True)
    assert len(load_data(f"imagefolder:{tmp_path}").train) == 8


def test_names_on_disk_need_be_no_text(tmp_path: Path) -> None:
    place = folder_of(tmp_path, "cat", "dog") / "train" / "cat"
    try:
        (place / "0.png").rename(os.fsdecode(os.fsencode(place) + b"/caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    data = load_data(f"imagefolder:{tmp_path}")
    data.fix_shape(0)
    assert len(data.train.images(torch.arange(8), CPU)) == 8
    place.rename(os.fsdecode(os.fsencode(place.parent) + b"/caf\xe9"))
    with pytest.raises(DataError, match="Expected folder names in UTF-8"):
        load_data(f"imagefolder:{tmp_path}")


# --- folders and class names


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_folders_that_differ_in_form_alone_are_one_class(tmp_path: Path) -> None:
    folder_of(tmp_path, COMPOSED, "dog")
    (tmp_path / "test" / COMPOSED).rename(tmp_path / "test" / DECOMPOSED)
    data = load_data(f"imagefolder:{tmp_path}")
    assert data.classes == (COMPOSED, "dog")
    assert [torch.bincount(data.labels(side)).tolist() for side in ("train", "test")] == [[4, 4]] * 2  # type: ignore[arg-type]
    assert data.remarks == ()
    shutil.copytree(tmp_path / "train" / COMPOSED, tmp_path / "train" / DECOMPOSED)
    data = load_data(f"imagefolder:{tmp_path}")
    assert torch.bincount(data.labels("train")).tolist() == [8, 4]
    assert data.remarks == (f"Folders whose names differ in Unicode form alone were read as one class: {COMPOSED!r}.",)
    assert data.with_classes(("dog", DECOMPOSED)).labels("train").tolist() == [1] * 8 + [0] * 4


def test_the_order_is_that_of_the_folders_on_disk(tmp_path: Path) -> None:
    """A model that another tool trained on these folders has its outputs in their order, not in that of the names."""
    folder_of(tmp_path, DECOMPOSED, "cafz")
    data = load_data(f"imagefolder:{tmp_path}")
    assert data.classes == (COMPOSED, "cafz")
    assert sorted(data.classes) == ["cafz", COMPOSED]
    assert "as they stand on disk" in data.remarks[0]
    assert load_data(f"imagefolder:{tmp_path}", classes=("cafz", COMPOSED)).remarks == ()


def test_numbers_in_the_order_of_text_are_said(tmp_path: Path) -> None:
    folder_of(tmp_path, *(str(k) for k in range(11)), count=1)
    data = load_data(f"imagefolder:{tmp_path}")
    assert data.classes[:4] == ("0", "1", "10", "2")
    assert data.remarks[0].startswith("The class folders are numbers in the order of text (0, 1, 10, 2, ...); a model")
    classes = tuple(str(k) for k in range(11))
    given = load_data(f"imagefolder:{tmp_path}", classes=classes)
    assert given.remarks == ()
    assert given.classes == classes
    assert given.labels("train")[2] == 10


# --- the two sides


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAIN", "val"), ("train", "Validation")])
def test_the_sides_are_found_in_any_case(names: tuple[str, str], tmp_path: Path) -> None:
    folder_of(tmp_path / "x", "cat", "dog")
    for old, new in zip(("train", "test"), names, strict=True):
        shutil.move(tmp_path / "x" / old, tmp_path / new)
    (tmp_path / "x").rmdir()
    data = load_data(f"imagefolder:{tmp_path}")
    assert data.classes == ("cat", "dog")
    assert [len(data.train), len(data.test)] == [8, 8]


def test_a_class_may_be_called_like_a_side(tmp_path: Path) -> None:
    for name in ("Train", "bus"):
        (tmp_path / name).mkdir()
        for k in range(3):
            picture(k).save(tmp_path / name / f"{k}.png")
    assert load_data(f"imagefolder:{tmp_path}").classes == ("Train", "bus")


def _twice(root: Path) -> None:
    shutil.copytree(root / "train", root / "Train")


def _renamed(root: Path) -> None:
    (root / "train").rename(root / "training")
    (root / "test").rename(root / "testing")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_twice, "one folder of that name in .*, but got 'Train', 'train'"),
        (_renamed, "'testing', 'training', which look like parts of the data; rename them"),
    ],
)
def test_sides_that_are_not_clear_are_refused(spoil: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    spoil(folder_of(tmp_path, "cat", "dog"))
    with pytest.raises(DataError, match=words):
        load_data(f"imagefolder:{tmp_path}")
