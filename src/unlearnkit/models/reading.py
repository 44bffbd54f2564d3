"""Reads the weights in a file of any tool: its first bytes say what it is, not its name, and no code of it is run."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unlearnkit.class_names import unprintable
from unlearnkit.disk.files import open_regular
from unlearnkit.disk.json_text import parse_json
from unlearnkit.errors import SeveralWeightsError, WeightsError, reason

LARGEST_HEADER = 100_000_000  # bytes; the format's own limit
ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # what torch.save writes today, and what it wrote before version 1.6
# The first bytes of files that are taken for weights, and what to do about each.
OTHERS: dict[bytes, str] = {
    b"version https://git-lfs": "a Git LFS pointer to a file that was not fetched; run `git lfs pull`",
    b"\x89HDF": "an HDF5 file, as Keras writes; convert the weights to PyTorch",
    b"GGUF": "a GGUF file; name the original PyTorch weights",
    b"\x1f\x8b": "packed with gzip; unpack it",
    b"BZh": "packed with bzip2; unpack it",
    b"\xfd7zXZ": "packed with xz; unpack it",
    b"\x93NUMPY": "a NumPy array; save the state dict",
    b"{": "JSON text, perhaps the index of a sharded model; join the shards into one file",
    b"<": "a web page, perhaps that of a failed download; fetch the file again",
}
# Parts of a training checkpoint that hold tensors and are no model.
NOT_MODELS = re.compile(r"(optim|opt$|(lr_)?sched|scaler|criteri|loss|rng|random|metrics?$)", re.IGNORECASE)
DEEPEST = 2  # Composer has its model under `state.model`
# What trainers and evaluations leave beside the weights, and what NumPy needs to say a number: none of it is made.
LEFT_OUT = (
    "argparse.Namespace",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "numpy.ndarray",
)


class _LeftOut:
    """Stands where a pickle asks for an object of `LEFT_OUT`: it takes whatever it is given, and keeps nothing."""

    def __init__(self, *_given: object) -> None: ...

    def __new__(cls, *_given: object) -> Self:
        return super().__new__(cls)

    def __setstate__(self, _state: object) -> None: ...


@dataclass(frozen=True, kw_only=True)
class FoundState:
    """One set of weights in a file.

    Args:
        state: tensors by name.
        metadata: of a safetensors file.
        place: key of the file under which they lie; empty where they are all that it holds.
        prefix: what the wanted names begin with, where the caller said it; None: it is to be found.
    """

    state: dict[str, Tensor]
    metadata: dict[str, str]
    place: str = ""
    prefix: str | None = None


def read_state(path: Path, key: str | None = None) -> FoundState:
    """Read the weights of a file by name, and its metadata; safetensors, and files of torch.save as tensors only.

    Args:
        path: the file; its suffix does not matter.
        key: which weights, where it holds several: the key they lie under, or what their names begin with, or both
            with a dot between.

    Raises:
        WeightsError: the file is missing, truncated, of another kind, a pickle of more than tensors, or it holds
            several sets of weights and `key` names none of them.
    """
    if not os.path.isfile(path):
        found, hint = (
            ("a folder", "name the file in it")
            if os.path.isdir(path)
            else ("a pipe or a device", "name a file")
            if os.path.exists(path)
            else ("none", "name a .safetensors file")
        )
        raise WeightsError(f"Expected a weights file at {path}, but there is {found}; {hint}.")
    try:
        with open_regular(path) as file:
            start = file.read(265)
    except OSError as error:
        raise WeightsError(
            f"Expected a weights file at {path}, but it cannot be read ({error.strerror or error}); name another file."
        ) from error
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LARGEST_HEADER:
        _check_header(path)
        state, metadata = _safetensors(path)
        return FoundState(state=state, metadata=metadata, prefix=None if key is None else key.rstrip("."))
    if start.startswith((ZIP, PICKLE)):
        return _chosen(_states(_pickled(path), path), key, path)
    kind = next((text for magic, text in OTHERS.items() if start.lstrip().startswith(magic)), None)
    if start[257:262] == b"ustar":
        kind = "a tar archive; unpack it, and name the file in it"
    if not start:
        kind = "empty; copy it again"
    raise WeightsError(
        f"Expected a weights file (safetensors, or what torch.save writes), but {path} is "
        + (f"{kind}." if kind else "broken, cut short or of another kind; copy it again, or save the state dict anew.")
    )


def _check_header(path: Path) -> None:
    """Refuse a header that other readers may understand in another way, and names that no parameter has."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        raw = file.read(length)
    if len(raw) < length:
        return  # it is cut short, as its reader will say
    try:
        header = parse_json(raw)
        wrong = next(filter(unprintable, header if isinstance(header, dict) else ()), None)
        if wrong is not None:
            raise ValueError(f"the name {wrong!r} holds control characters")
    except ValueError as error:
        raise WeightsError(
            f"Expected a safetensors file with one meaning, but the header of {path} is damaged ({reason(error)}); "
            "save the weights with safetensors.torch.save_file, or copy the file again."
        ) from error


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"Expected a complete safetensors file, but {path} cannot be read ({error}); "
            "save the weights with safetensors.torch.save_file, or copy the file again."
        ) from error


