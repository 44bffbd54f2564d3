"""Class names in one Unicode form, class lists as editors write them, and the order of numbers."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from unlearnkit.class_names import decoded_lines, listed, numeric_order, repeated
from unlearnkit.cli.common import read_classes
from unlearnkit.errors import ConfigError
from unlearnkit.models.metadata import ModelCard
from unlearnkit.request import ForgetRequest, resolve_class

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
LINES = f"{DECOMPOSED}\r\n\r\n  dog \rowl\n"


@pytest.mark.parametrize(
    "raw",
    [
        LINES.encode(),
        codecs.BOM_UTF8 + LINES.encode(),
        codecs.BOM_UTF16_LE + LINES.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"),
    ],
    ids=["utf-8", "utf-8 with a mark", "utf-16 little", "utf-16 big"],
)
def test_a_class_list_is_read_whatever_editor_wrote_it(raw: bytes, tmp_path: Path) -> None:
    assert decoded_lines(raw) == (COMPOSED, "dog", "owl")
    (tmp_path / "classes.txt").write_bytes(raw)
    assert read_classes(tmp_path / "classes.txt") == (COMPOSED, "dog", "owl")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (f"{COMPOSED}\n{DECOMPOSED}\n".encode(), "'caf\u00e9' stands there twice"),
        (b"\xef\xbb\xbf\n", "it is empty"),
        ("cat\ndog".encode("utf-16-le"), "NUL characters"),
        (b"caf\xe9\n", "it cannot be read"),
    ],
    ids=["twice in two forms", "a mark alone", "utf-16 without a mark", "latin-1"],
)
def test_a_class_list_that_is_none_is_refused(raw: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(raw)
    with pytest.raises(ConfigError, match=words):
        read_classes(tmp_path / "classes.txt")


def test_a_request_finds_a_name_in_either_form() -> None:
    for given in (COMPOSED, DECOMPOSED):
        for held in (COMPOSED, DECOMPOSED):
            assert resolve_class(given, ("cat", held)) == 1
            assert ForgetRequest(classes=(given,)).resolve(("cat", held)).forget == (1,)


def test_weights_cards_are_read_in_one_form() -> None:
    record = {
        "model": "small-cnn", "classes": ["cat", DECOMPOSED], "forgotten": [DECOMPOSED], "shape": [3, 8, 8],
        "image_size": None, "mean": [0.5], "std": [0.25],
    }  # fmt: skip
    card = ModelCard.from_record(record)
    assert card.classes == ("cat", COMPOSED)
    assert card.forgotten == (COMPOSED,)
    with pytest.raises(ValueError, match="classes is"):
        ModelCard.from_record(record | {"classes": [COMPOSED, DECOMPOSED]})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("0", "1", "10", "2"), ("0", "1", "2", "10")),
        (("-1", "0", "1"), None),
        (("a", "10", "2"), None),
        (("01", "02", "10"), None),
        (("100", "20"), ("20", "100")),
        (("1\u00b2", "1"), None),
    ],
)
def test_numbers_in_the_order_of_text_are_seen(names: tuple[str, ...], expected: tuple[str, ...] | None) -> None:
    assert numeric_order(names) == expected


def test_a_few_of_many_are_listed() -> None:
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed([str(k) for k in range(1000)]) == "'0', '1', '2', '3', '4' and 995 more"
    assert listed([str(k) for k in range(3)], most=2, quoted=False) == "0, 1 and 1 more"
    assert repeated([COMPOSED, "x", DECOMPOSED]) == COMPOSED
    assert repeated(["a", "A"]) is None
