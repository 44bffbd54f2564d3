"""Keeps the ledger: one SQLite file of requests and runs, whose entries are chained by hashes.

    hash of an entry = sha256(hash of the entry before, a line break, canonical JSON of the entry)

Whoever changes, deletes, inserts or reorders entries breaks the chain. The newest entries can be cut off, and a whole
new chain can be written, by whoever can write the file: only a hash of the head that is kept elsewhere tells that.
SQLite's write-ahead log keeps the file whole under several writers, and when one of them is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from unlearnkit.disk.files import open_regular
from unlearnkit.disk.json_text import parse_json
from unlearnkit.errors import OutputError, reason
from unlearnkit.proof.signatures import canonical

PATIENCE = 60  # seconds that a writer waits for the others
START = "0" * 64  # what stands before the first entry
TABLE = "CREATE TABLE entries (number INTEGER PRIMARY KEY, content TEXT NOT NULL, hash TEXT NOT NULL)"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry of the ledger."""

    number: int
    content: Mapping[str, Any]
    hash: str


@dataclass(frozen=True, kw_only=True)
class Chain:
    """What a check of a whole ledger found.

    Args:
        count: of its entries.
        head: hash of the newest one, which stands for all of them.
        wrong: what is wrong with the first entry that does not fit; None: all fit.
    """

    count: int
    head: str
    wrong: str | None


def append(path: Path, content: Mapping[str, Any]) -> Entry:
    """Write an entry behind the newest one, through to the disk, and return it; a new file gets its first entry first.

    Raises:
        OutputError: the file cannot be written, is no ledger, or its newest entry does not fit.
    """
    with _opened(path, write=True) as database:
        newest = _newest(database, path)
        if newest is None:
            newest = _insert(
                database, None, {"kind": "ledger", "id": secrets.token_hex(16), "schema": 1, "time": now()}
            )
        return _insert(database, newest, content)


def entries(path: Path) -> list[Entry]:
    """Return all entries, oldest first.

    Raises:
        OutputError: there is no such file, it is no ledger, or an entry cannot be read.
    """
    with _opened(path, write=False) as database:
        rows = database.execute("SELECT number, content, hash FROM entries ORDER BY number").fetchall()
    return [Entry(number=number, content=_parsed(path, number, text), hash=digest) for number, text, digest in rows]


def check(path: Path) -> Chain:
    """Compute the whole chain again.

    Raises:
        OutputError: there is no such file, or it is no ledger.
    """
    with _opened(path, write=False) as database:
        broken = database.execute("PRAGMA quick_check").fetchone()[0]
        rows = database.execute("SELECT number, content, hash FROM entries ORDER BY number").fetchall()
    if broken != "ok":
        return Chain(count=len(rows), head="", wrong=f"the file is damaged ({broken})")
    before = START
    for place, (number, text, digest) in enumerate(rows, start=1):
        wrong = None
        if number != place:
            wrong = f"entry {place} is missing"
        elif not isinstance(text, str) or not isinstance(digest, str) or _hash(before, text) != digest:
            wrong = f"entry {number} is not what was written, or stands in another place"
        if wrong:
            return Chain(count=len(rows), head=before, wrong=wrong)
        before = digest
    return Chain(count=len(rows), head=before, wrong=None)


def now() -> str:
    """Return the time as entries have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def check_usable(path: Path) -> None:
    """Refuse, before any work, a ledger that cannot be added to; one that is not there yet is made.

    Raises:
        OutputError: the file cannot be written, is no ledger, or its newest entry does not fit.
    """
    with _opened(path, write=True) as database:
        _newest(database, path)


def _insert(database: sqlite3.Connection, before: Entry | None, content: Mapping[str, Any]) -> Entry:
    text = canonical(content).decode()
    number = before.number + 1 if before else 1
    entry = Entry(number=number, content=content, hash=_hash(before.hash if before else START, text))
    database.execute("INSERT INTO entries VALUES (?, ?, ?)", (entry.number, text, entry.hash))
    return entry


def _newest(database: sqlite3.Connection, path: Path) -> Entry | None:
    """Return the newest entry, if it fits on the one before; a chain that is broken there is not built on."""
    rows = database.execute("SELECT number, content, hash FROM entries ORDER BY number DESC LIMIT 2").fetchall()
    if not rows:
        return None
    number, text, digest = rows[0]
    before = rows[1][2] if len(rows) > 1 else START
    if _hash(str(before), str(text)) != digest:
        raise OutputError(
            f"Expected the newest entry of the ledger {path} as it was written, but entry {number} has changed; look "
            "at it with `unlearnkit ledger verify`, and go on with a copy that was kept."
        )
    return Entry(number=number, content=_parsed(path, number, text), hash=digest)


def _hash(before: str, text: str) -> str:
    return hashlib.sha256(f"{before}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()


def _parsed(path: Path, number: int, text: object) -> dict[str, Any]:
    try:
        content = parse_json(str(text))
        if not isinstance(content, dict):
            raise ValueError(f"it is a {type(content).__name__}")
    except ValueError as error:
        raise OutputError(
            f"Expected JSON in entry {number} of the ledger {path}, but it is damaged ({reason(error)}); look at it "
            "with `unlearnkit ledger verify`."
        ) from error
    return content


@contextlib.contextmanager
def _opened(path: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    """Open a ledger; what is written in the `with` block is there in whole or not at all.

    A stranger's file is read as a table alone: no view, trigger or function that its schema names is used.
    """
    try:
        if os.path.lexists(path):
            open_regular(path).close()  # a pipe would be waited for
        elif not write:
            raise OutputError(f"Expected a ledger at {path}, but there is none; `unlearnkit ledger add` makes it.")
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as database:
            database.execute("PRAGMA trusted_schema=OFF")
            if write:
                if database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                    _log_ahead(database)
                database.execute("PRAGMA synchronous=FULL")
                database.execute("BEGIN IMMEDIATE")
                if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    database.execute(TABLE)
            _check_schema(database, path)
            yield database
            if write:
                database.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        raise OutputError(
            f"Expected to be able to {'write' if write else 'read'} the ledger {path}, but got: {reason(error)}; name "
            "a file made by `unlearnkit ledger`, in a folder that you may write to."
        ) from error


def _log_ahead(database: sqlite3.Connection) -> None:
    """Turn the write-ahead log on; SQLite itself does not wait for others that do the same to a new file."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.02)


def _check_schema(database: sqlite3.Connection, path: Path) -> None:
    found = database.execute("SELECT type, sql FROM sqlite_master").fetchall()
    if found != [("table", TABLE)]:
        raise OutputError(
            f"Expected a ledger at {path}, but it is another database; name a file made by `unlearnkit ledger`."
        )
