"""Writes run folders, always atomically and with a manifest of hashes; no other module writes artefacts.

A folder is built beside its final place and renamed into it, so a reader never sees half of one. A file added
later (the audit, the report) replaces its predecessor in one rename, and the manifest follows.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from unlearnkit.errors import OutputError

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
README = "README.md"  # the model card
RETIRED = "-old"  # ends the name of a folder that is being replaced
Artefacts = Mapping[str, bytes | str | Mapping[str, Any]]


def check_output(out: Path, *, overwrite: bool, inputs: Sequence[Path] = ()) -> None:
    """Refuse, before any work, an output folder that cannot or must not be written.

    Args:
        out: the folder.
        overwrite: whether an earlier run folder may be replaced.
        inputs: files that the run reads, and that must therefore not be inside it.

    Raises:
        OutputError: it exists (without `overwrite`), is no run folder or holds an input (with it), or its parent is
            not writable.
    """
    for path in inputs:
        if path.resolve().is_relative_to(out.resolve()):
            raise OutputError(
                f"Expected an output folder apart from the inputs, but {path} is inside {out}; choose another folder."
            )
    if os.path.lexists(out):
        if not overwrite:
            raise OutputError(f"Expected a new output folder, but {out} exists; choose another or add --overwrite.")
        if not _is_run_or_empty(out):
            raise OutputError(
                f"Expected an earlier run folder to overwrite, but {out} is something else (it has no {MANIFEST} of "
                "ours); choose another folder, or move that one away yourself."
            )
    out = out.absolute()
    parent = out.parent
    while not os.path.exists(parent):
        parent = parent.parent
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", suffix=RETIRED, dir=parent):
            pass
    except OSError as error:
        raise OutputError(
            f"Expected to be able to write {out}, but {parent} refuses it ({error.strerror or error}); "
            "choose a folder that you may write to."
        ) from error


def write_run(out: Path, artefacts: Artefacts, *, overwrite: bool, manifest: Mapping[str, Any]) -> None:
    """Write a whole run folder in one rename; it replaces an earlier one only when it is complete.

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
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise OutputError(
            f"Expected to be able to write {out}, but got: {error.strerror or error}; choose another place."
        ) from error
    try:
        staging.chmod(0o755)
        hashes = {name: _write(staging / name, content) for name, content in artefacts.items()}
        record = {
            **manifest,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "artefacts": hashes,
        }
        _write(staging / MANIFEST, record)
        if out.exists():
            retired = staging.with_name(staging.name + RETIRED)
            out.rename(retired)
            try:
                staging.rename(out)
            except BaseException:  # a keyboard interrupt too
                retired.rename(out)
                raise
            shutil.rmtree(retired)
        else:
            staging.rename(out)
    except OSError as error:
        raise OutputError(
            f"Expected to be able to write {out}, but got: {error.strerror or error}; choose another place."
        ) from error
    finally:
        if staging.exists():
            shutil.rmtree(staging)


def add_to_run(
    folder: Path,
    artefacts: Artefacts,
    *,
    step: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    drop: Sequence[str] = (),
) -> None:
    """Add or replace files of a run folder, each in one rename, and update its manifest.

    A `step` (its command, device, seed, inputs) is appended to the manifest's `later_steps`; `facts` replace
    what the manifest says under their names. The files that `drop` names are deleted first: what must not be there any
    more is gone, also where the rest should fail.

    Raises:
        OutputError: the folder is no run folder or cannot be written.
    """
    manifest = read_json(folder, MANIFEST, "artefacts")
    try:
        for name in drop:
            (folder / name).unlink(missing_ok=True)
            manifest["artefacts"].pop(name, None)
        for name, content in artefacts.items():
            manifest["artefacts"][name] = _replace(folder / name, content)
        manifest |= facts or {}
        if step is not None:
            manifest.setdefault("later_steps", []).append(dict(step))
        _replace(folder / MANIFEST, manifest)
    except OSError as error:
        raise OutputError(
            f"Expected to be able to write {folder}, but got: {error.strerror or error}; choose another place."
        ) from error


def read_json(folder: Path, name: str, *keys: str) -> dict[str, Any]:
    """Read one JSON artefact of a run folder.

    Raises:
        OutputError: the folder or the file is missing or damaged, or lacks one of `keys`.
    """
    path = folder / name
    if not os.path.isfile(path):
        raise OutputError(
            f"Expected {name} in the run folder {folder}, but there is none; name a folder made by unlearnkit."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise OutputError(
            f"Expected JSON in {path}, but it is damaged ({error}); run the step that made it again."
        ) from error
    if not isinstance(content, dict):
        raise OutputError(f"Expected a JSON object in {path}, but got a {type(content).__name__}; make it again.")
    missing = [key for key in keys if key not in content]
    if missing:
        raise OutputError(
            f"Expected {missing[0]!r} in {path}, but it is not there; run the step that made the file again."
        )
    return content


def versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("unlearnkit", "torch", "torchvision", "numpy", "safetensors"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def _is_run_or_empty(folder: Path) -> bool:
    """Return whether a folder may be replaced: it is empty, or this module wrote its manifest."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        return isinstance(read_json(folder, MANIFEST).get("artefacts"), dict)
    except OutputError:
        return False


def _encode(content: bytes | str | Mapping[str, Any]) -> bytes:
    if isinstance(content, bytes):
        return content
    text = (
        content
        if isinstance(content, str)
        else json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    )
    return text.encode("utf-8")


def _write(path: Path, content: bytes | str | Mapping[str, Any]) -> str:
    data = _encode(content)
    path.parent.mkdir(exist_ok=True)  # an artefact may lie one folder down
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def _replace(path: Path, content: bytes | str | Mapping[str, Any]) -> str:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        digest = _write(temporary, content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest
