"""Checks whether the files of a run folder are still those that its manifest records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from unlearnkit.errors import OutputError
from unlearnkit.models.checkpoint import file_sha256
from unlearnkit.run_dir import MANIFEST, read_json

State = Literal["matches", "changed", "missing", "not recorded", "not there"]
SOUND: tuple[State, ...] = ("matches", "not there")  # an input may have been moved or deleted since


def verify_run(folder: Path) -> dict[str, Any]:
    """Hash a run folder's files and the inputs that still exist, and compare with what was recorded.

    An artefact matches, has changed, is missing, or was not recorded; an input matches, has changed, or is not there
    any more, which is no fault. The manifest itself has no record in the folder: whoever changes it and a file alike
    goes unnoticed here, so its own hash is returned, to be held against one that was kept elsewhere.

    Returns:
        `folder`; `ok`, whether nothing has changed, is missing or came later; `manifest`, the manifest's sha256;
        `files`, each with `kind` (artefact or input), `name` and `state`.

    Raises:
        OutputError: the folder is no run folder, its manifest is damaged, or a file in it cannot be read.
    """
    manifest = read_json(folder, MANIFEST, "artefacts")
    artefacts = _hashes(manifest["artefacts"], folder, inside=True)
    inner = {Path(name).parts[0] for name, _ in artefacts if len(Path(name).parts) > 1}  # folders that are recorded
    found = {path.name for path in folder.iterdir()} - {MANIFEST, *inner}
    found |= {f"{name}/{path.name}" for name in inner if (folder / name).is_dir() for path in (folder / name).iterdir()}
    files = [_said("artefact", name, _state(folder / name, digest, gone="missing")) for name, digest in artefacts]
    files += [_said("artefact", name, "not recorded") for name in sorted(found - {name for name, _ in artefacts})]
    whole = {file["name"] for file in files if file["state"] == "matches"}
    audit = read_json(folder, "audit.json") if "audit.json" in whole else {}  # a changed one vouches for nothing
    inputs = _hashes(manifest.get("inputs") or {}, folder)
    for step in manifest.get("later_steps") or ():
        inputs += _hashes(step.get("inputs") or {} if isinstance(step, Mapping) else step, folder)
    for kind in ("retrained", "shadows"):
        inputs += [(str(entry["path"]), str(entry["sha256"])) for entry in audit.get(kind) or ()]
    files += [
        _said("input", name, _state(Path(name), digest, gone="not there")) for name, digest in dict.fromkeys(inputs)
    ]
    return {
        "folder": str(folder),
        "ok": all(file["state"] in SOUND for file in files),
        "manifest": file_sha256(folder / MANIFEST),
        "files": files,
    }


def _hashes(recorded: Any, folder: Path, *, inside: bool = False) -> list[tuple[str, str]]:
    """(file, sha256) of a record; `inside` the folder a file has a name, or lies in one folder below."""
    sound = isinstance(recorded, Mapping) and all(isinstance(digest, str) for digest in recorded.values())
    if not sound or (inside and not all(_is_inside(name) for name in recorded)):
        raise OutputError(
            f"Expected names of files and their sha256 in {folder / MANIFEST}, but got {str(recorded)[:60]!r}; "
            "the manifest is damaged: run the step that made the folder again."
        )
    return list(recorded.items())


def _is_inside(name: str) -> bool:
    parts = Path(name).parts
    return (
        Path(*parts).as_posix() == name and ".." not in parts and 0 < len(parts) <= 2 and not Path(name).is_absolute()
    )


def _state(path: Path, digest: str, *, gone: Literal["missing", "not there"]) -> State:
    if not path.is_file():
        return gone
    try:
        return "matches" if file_sha256(path) == digest else "changed"
    except OSError as error:
        raise OutputError(
            f"Expected to be able to read {path}, but got: {error.strerror or error}; check its permissions."
        ) from error


def _said(kind: str, name: str, state: State) -> dict[str, str]:
    return {"kind": kind, "name": name, "state": state}
