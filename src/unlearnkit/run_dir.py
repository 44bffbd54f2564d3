"""Writes run folders, always atomically and with a manifest of hashes; no other module writes artefacts.

A folder is built beside its final place and put there in one step, so a reader never sees half of one. A file that is
added later (the audit, the report) makes a new folder, with links to the files that stay, and the two are exchanged.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from unlearnkit.class_names import unprintable
from unlearnkit.disk.artefacts import check_artefact
from unlearnkit.disk.files import files_of, inside, read_regular, write_new
from unlearnkit.disk.json_text import parse_json
from unlearnkit.disk.staging import locked, put, staged, sweep
from unlearnkit.errors import OutputError, reason

MANIFEST = "manifest.json"
SIGNATURE = "signature.json"  # of the manifest, which therefore does not list it
WEIGHTS = "model.safetensors"
README = "README.md"  # the model card
Artefacts = Mapping[str, bytes | str | Mapping[str, Any]]


def check_output(out: Path, *, overwrite: bool, inputs: Sequence[Path] = ()) -> None:
    """Refuse, before any work, an output folder that cannot or must not be written.

    What killed commands have left beside it is swept.

    Args:
        out: the folder.
        overwrite: whether an earlier run folder may be replaced.
        inputs: files and folders that the run reads, and that must therefore not be inside it.

    Raises:
        OutputError: it exists (without `overwrite`), is no run folder or holds an input or anything that its manifest
            does not list (with it), its parent is not writable, or a path holds control characters.
    """
    for path in (out, *inputs):
        if unprintable(str(path.absolute())):
            raise OutputError(
                f"Expected paths in UTF-8 without control characters, but got {str(path.absolute())!r}; rename it."
            )
    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise OutputError(
                f"Expected an output folder apart from the inputs, but {path} is inside {out}; choose another folder."
            )
    sweep(out.absolute().parent)
    _check_replaceable(out, overwrite=overwrite)
    out = out.absolute()
    parent = out.parent
    while not os.path.exists(parent):
        parent = parent.parent
    try:
        with staged(parent / out.name):
            pass
    except OSError as error:
        raise OutputError(
            f"Expected to be able to write {out}, but {parent} refuses it ({error.strerror or error}); "
            "choose a folder that you may write to."
        ) from error


def write_run(out: Path, artefacts: Artefacts, *, overwrite: bool, manifest: Mapping[str, Any]) -> None:
    """Write a whole run folder in one step; it replaces an earlier one only when it is complete.

    Args:
        out: the folder.
        artefacts: file name -> content (JSON for a mapping).
        overwrite: whether an earlier run folder may be replaced.
        manifest: what `manifest.json` says besides hashes and versions.

    Raises:
        OutputError: the folder cannot be written.
    """
    check_output(out, overwrite=overwrite)
    out = out.absolute()
    with _writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with staged(out) as staging:
            staging.chmod(0o755)
            hashes = {name: _write(staging, name, content) for name, content in artefacts.items()}
            record = {
                **manifest,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": versions(),
                "artefacts": hashes,
            }
            _write(staging, MANIFEST, record)
            with locked(out.parent):
                _check_replaceable(out, overwrite=overwrite)  # again: training takes hours
                put(staging, out)


def add_to_run(
    folder: Path,
    artefacts: Artefacts,
    *,
    step: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    drop: Sequence[str] = (),
) -> None:
    """Add or replace files of a run folder and update its manifest, all in one step.

    A `step` (its command, device, seed, inputs) is appended to the manifest's `later_steps`; `facts` replace
    what the manifest says under their names. The files that `drop` names are deleted first, in a step of their own:
    what must not be there any more is gone, also where the rest should fail.

    Raises:
        OutputError: the folder is no run folder or cannot be written.
    """
    if drop:
        _change(folder, {}, drop=drop)
    _change(folder, artefacts, step=step, facts=facts)


def sign_run(folder: Path, content: Mapping[str, Any]) -> None:
    """Put signatures into a run folder in one step; its manifest stays as it is.

    Raises:
        OutputError: the folder is no run folder or cannot be written.
    """
    read_json(folder, MANIFEST, "artefacts")
    folder = folder.resolve()
    sweep(folder.parent)
    with _writing(folder), staged(folder) as staging, locked(folder.parent):
        staging.chmod(folder.stat().st_mode & 0o777)
        _write(staging, SIGNATURE, content)
        _carry(folder, staging, {SIGNATURE})
        put(staging, folder)
        _carry(staging, folder, {SIGNATURE})


def read_artefact(folder: Path, name: str) -> bytes:
    """Return the content of a file of a run folder, which must be a file of its own.

    Raises:
        OutputError: the name leads out of the folder, no file of its own stands there, or it cannot be read.
    """
    path = inside(folder, name)
    if not path.is_file():
        raise OutputError(
            f"Expected {name} in the run folder {folder}, but there is none; name a folder made by unlearnkit."
        )
    try:
        return read_regular(path)
    except OSError as error:
        raise OutputError(
            f"Expected to be able to read {path}, but got: {error.strerror or error}; check its permissions."
        ) from error


def read_json(folder: Path, name: str, *keys: str) -> dict[str, Any]:
    """Read one JSON artefact of a run folder; what it must look like, `disk.artefacts` says.

    Raises:
        OutputError: the folder or the file is missing or damaged, or lacks one of `keys`.
    """
    if not folder.exists():
        sweep(folder.absolute().parent)  # a command that was killed may have put it aside
    text = read_artefact(folder, name)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise OutputError(
            f"Expected JSON in {folder / name}, but it is damaged ({reason(error)}); run the step that made it again."
        ) from error
    return check_artefact(folder, name, content, keys)


def versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on."""
    packages = ("unlearnkit", "torch", "torchvision", "numpy", "safetensors")
    found = {"python": platform.python_version(), "platform": platform.platform()}
    return found | {name: _version(name) for name in packages}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed as a package"


