"""JSON that may be anybody's: what has two meanings, no end or no room is refused in one sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearnkit.disk.json_text import parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.slow
@given(VALUES)
def test_what_json_writes_is_read_the_same(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ('[{"b": {"a": 1, "b": 1, "a": 1}}]', "'a' stands twice"),
        ("[" * 100 + "]" * 100, "nested more than 64 deep"),
        ("[" * 1_000_000, "nested more than 64 deep"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested more than 64 deep"),
        ("9" * 30, "beyond 64 bits"),
        ("9" * 10_000, "beyond 64 bits"),
        ("-" + "9" * 30, "beyond 64 bits"),
        ("1e999", "beyond 64 bits"),
        ("NaN", "no number of JSON"),
        ("-Infinity", "no number of JSON"),
        ('"\\ud800"', "surrogates not allowed"),
        ('{"\\udc00": 1}', "surrogates not allowed"),
        ("{", "Expecting"),
        ("", "Expecting"),
    ],
)
def test_what_has_no_one_meaning_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(text)


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = parse_json(data)
    except ValueError:
        return
    json.dumps(value, allow_nan=False).encode()
