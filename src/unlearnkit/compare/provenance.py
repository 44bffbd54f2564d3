"""Says with which versions, and on what, the rows of a suite were measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def measured_by(contents: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return each kind of machine and versions among finished cells once, in words."""
    return sorted({_in_words(content["versions"], content["hardware"]) for content in contents})


def measured_with(results: Mapping[str, Any]) -> str:
    """Return a sentence on what the rows of a suite were measured with; nothing where none is finished."""
    known = results.get("measured")
    if known is None and "versions" in results:  # of an earlier version, which kept those of one row
        known = [_in_words(results["versions"], results["hardware"])]
    return f"Measured with {'; and with '.join(known)}." if known else ""


def _in_words(versions: Mapping[str, str], machine: Mapping[str, Any]) -> str:
    threads = "one thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
    used = f"unlearnkit {versions['unlearnkit']}, torch {versions['torch']}"
    return f"{used} on {machine['device']} ({machine['machine']}, {threads})"