def _pickled(path: Path) -> object:
    """Read a file of torch.save, as tensors and plain values alone; in place of `LEFT_OUT` there is nothing."""
    try:
        # by a path torch would go by the suffix
        with torch.serialization.safe_globals([(_LeftOut, name) for name in LEFT_OUT]), path.open("rb") as file:
            return torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:
        # torch's own text would advise to run what the file holds
        asked = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        if asked is None:
            raise WeightsError(_broken(path, error)) from error
        wanted = asked[1].rstrip(",.")
        raise WeightsError(
            f"Expected tensors alone, but {path} holds more (it asks for {wanted}); a pickle is refused as reading "
            "it can run any code, so where it was made, convert it with "
            'safetensors.torch.save_file(model.state_dict(), "model.safetensors").'
        ) from error


def _broken(path: Path, error: Exception) -> str:
    names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    if names and not any(name.endswith("data.pkl") for name in names):
        return (
            f"Expected a weights file, but {path} is a zip archive that torch.save did not write; unpack it, and name "
            "the file in it."
        )
    if any("/code/" in name for name in names):
        return (
            f"Expected tensors alone, but {path} is a TorchScript program; save its weights with "
            'safetensors.torch.save_file(torch.jit.load(FILE).state_dict(), "model.safetensors").'
        )
    return (
        f"Expected a complete file of tensors, but {path} is broken, cut short or of another kind "
        f"({type(error).__name__}); copy it again, or, if it is a pickle of more than tensors, whose reading "
        "can run any code, save the state dict alone where it was made."
    )


def _states(content: object, path: Path) -> dict[str, Mapping[str, Any]]:
    """Return every set of weights that a checkpoint holds, by the key it lies under."""
    if _is_state(content):
        assert isinstance(content, Mapping)
        return {"": content}
    found = dict(_inside(content, "", DEEPEST))
    largest = max((len(state) for state in found.values()), default=0)
    # what has far fewer tensors than the model (a centre of a loss, say) is none
    found = {place: state for place, state in found.items() if 2 * len(state) >= largest}
    if found:
        return found
    keys = f"the keys {_some([str(key) for key in content])}" if isinstance(content, Mapping) else "no mapping"
    raise WeightsError(
        f"Expected a state dict, or one under a key such as state_dict or model, but {path} holds {keys}; "
        'convert it with safetensors.torch.save_file(model.state_dict(), "model.safetensors").'
    )


def _inside(content: object, place: str, depth: int) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(content, Mapping) or depth == 0:
        return []
    found: list[tuple[str, Mapping[str, Any]]] = []
    for key, value in content.items():
        if isinstance(key, str) and not NOT_MODELS.match(key):
            below = f"{place}.{key}" if place else key
            found += [(below, value)] if _is_state(value) else _inside(value, below, depth - 1)
    return found


def _is_state(content: object) -> bool:
    return (
        isinstance(content, Mapping)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
        and any(value.is_floating_point() for value in content.values())
    )


def _chosen(found: Mapping[str, Mapping[str, Any]], key: str | None, path: Path) -> FoundState:
    """Return the set of weights that `key` asks for, or the only one."""
    place, prefix = _place(found, key)
    if place is None:
        several = ", ".join(found)
        got = f"{path} holds several" if key is None else f"{path} has none under {key!r}"
        raise SeveralWeightsError(
            f"Expected one set of weights, but {got} ({several}); name the one to read with "
            f"--weights-key {next(iter(found))}.",
            tuple(found),
        )
    state = {name: value.detach() for name, value in found[place].items()}
    return FoundState(state=state, metadata={}, place=place, prefix=prefix)


def _place(found: Mapping[str, Mapping[str, Any]], key: str | None) -> tuple[str | None, str | None]:
    """Take a key apart: under which of the places the weights lie, and what their names begin with."""
    if key is not None and key in found:
        return key, None
    within = [place for place in found if key is not None and place and key.startswith(f"{place}.")]
    if key is not None and within:
        place = max(within, key=len)
        return place, key.removeprefix(f"{place}.").rstrip(".")
    if len(found) > 1:
        return None, None
    return next(iter(found)), None if key is None else key.rstrip(".")


def _some(keys: list[str], most: int = 5) -> str:
    shown = ", ".join(keys[:most])
    return shown + (f" and {len(keys) - most} more" if len(keys) > most else "")
