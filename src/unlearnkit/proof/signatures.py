"""Signs what a run folder's manifest says, and so every file that it hashes; finds out what has changed since.

A signature is over a statement: the whole manifest as it was, and the time. The statement is kept with the signature,
so that a folder that an audit was added to later can still say what was signed and what came after.

    signed bytes = "unlearnkit signature 1" NUL canonical JSON of {"manifest": ..., "signed": ...}

Canonical JSON has sorted keys, no spaces, and characters as UTF-8.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unlearnkit.proof.keys import check_installed, fingerprint, public_of, raw_of
from unlearnkit.run_dir import SIGNATURE, read_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX = b"unlearnkit signature 1\0"
SCHEMA = 1
State = Literal["as signed", "changed after signing", "forged"]


@dataclass(frozen=True, kw_only=True)
class Signed:
    """What is to be said of one signature.

    Args:
        key: fingerprint of the public key that comes with it; whose that is, only who knows the key can say.
        raw: the key.
        when: the time that the signer wrote down.
        state: `forged` where key, statement and signature do not belong together.
        changed: files that have changed, are missing or are new since.
    """

    key: str
    raw: bytes
    when: str
    state: State
    changed: tuple[str, ...] = ()


def canonical(content: Mapping[str, Any]) -> bytes:
    """Return the one text that a JSON object has here.

    >>> canonical({"b": 1, "a": ["x", None]})
    b'{"a":["x",null],"b":1}'
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def signature_of(manifest: Mapping[str, Any], key: Ed25519PrivateKey, when: str) -> dict[str, Any]:
    """Return a signature of a manifest, as `signature.json` lists it."""
    statement = {"manifest": dict(manifest), "signed": when}
    return {
        "key": base64.b64encode(raw_of(key.public_key())).decode(),
        "signature": base64.b64encode(key.sign(PREFIX + canonical(statement))).decode(),
        "statement": statement,
    }


def with_signature(earlier: Sequence[Mapping[str, Any]], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of `signature.json` with one signature more, in place of an earlier one by the same key."""
    return {"schema": SCHEMA, "signatures": [*(one for one in earlier if one["key"] != new["key"]), new]}


def recorded(folder: Path) -> list[Mapping[str, Any]]:
    """Return the signatures in a run folder, as they stand there; an unsigned one has none.

    Raises:
        OutputError: the file is damaged.
    """
    if not os.path.lexists(folder / SIGNATURE):
        return []
    signatures: list[Mapping[str, Any]] = read_json(folder, SIGNATURE, "signatures")["signatures"]
    return signatures


def superseded(folder: Path) -> str | None:
    """Return the note that what was just added to a signed folder is not signed; None: the folder has no signature."""
    if not recorded(folder):
        return None
    return (
        f"note: {folder} was signed before, and what is new in it is not; look at it, and sign it again with "
        f"`unlearnkit sign`, or `unlearnkit verify` goes on to say that it has changed after signing"
    )


def check_signatures(folder: Path, manifest: Mapping[str, Any], differing: Collection[str]) -> list[Signed]:
    """Return what is to be said of every signature in a run folder.

    Args:
        folder: the run folder.
        manifest: as it is now.
        differing: files that are not as the manifest lists them.

    Raises:
        OutputError: the file of the signatures is damaged.
        ConfigError: it holds some, and the package `cryptography` is not installed.
    """
    found = recorded(folder)
    if found:
        check_installed()
    return [_checked(one, manifest, differing) for one in found]


def _checked(one: Mapping[str, Any], manifest: Mapping[str, Any], differing: Collection[str]) -> Signed:
    from cryptography.exceptions import InvalidSignature

    statement = one["statement"]
    raw = base64.b64decode(one["key"])
    name, when = fingerprint(raw), str(statement["signed"])
    try:
        public_of(raw).verify(base64.b64decode(one["signature"]), PREFIX + canonical(statement))
    except (InvalidSignature, ValueError):
        return Signed(key=name, raw=raw, when=when, state="forged")
    before = statement["manifest"]
    if canonical(before) == canonical(manifest) and not differing:
        return Signed(key=name, raw=raw, when=when, state="as signed")
    old, new = before["artefacts"], manifest["artefacts"]
    changed = sorted(name for name in {*old, *new, *differing} if name in differing or old.get(name) != new.get(name))
    return Signed(key=name, raw=raw, when=when, state="changed after signing", changed=tuple(changed))
