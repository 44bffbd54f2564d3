"""Writes runs into the ledger, lists them with what links them, and checks that nothing in it has changed.

An entry holds class names, hashes, verdicts and times; no paths, no command lines, no names of people or machines. The
label of a request is the user's own word, and should be a number of a ticket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from unlearnkit.class_names import unprintable
from unlearnkit.errors import ConfigError, OutputError, UnlearnkitError
from unlearnkit.models.checkpoint import file_sha256
from unlearnkit.proof.ledger import Entry, append, check, check_usable, entries, now
from unlearnkit.run_dir import MANIFEST, WEIGHTS, read_json
from unlearnkit.steps.verify import check_unchanged

LONGEST = 200  # characters of a request's label
VARIABLE = "UNLEARNKIT_LEDGER"


def add_run(ledger: Path, folder: Path, *, request: str | None = None) -> dict[str, Any]:
    """Write a run folder as it is now into a ledger; what the ledger has of it already is not written again.

    Args:
        ledger: the file; it is made where there is none.
        folder: the run folder, all of it as its manifest records it.
        request: label of the request that the run answers.

    Returns:
        `ledger`, `number` and `head` of the entry, and `added`, whether it is new.

    Raises:
        OutputError: the folder is no run folder or has changed, or the ledger cannot be written.
        ConfigError: the label holds control characters or is too long.
    """
    if request is not None and (unprintable(request) or not 0 < len(request) <= LONGEST):
        raise ConfigError(
            f"Expected a label of at most {LONGEST} characters without control characters for --request, but got "
            f"{request[:40]!r}; give the number of a ticket."
        )
    check_unchanged(folder)
    facts = _facts(folder, request)
    known = entries(ledger) if ledger.exists() else []
    same = [entry for entry in known if {**entry.content, "time": ""} == {**facts, "time": ""}]
    entry = same[-1] if same else append(ledger, facts)
    return {"ledger": str(ledger), "number": entry.number, "head": entry.hash, "added": not same}


def record(ledger: Path | None, folder: Path) -> None:
    """Write a run that has just been made into the ledger; None: there is none.

    Raises:
        UnlearnkitError: that failed; the message says that the run is there, and how to add it.
    """
    if ledger is None:
        return
    try:
        add_run(ledger, folder)
    except UnlearnkitError as error:
        raise type(error)(
            f"{error} The run is in {folder}; mend this and run `unlearnkit ledger add {folder}`."
        ) from error


def check_ledger(ledger: Path | None) -> None:
    """Refuse, before any work, a ledger that cannot be added to; None: there is none.

    Raises:
        OutputError: it cannot be written, is no ledger, or its newest entry has changed.
    """
    if ledger is not None:
        check_usable(ledger)


def list_ledger(ledger: Path) -> dict[str, Any]:
    """Return all entries, each run with `follows`, the numbers of the earlier entries of the same models.

    A run follows the newest earlier entry whose model after it is the one before or after this one.

    Raises:
        OutputError: there is no such file, or it is no ledger.
    """
    found = entries(ledger)
    listed = [
        {"number": entry.number, "hash": entry.hash, **entry.content, "follows": _follows(entry, found[:place])}
        for place, entry in enumerate(found)
    ]
    return {"ledger": str(ledger), "entries": listed}


def verify_ledger(ledger: Path, head: str | None = None) -> dict[str, Any]:
    """Compute the chain again, and look for a head that was kept elsewhere.

    Args:
        ledger: the file.
        head: hash of an entry, as an earlier `add` or `verify` printed it; all up to it must still be there.

    Returns:
        `ledger`; `ok`; `count` of the entries; `head`, hash of the newest; `wrong`, what does not fit, or null;
        `since_head`, how many entries came after the given head, null without one or where it is not there.

    Raises:
        OutputError: there is no such file, or it is no ledger.
        ConfigError: the head is no hash.
    """
    if head is not None and not (len(head) == 64 and set(head) <= set("0123456789abcdef")):
        raise ConfigError(f"Expected 64 hexadecimal digits for --head, but got {head[:80]!r}; copy them whole.")
    chain = check(ledger)
    wrong, since = chain.wrong, None
    if wrong is None and head is not None:
        places = [entry.number for entry in entries(ledger) if entry.hash == head]
        since = chain.count - places[0] if places else None
        if not places:
            wrong = "the entry with the hash that was kept is not in it: entries were cut off, or all were written anew"
    return {
        "ledger": str(ledger),
        "ok": wrong is None,
        "count": chain.count,
        "head": chain.head,
        "wrong": wrong,
        "since_head": since,
    }


def _facts(folder: Path, request: str | None) -> dict[str, Any]:
    """What an entry says of a run folder."""
    manifest, config = read_json(folder, MANIFEST, "artefacts"), read_json(folder, "config.json", "kind")
    artefacts: Mapping[str, str] = manifest["artefacts"]
    inputs: Mapping[str, str] = manifest.get("inputs") or {}
    wanted = read_json(folder, "request.json") if "request.json" in artefacts else {}
    start = config.get("weights") or config.get("init")
    after = artefacts.get(WEIGHTS) or inputs.get(str(config.get("unlearned")))
    if not isinstance(config["kind"], str):
        raise OutputError(f"Expected the kind of the run in {folder / 'config.json'}, but got none; make it again.")
    return {
        "kind": config["kind"],
        "time": now(),
        "request": request,
        "forget": list(wanted.get("forget") or config.get("exclude") or ()),
        "already_forgotten": list(wanted.get("already_forgotten") or ()),
        "method": config.get("method"),
        "model_before": inputs.get(str(start)),
        "model_after": after,
        "audit": _audit(folder, artefacts),
        "manifest": file_sha256(folder / MANIFEST),
        "unlearnkit": _version(),
    }


def _audit(folder: Path, artefacts: Mapping[str, str]) -> dict[str, Any] | None:
    if "audit.json" not in artefacts:
        return None
    audit = read_json(folder, "audit.json")
    verdict = audit.get("verdict") or {}
    return {"sha256": artefacts["audit.json"], "verdict": verdict.get("status"), "tier": audit.get("tier")}


def _follows(entry: Entry, earlier: Sequence[Entry]) -> list[int]:
    wanted = {entry.content.get("model_before"), entry.content.get("model_after")} - {None}
    numbers = {}
    for other in earlier:
        model = other.content.get("model_after")
        if model in wanted:
            numbers[model] = other.number
    return sorted(numbers.values())


def _version() -> str | None:
    try:
        return version("unlearnkit")
    except PackageNotFoundError:
        return None