def recorded_hashes(folder: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the sha256 of each artefact that a manifest lists, by its name.

    Raises:
        OutputError: a name leads out of the folder, or no file of its own stands there.
    """
    hashes: dict[str, str] = manifest["artefacts"]
    for name in hashes:
        inside(folder, name)
    return hashes


def _change(
    folder: Path,
    artefacts: Artefacts,
    *,
    step: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    drop: Sequence[str] = (),
) -> None:
    """Put a folder with changed files in the place of a run folder; what else is in it is linked into the new one."""
    read_json(folder, MANIFEST, "artefacts")
    folder = folder.resolve()
    sweep(folder.parent)
    with _writing(folder), staged(folder) as staging, locked(folder.parent):
        manifest = read_json(folder, MANIFEST, "artefacts")
        hashes = recorded_hashes(folder, manifest)
        staging.chmod(folder.stat().st_mode & 0o777)
        for name in drop:
            hashes.pop(inside(folder, name).relative_to(folder).as_posix(), None)
        for name, content in artefacts.items():
            if inside(folder, name).is_dir():
                raise IsADirectoryError(21, "Is a directory", name)
            hashes[name] = _write(staging, name, content)
        manifest |= facts or {}
        if step is not None:
            manifest["later_steps"] = [*(manifest.get("later_steps") or ()), dict(step)]
        _write(staging, MANIFEST, manifest)
        new = {MANIFEST, *artefacts, *drop}
        _carry(folder, staging, new)
        put(staging, folder)
        _carry(staging, folder, new)  # what somebody laid into the old folder meanwhile


def _carry(old: Path, new: Path, but: set[str]) -> None:
    """Give the files of one folder to another one too, except those named and those that it has."""
    for name in files_of(old):
        source, target = old / name, new / name
        if name in but or os.path.lexists(target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir() and not source.is_symlink():
            target.mkdir()
            continue
        try:
            os.link(source, target, follow_symlinks=False)
        except (OSError, NotImplementedError):  # a file system without hard links, or somebody else's file
            shutil.copy2(source, target, follow_symlinks=False)


def _check_replaceable(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that is there and may not be replaced.

    Raises:
        OutputError: it is there (without `overwrite`), is no run folder, or holds what its manifest does not list.
    """
    if not os.path.lexists(out):
        return
    if not overwrite:
        raise OutputError(f"Expected a new output folder, but {out} exists; choose another or add --overwrite.")
    if out.is_symlink() or not out.is_dir():
        raise _something_else(out, "it is no folder")
    present = set(files_of(out))
    if not present:
        return
    if MANIFEST not in present:
        raise _something_else(out, f"it has no {MANIFEST} of ours")
    try:
        manifest = read_json(out, MANIFEST, "artefacts")
    except OutputError as error:
        raise _something_else(out, f"it has no {MANIFEST} of ours: {error}") from error
    strangers = sorted(present - {MANIFEST, SIGNATURE} - recorded_hashes(out, manifest).keys())
    if strangers:
        raise OutputError(
            f"Expected an earlier run folder to overwrite, but {out} holds {strangers[0]} too, which its manifest does "
            "not list and which would be deleted; move that away, or choose another folder."
        )


def _something_else(out: Path, why: str) -> OutputError:
    return OutputError(
        f"Expected an earlier run folder to overwrite, but {out} is something else ({why}); choose another folder, or "
        "move that one away yourself."
    )


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turn errors of the disk into an OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"Expected to be able to write {out}, but got: {error.strerror or error}; choose another place."
        ) from error


def _write(staging: Path, name: str, content: bytes | str | Mapping[str, Any]) -> str:
    path = inside(staging, name)
    path.parent.mkdir(exist_ok=True)  # an artefact may lie one folder down
    return write_new(path, encoded(content))


def encoded(content: bytes | str | Mapping[str, Any]) -> bytes:
    """Return the bytes of an artefact: JSON for a mapping, UTF-8 for text."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode("utf-8")
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
