"""Parses a model's name into its kind, the architecture, and the options after the commas."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Literal

from unlearnkit.errors import ModelError

ZOOS = ("torchvision", "timm")
FETCHING = ("hf-hub:", "hf_hub:", "local-dir:")  # starts of timm names that are an address, no architecture of its own
# Options that fetch or read files, or that the data decides: `build_model` gives them, or nobody does.
REFUSED = ("checkpoint_path", "cache_dir", "num_classes", "in_chans", "in_channels", "progress")
REFUSED_STARTS = ("pretrained", "weights")

OPENING, CLOSING = "([{", ")]}"
WORD = re.compile(r"[A-Za-z_][\w.+-]*")
PLAIN = re.compile(r"[\w.-]+")  # an architecture of a zoo itself: no path, no address
SHARDED = re.compile(r"sharded:([1-9]\d{0,2}|1000):(?!sharded:)(.+)")


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """The parts of a model's name.

    Args:
        kind: who makes the model.
        base: the name among its kind: `resnet18`, `hf-hub:ORG/NAME`, a folder, `package.module:factory`.
        options: what follows after commas, by name.
    """

    kind: Literal["built-in", "torchvision", "timm", "transformers", "sharded", "import"]
    base: str
    options: dict[str, object]


def parse_name(name: str) -> ModelName:
    """Split a name `KIND:BASE,OPTION=VALUE,...`, where values are Python literals or plain words.

    Raises:
        ModelError: an option is not NAME=VALUE, comes twice, or is one that is never taken from a name.
    """
    if (sharded := shards_of(name)) is not None:
        return ModelName(kind="sharded", base=sharded[1], options={})
    head, *texts = _split(name)
    options: dict[str, object] = {}
    for text in texts:
        key, value = _option(text, name)
        if key in options:
            raise ModelError(f"Expected each option of the model {name!r} once, but {key} comes twice; drop one.")
        options[key] = value
    prefix, colon, rest = head.partition(":")
    if not colon:
        return ModelName(kind="built-in", base=head, options=options)
    if prefix == "timm":
        return ModelName(kind="timm", base=rest, options=options)
    if prefix == "torchvision":
        return ModelName(kind="torchvision", base=rest, options=options)
    if prefix == "transformers":
        return ModelName(kind="transformers", base=rest, options=options)
    return ModelName(kind="import", base=head, options=options)


def is_import_path(name: str) -> bool:
    """Return whether the name is `package.module:factory`, so that building it runs the user's own code."""
    name = base_name(name)
    prefix, colon, _ = _split(name)[0].partition(":")
    return bool(colon) and prefix not in (*ZOOS, "transformers")


def is_trusted_name(name: str) -> bool:
    """Return whether a name from a weights file may be built: it must neither import code nor fetch anything.

    Import paths run code, and timm's `hf-hub:`, `hf_hub:` and `local-dir:`, as `transformers:`, read other files or the
    network. A model
    that an installed package declares by an entry point is trusted: the user installed it, and a file only names it.
    """
    prefix, colon, rest = _split(base_name(name))[0].partition(":")
    return PLAIN.fullmatch(rest) is not None if colon and prefix in ZOOS else not colon


def sharded_name(shards: int, base: str) -> str:
    """Return the name of an ensemble of networks of one architecture."""
    return f"sharded:{shards}:{base}"


def shards_of(name: str) -> tuple[int, str] | None:
    """Return the number of networks of an ensemble `sharded:S:NAME` and the name of one; None: it is no such name.

    >>> shards_of("sharded:5:small-cnn,width=4")
    (5, 'small-cnn,width=4')
    """
    found = SHARDED.fullmatch(name)
    return None if found is None else (int(found[1]), found[2])


def base_name(name: str) -> str:
    """Return the name of one network of an ensemble, or the name itself where it is none."""
    found = shards_of(name)
    return name if found is None else found[1]


def _split(name: str) -> list[str]:
    """Split at the commas outside of brackets and quotes."""
    parts, depth, quote, escaped = [""], 0, "", False
    for character in name:
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "'\"":
            quote = character
        elif character in OPENING + CLOSING:
            depth += 1 if character in OPENING else -1
        elif character == "," and depth == 0:
            parts.append("")
            continue
        parts[-1] += character
    return parts


def _option(text: str, name: str) -> tuple[str, object]:
    key, equals, written = (part.strip() for part in text.partition("="))
    if not equals or not key.isidentifier() or not written:
        raise ModelError(
            f"Expected NAME=VALUE after a comma of the model {name!r}, but got {text!r}; for example img_size=32."
        )
    if key in REFUSED or key.startswith(REFUSED_STARTS):
        raise ModelError(
            f"Expected an option of the architecture in the model {name!r}, but got {key}; the data and --pretrained "
            "decide that, so leave it out."
        )
    if written in ("true", "false", "none", "null"):
        raise ModelError(
            f"Expected a Python value for {key} of the model {name!r}, but got {written}; write True, False or None."
        )
    try:
        return key, ast.literal_eval(written)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        if WORD.fullmatch(written):
            return key, written
        raise ModelError(
            f"Expected a Python literal or a plain word for {key} of the model {name!r}, but got {written!r}; "
            "for example 32, (2, 2), True or gelu."
        ) from error
