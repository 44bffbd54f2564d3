"""Checks whether the files of a run folder are still those that its manifest records."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from unlearnkit.disk.files import files_of, inside
from unlearnkit.errors import OutputError
from unlearnkit.models.checkpoint import file_sha256
from unlearnkit.proof.keys import read_public
from unlearnkit.proof.signatures import check_signatures
from unlearnkit.run_dir import MANIFEST, SIGNATURE, read_json, recorded_hashes

State = Literal["matches", "changed", "missing", "not recorded", "not there"]
SOUND: tuple[State, ...] = ("matches", "not there")  # an input may have been moved or deleted since


def verify_run(folder: Path, key_file: Path | None = None) -> dict[str, Any]:
    """Hash a run folder's files and the inputs that still exist, and compare with what was recorded and signed.

    An artefact matches, has changed, is missing, or was not recorded; an input matches, has changed, or is not there
    any more, which is no fault. The manifest itself has no record in the folder: whoever changes it and a file alike
    is found out by a signature alone, or by the manifest's own hash, which is returned, to be held against one that
    was kept elsewhere. Who changes all of it can sign it again with a key of their own: only `key_file` says whose
    signature is asked for.

    Args:
        folder: the run folder.
        key_file: public key whose signature must be there.

    Returns:
        `folder`; `ok`, whether nothing has changed, is missing or came later, and every signature is of all that is
        there; `manifest`, the manifest's sha256; `files`, each with `kind` (artefact or input), `name` and `state`;
        `signatures`, each with `key` (a fingerprint), `signed` (when), `state`, `changed` (files) and `asked_for`;
        `signed_by_key`, whether a sound one is by `key_file`, null without one.

    Raises:
        OutputError: the folder is no run folder, its manifest is damaged, or a file in it cannot be read.
        ConfigError: the key cannot be read, or signatures cannot be checked as a package is missing.
    """
    wanted = read_public(key_file) if key_file is not None else None
    manifest = read_json(folder, MANIFEST, "artefacts")
    artefacts = recorded_hashes(folder, manifest)
    found = set(files_of(folder)) - {MANIFEST, SIGNATURE}
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
    differing = {file["name"] for file in files if file["kind"] == "artefact" and file["state"] != "matches"}
    signatures = check_signatures(folder, manifest, differing)
    by_key = any(one.raw == wanted and one.state == "as signed" for one in signatures)
    sound = all(one.state == "as signed" for one in signatures) and (wanted is None or by_key)
    return {
        "folder": str(folder),
        "ok": sound and all(file["state"] in SOUND for file in files),
        "manifest": file_sha256(folder / MANIFEST),
        "files": files,
        "signatures": [
            {
                "key": one.key,
                "signed": one.when,
                "state": one.state,
                "changed": list(one.changed),
                "asked_for": one.raw == wanted,
            }
            for one in signatures
        ],
        "signed_by_key": None if wanted is None else by_key,
    }


def check_unchanged(folder: Path) -> None:
    """Refuse a run folder that is not as its manifest records it: nobody should vouch for that.

    Raises:
        OutputError: a file has changed, is missing or is new; or the folder is no run folder.
    """
    wrong = [
        f"{file['name']} ({file['state']})"
        for file in verify_run(folder)["files"]
        if file["kind"] == "artefact" and file["state"] != "matches"
    ]
    if wrong:
        raise OutputError(
            f"Expected the run folder {folder} as its manifest records it, but it is not: {', '.join(wrong[:5])}; look "
            "at it with `unlearnkit verify`."
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
