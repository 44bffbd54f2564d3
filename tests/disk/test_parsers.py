"""Every text that we read ourselves: whatever stands there, it means something or is refused in a named error.

JSON text, names of files, settings, requests and weights have such tests of their own, beside what reads them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unlearnkit.class_names import decoded_lines
from unlearnkit.cli.common import inputs_of, read_classes
from unlearnkit.data.sources.columns import class_names
from unlearnkit.data.sources.labels import checked_labels
from unlearnkit.data.sources.registry import is_local, load_data, places_of
from unlearnkit.disk.artefacts import SCHEMAS, check_artefact
from unlearnkit.errors import UnlearnkitError
from unlearnkit.models.metadata import ModelCard
from unlearnkit.models.names import is_trusted_name, parse_name
from unlearnkit.proof.keys import read_private, read_public
from unlearnkit.proof.ledger import check, entries
from unlearnkit.proof.signatures import check_signatures
from unlearnkit.report.sentences import read_doubt
from unlearnkit.run_dir import read_json
from unlearnkit.steps.identity import Identity

TEXT = st.text(max_size=20) | st.text(",=:[]{}'\"\\ .-0123456789naif", max_size=16)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
KEYS = sorted({field for schema in SCHEMAS.values() for field in schema.model_fields})
RECORD = st.dictionaries(st.sampled_from(KEYS) | TEXT, JSON, max_size=5)
CARD = st.fixed_dictionaries(
    dict.fromkeys(("model", "classes", "forgotten", "shape", "image_size", "mean", "std"), JSON)
)
IDENTITY = st.fixed_dictionaries(dict.fromkeys((*Identity.__dataclass_fields__, "schema"), JSON))
BYTES = st.binary(max_size=60) | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass"))
KEY_FILES = BYTES | BYTES.map(lambda middle: b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + middle + b"\n-----END") | (
    BYTES.map(lambda middle: b"ssh-ed25519 " + middle)
)  # fmt: skip


def artefact(name: str) -> Callable[[Path, Any], object]:
    return lambda folder, content: check_artefact(folder, name, content)


def in_file(read: Callable[[Path], object]) -> Callable[[Path, bytes], object]:
    def parse(folder: Path, data: bytes) -> object:
        (folder / "file").write_bytes(data)
        return read(folder / "file")

    return parse


def signed(folder: Path, content: Any) -> object:
    text = json.dumps({"signatures": [content]}, allow_nan=True)
    (folder / "signature.json").write_text(text, "utf-8", "surrogatepass")
    return check_signatures(folder, {"artefacts": {}}, ())


def run_json(folder: Path, data: bytes) -> object:
    (folder / "manifest.json").write_bytes(data)
    return read_json(folder, "manifest.json", "artefacts")


def options(_: Path, text: str) -> object:
    return inputs_of(None, None, None, text, text, text, None, "auto", None)


def source(_: Path, text: str) -> object:
    is_local(text), places_of(text)
    return load_data(text) if text.partition(":")[0] not in ("digits", "hf") else None


def model_name(_: Path, text: str) -> object:
    is_trusted_name(text)
    return parse_name(text)


PARSERS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Path, Any], object], tuple[type[Exception], ...]]] = {
    **{name: (RECORD | JSON, artefact(name), ()) for name in SCHEMAS},
    "a manifest's text": (BYTES, run_json, ()),
    "a class list": (BYTES, in_file(read_classes), ()),
    "lines of a class list": (BYTES, lambda _, data: decoded_lines(data), (UnicodeError,)),
    "class names of a table": (JSON, lambda _, content: class_names(content, "made"), ()),
    "labels": (
        st.lists(st.integers() | st.floats() | st.none(), max_size=4),
        lambda _, labels: checked_labels(labels, len(labels), "made"),
        (),
    ),
    "labels of a tensor": (
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(torch.tensor),
        lambda _, labels: checked_labels(labels, len(labels), "made"),
        (),
    ),
    "a model's name": (TEXT | TEXT.map("timm:".__add__) | TEXT.map("small-cnn,".__add__), model_name, ()),
    "a data source": (TEXT | TEXT.map("parquet:".__add__) | TEXT.map("torchvision:".__add__), source, ()),
    "mean, std and channels": (TEXT, options, ()),
    "a model card": (CARD, lambda _, record: ModelCard.from_record(record), (KeyError, TypeError, ValueError)),
    "an identity": (IDENTITY, lambda _, record: Identity.from_record(record), (KeyError, TypeError, ValueError)),
    "a doubt": (JSON, lambda _, content: read_doubt(content, "made"), ()),
    "a private key": (KEY_FILES, in_file(read_private), ()),
    "a public key": (KEY_FILES, in_file(read_public), ()),
    "a signature": (
        st.fixed_dictionaries({"key": TEXT, "signature": TEXT, "statement": RECORD}) | JSON, signed, (),
    ),
    "a ledger": (BYTES | BYTES.map(b"SQLite format 3\0".__add__), in_file(lambda p: (check(p), entries(p))), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", PARSERS)
def test_it_means_something_or_is_refused(name: str, tmp_path: Path) -> None:
    strategy, parse, others = PARSERS[name]

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(strategy)
    def body(value: Any) -> None:
        try:
            parse(tmp_path, value)
        except UnlearnkitError as error:
            assert str(error)  # noqa: PT017 - no error is fine as well
        except others:
            pass

    body()
