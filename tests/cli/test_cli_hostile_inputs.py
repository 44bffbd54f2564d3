"""Inputs that a stranger made: pipes, names that a terminal acts on, headers with two meanings, pictures of no end."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from commands import assert_refused, run_cli
from pictures_on_disk import picture
from unlearnkit.data.preprocessing import Preprocessing
from unlearnkit.data.sources.decode import PictureDecoder
from unlearnkit.data.sources.formats import MOST_PIXELS, open_picture
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.models.metadata import ModelCard

QUICK = ("--quiet", "--device", "cpu")


def train(data: object, *more: object, out: Path) -> Any:
    return run_cli(
        "train", "--model", "small-cnn", "--epochs", 1, "--image-size", 8, "--data", data, "--out", out, *QUICK, *more
    )


def folder_of(root: Path, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    for side in ("train", "test"):
        for k, name in enumerate(names):
            (root / side / name).mkdir(parents=True)
            for i in range(2):
                picture(k, i).save(root / side / name / f"{i}.png")
    return root


# --- what is no file


@pytest.mark.parametrize("option", ["--weights", "--retrained", "--classes"])
def test_a_pipe_is_refused_and_not_waited_for(option: str, weights: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    given = {"--weights": weights} | {option: tmp_path / "pipe"}
    words = [word for pair in given.items() for word in pair]
    done = run_cli("forget", *words, "--data", "digits", "--forget", 3, "--out", tmp_path / "out", *QUICK)
    assert_refused(done, str(tmp_path / "pipe"), "a pipe")


def test_a_device_is_refused(tmp_path: Path) -> None:
    done = run_cli(
        "forget", "--weights", "/dev/zero", "--data", "digits", "--forget", 3, "--out", tmp_path / "o", *QUICK
    )
    assert_refused(done, "/dev/zero", "a device")


def test_a_picture_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data")
    os.mkfifo(data / "train" / "cat" / "2.png")
    assert_refused(train(f"imagefolder:{data}", out=tmp_path / "out"), "2.png", "a pipe")


def test_a_shard_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for side in ("train", "test"):
        os.mkfifo(tmp_path / "data" / f"{side}-0.parquet")
    assert_refused(train(f"parquet:{tmp_path / 'data'}", out=tmp_path / "out"), "train-0.parquet", "a pipe")


# --- names

ACTING = ["cat\x1b[2K", "cat\ndog", "cat\r", "cat\x7f", "cat\u2028"]


@pytest.mark.parametrize("name", ACTING)
def test_a_class_folder_is_named_by_text(name: str, tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data", (name, "dog"))
    assert_refused(train(f"imagefolder:{data}", out=tmp_path / "out"), "class name", "control characters")


def test_a_class_folder_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data")
    for side in ("train", "test"):
        os.rename(os.fsencode(data / side / "cat"), os.fsencode(data / side) + b"/cat\xff")
    assert_refused(train(f"imagefolder:{data}", out=tmp_path / "out"), "folder names in UTF-8", r"b'cat\xff'")


@pytest.mark.parametrize("name", ["cat\x1b[2K", "cat\x00"])
def test_a_class_list_holds_text(name: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text(f"{name}\ndog\n")
    done = train("digits", "--classes", tmp_path / "classes.txt", out=tmp_path / "out")
    assert_refused(done, "classes.txt", "NUL characters" if "\x00" in name else "control characters")


def test_names_in_a_table_are_text(tmp_path: Path, parquet_folder: Callable[..., Path]) -> None:
    data = parquet_folder(names=("red\x1b[2K", "green", "blue", "grey"), per_class=4)
    assert_refused(train(f"parquet:{data}", out=tmp_path / "out"), "class name", "control characters")


def test_names_in_weights_are_text() -> None:
    fed = Preprocessing(size=8, channels=3).for_pictures()
    card = ModelCard(model="small-cnn", classes=("a\x1b", "b"), forgotten=(), shape=(3, 8, 8), preprocessing=fed)
    with pytest.raises(ValueError, match="classes is"):
        ModelCard.from_record(card.as_record())


@pytest.mark.parametrize("word", ["out\x1b[2K", "out\n", "out\udcff"])
def test_a_command_takes_text(word: str, tmp_path: Path) -> None:
    done = train("digits", out=tmp_path / word)
    assert_refused(done, "Expected words", "control characters")
    assert not any(tmp_path.iterdir())


# --- headers of weights


def safetensors(path: Path, header: str) -> Path:
    raw = header.encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(64))
    return path


ENTRY = '{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
OTHER = '{"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}'


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (f'{{"a": {ENTRY}, "a": {OTHER}}}', "stands twice"),
        (f'{{"a": {ENTRY}, "__metadata__": {{"x": "1", "x": "2"}}}}', "stands twice"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested more than"),
        ('{"a": {"dtype": "F32", "shape": [' + "9" * 400 + '], "data_offsets": [0, 4]}}', "beyond 64 bits"),
        ('{"a": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 4]}}', "beyond 64 bits"),
        (f'{{"\\ud800": {ENTRY}}}', "surrogates"),
        (f'{{"a\\u001b[2K": {ENTRY}}}', "control characters"),
    ],
)
def test_a_header_with_no_one_meaning_is_refused(header: str, words: str, tmp_path: Path) -> None:
    path = safetensors(tmp_path / "w.safetensors", header)
    done = run_cli("forget", "--weights", path, "--data", "digits", "--forget", 3, "--model", "small-cnn",
                   "--out", tmp_path / "out", *QUICK)  # fmt: skip
    assert_refused(done, "w.safetensors", words)


def test_a_card_with_no_one_meaning_is_refused(tmp_path: Path) -> None:
    card = json.dumps('{"model": "a", "model": "b"}')
    path = safetensors(tmp_path / "w", f'{{"__metadata__": {{"unlearnkit": {card}}}, "a": {ENTRY}}}')
    path.write_bytes(path.read_bytes()[: -64 + 4])
    with pytest.raises(Exception, match="'model' stands twice"):
        read_checkpoint(path)


def test_a_deep_configuration_of_transformers_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"a":' * 5000 + "1" + "}" * 5000)
    done = run_cli("forget", "--weights", tmp_path / "model", "--data", "digits", "--forget", 3,
                   "--out", tmp_path / "out", *QUICK)  # fmt: skip
    assert_refused(done, "Expected a weights file")


# --- pictures


def claiming(path: Path, width: int, height: int) -> Path:
    """A PNG of a few bytes that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))))
    return path


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 10_000), (100_000_000, 1), (60_000, 60_000)])
def test_pixels_are_counted_before_they_are_decoded(size: tuple[int, int], tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data")
    claiming(data / "train" / "cat" / "2.png", *size)
    assert_refused(train(f"imagefolder:{data}", out=tmp_path / "out"), "2.png", "pixels")


def test_a_long_strip_is_cut_before_it_is_resized(tmp_path: Path) -> None:
    """Resized whole, its shorter side to 64 pixels, it would have 256 million pixels."""
    rng = np.random.default_rng(0)
    strip = Image.fromarray(rng.integers(0, 255, (2, 125_000, 3), dtype=np.uint8))
    strip.save(tmp_path / "strip.png")

    class One:
        def open(self, row: int) -> Image.Image:
            return open_picture(tmp_path / "strip.png")

        def name(self, row: int) -> str:
            return "the strip"

    decoder = PictureDecoder(One(), Preprocessing(size=64, interpolation="bicubic"))
    found = decoder.decode([0], (3, 64, 64))[0].permute(1, 2, 0)
    middle = strip.crop((62_500 - 40, 0, 62_500 + 40, 2))
    scaled = middle.resize((80 * 32, 64), Image.Resampling.BICUBIC)
    left = (80 * 32 - 64) // 2
    wanted = torch.from_numpy(np.asarray(scaled.crop((left, 0, left + 64, 64))).copy())
    assert (found.int() - wanted.int()).abs().max() <= 1
    assert MOST_PIXELS < 125_000 * 32 * 64


def test_a_table_whose_metadata_are_deep_is_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for side in ("train", "test"):
        table = pa.table({"image": [b"x"], "label": [0]})
        deep = '{"info":' * 5000 + "1" + "}" * 5000
        pq.write_table(table.replace_schema_metadata({"huggingface": deep}), tmp_path / "data" / f"{side}.parquet")
    done = train(f"parquet:{tmp_path / 'data'}", out=tmp_path / "out")
    assert done.code == 2
    assert done.err.count("\n") == 1
