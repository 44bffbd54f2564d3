"""Finds, checks and deletes entries of the reference bank, a folder of trained models named by what they are.

An entry is a run folder of `train` whose name is the key of its identity, with one file more: `reference.json`, the
identity. What the same seed gives on another device or with another version of torch differs by rounding alone. Those
are in the entry's manifest and not in its key: two such models are one draw, and no audit may count them as two.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

from unlearnkit.disk.files import hidden_beside
from unlearnkit.errors import ConfigError, OutputError
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.steps.identity import Identity
from unlearnkit.steps.verify import verify_run

REFERENCE = "reference.json"
VARIABLE = "UNLEARNKIT_BANK"
KEY = re.compile(r"[0-9a-f]{32}")


def default_bank() -> Path:
    """Return the folder that the environment variable UNLEARNKIT_BANK names, else one in the user's cache.

    Raises:
        ConfigError: there is no home directory.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    try:
        home = Path.home()
    except RuntimeError as error:
        raise ConfigError(f"Expected a home directory for the bank, but there is none; set {VARIABLE}.") from error
    if sys.platform == "darwin":
        cache = home / "Library" / "Caches"
    elif sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        given = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
        cache = given if given.is_absolute() else home / ".cache"  # as the standard says
    return cache / "unlearnkit" / "bank"


def folders_of(bank: Path) -> list[Path]:
    """Return the folders of a bank that have a key for a name, whatever is in them; links are none.

    Raises:
        OutputError: the bank is there and cannot be read.
    """
    if not bank.exists():
        return []
    try:
        return sorted(p for p in bank.iterdir() if KEY.fullmatch(p.name) and p.is_dir() and not p.is_symlink())
    except OSError as error:
        raise OutputError(
            f"Expected a reference bank at {bank}, but got: {error.strerror or error}; name a folder that you can read."
        ) from error


def read_identity(folder: Path) -> Identity:
    """Read what an entry says that it is.

    Raises:
        OutputError: it says nothing, or something that does not give the folder's name: it is unfinished or damaged.
    """
    record = read_json(folder, REFERENCE)
    try:
        identity = Identity.from_record(record)
        key = identity.key
    except (KeyError, TypeError, ValueError) as error:
        raise OutputError(
            f"Expected an identity in {folder / REFERENCE}, but it cannot be read ({type(error).__name__}: {error}); "
            "delete the entry with `unlearnkit bank prune`."
        ) from error
    if key != folder.name:
        raise OutputError(
            f"Expected {folder / REFERENCE} to give the key {folder.name}, but it gives {key}; delete the entry with "
            "`unlearnkit bank prune`."
        )
    return identity


def damage(folder: Path) -> str | None:
    """Hash every file of an entry, and return what is wrong with it in one sentence; None: it may be used."""
    try:
        if folder.is_symlink() or not folder.is_dir():
            return "it is no folder of its own."
        read_identity(folder)
        files = [file for file in verify_run(folder)["files"] if file["kind"] == "artefact"]
    except OutputError as error:
        return str(error)
    states = dict.fromkeys((WEIGHTS, REFERENCE), "missing") | {file["name"]: file["state"] for file in files}
    wrong = [f"{name} is {state}" for name, state in states.items() if state in ("missing", "changed")]
    wrong += [f"{name} is not recorded" for name in (WEIGHTS, REFERENCE) if states[name] == "not recorded"]
    return f"{', '.join(wrong)}." if wrong else None


def discard(folder: Path) -> None:
    """Delete an entry, of a link the link alone; it has no key for a name any more before its first file is gone.

    Raises:
        OutputError: it cannot be deleted.
    """
    doomed = hidden_beside(folder)  # the next command that writes beside it deletes that, where this one is killed
    try:
        folder.rename(doomed)
        if doomed.is_symlink() or doomed.is_file():
            doomed.unlink()
        else:
            shutil.rmtree(doomed)
    except OSError as error:
        raise OutputError(
            f"Expected to be able to delete {folder}, but got: {error.strerror or error}; check its permissions."
        ) from error
