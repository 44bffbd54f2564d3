"""Signs a run folder, so that whoever has the public key sees whether anything has changed since; makes keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unlearnkit.proof.keys import fingerprint, make_key, raw_of, read_private
from unlearnkit.proof.signatures import recorded, signature_of, with_signature
from unlearnkit.run_dir import MANIFEST, read_json, sign_run
from unlearnkit.steps.verify import check_unchanged


def sign_folder(folder: Path, key_file: Path) -> dict[str, Any]:
    """Sign a run folder as it is now; a signature by the same key is replaced, one by another key stays.

    Args:
        folder: the run folder; all that its manifest lists must be as it was written.
        key_file: an Ed25519 private key, of OpenSSH or in PEM.

    Returns:
        `folder`, `key` (the fingerprint of the public key), `signatures` (how many there are now).

    Raises:
        OutputError: the folder is no run folder, or is not as its manifest records it.
        ConfigError: the key cannot be used.
    """
    key = read_private(key_file)
    check_unchanged(folder)
    manifest = read_json(folder, MANIFEST, "artefacts")
    new = signature_of(manifest, key, datetime.now(UTC).isoformat(timespec="seconds"))
    content = with_signature(recorded(folder), new)
    sign_run(folder, content)
    return {
        "folder": str(folder),
        "key": fingerprint(raw_of(key.public_key())),
        "signatures": len(content["signatures"]),
    }


def make_keys(path: Path) -> dict[str, Any]:
    """Write a private key and, beside it, its public key; return both places and the fingerprint.

    Raises:
        OutputError: a file is there already, or cannot be written.
        ConfigError: the package that makes keys is not installed.
    """
    return {"key": make_key(path), "private": str(path), "public": f"{path}.pub"}
