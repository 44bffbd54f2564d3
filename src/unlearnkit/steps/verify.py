"""Checks whether the files of a run folder are still those that its manifest records."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from unlearnkit.disk.files import files_of, inside
from unlearnkit.errors import OutputError
from unlearnkit.models.checkpoint import file_sha256
from unlearnkit.run_dir import MANIFEST, read_json, recorded_hashes

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
    artefacts = recorded_hashes(folder, manifest)
    found = set(files_of(folder)) - {MANIFEST}
    states = {name: _state(inside(folder, name), digest, gone="missing") for name, digest in artefacts.items()}
    files = [_said("artefact", name, state) for name, state in states.items()]
    files += [_said("artefact", name, "not recorded") for name in sorted(found - artefacts.keys())]
    whole = {file["name"] for file in files if file["state"] == "matches"}
    audit = read_json(folder, "audit.json") if "audit.json" in whole else {}  # a changed one vouches for nothing
    inputs = list((manifest.get("inputs") or {}).items())
    for step in manifest.get("later_steps") or ():
        inputs += (step.get("inputs") or {}).items()
    for kind in ("retrained", "shadows"):
        inputs += [(entry["path"], entry["sha256"]) for entry in audit.get(kind) or ()]
    files += [
        _said("input", name, _state(Path(name), digest, gone="not there")) for name, digest in dict.fromkeys(inputs)
    ]
    return {
        "folder": str(folder),
        "ok": all(file["state"] in SOUND for file in files),
        "manifest": file_sha256(folder / MANIFEST),
        "files": files,
    }


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
