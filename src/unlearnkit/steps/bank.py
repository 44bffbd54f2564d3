"""Lists, verifies and prunes the reference bank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unlearnkit.disk.staging import sweep
from unlearnkit.errors import OutputError
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.steps.reference_bank import damage, discard, folders_of, read_identity


def list_bank(bank: Path) -> dict[str, Any]:
    """Return what every entry of a bank says that it is; `wrong` where it says nothing that can be read.

    Raises:
        OutputError: the bank cannot be read.
    """
    return {"bank": str(bank), "entries": [_described(folder) for folder in folders_of(bank)]}


def verify_bank(bank: Path) -> dict[str, Any]:
    """Return the same, every file of every entry hashed: `wrong` says what is not as it was written.

    Raises:
        OutputError: the bank cannot be read.
    """
    entries = [_described(folder) | {"wrong": damage(folder)} for folder in folders_of(bank)]
    return {"bank": str(bank), "entries": entries}


def prune_bank(bank: Path) -> dict[str, Any]:
    """Delete the entries that are unfinished or damaged, and what killed commands left; the others stay.

    Raises:
        OutputError: the bank cannot be read, or an entry cannot be deleted.
    """
    entries = [entry for entry in verify_bank(bank)["entries"] if entry["wrong"]]
    for entry in entries:
        discard(bank / entry["key"])
    sweep(bank)
    return {"bank": str(bank), "pruned": [entry["key"] for entry in entries]}


def _described(folder: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"key": folder.name, "path": str(folder / WEIGHTS), "wrong": None}
    try:
        identity = read_identity(folder)
        data = read_json(folder, "config.json", "data")["data"]
    except OutputError as error:
        return entry | {"wrong": str(error)}
    return entry | {
        "model": identity.model,
        "data": data,
        "excluded": list(identity.excluded),
        "rows": identity.rows is not None,  # whether it lacks some besides these classes
        "seed": identity.seed,
    }
