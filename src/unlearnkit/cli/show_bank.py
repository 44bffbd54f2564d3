"""Prints the models of the reference bank on standard output: their paths, then a summary."""

from __future__ import annotations

from typing import Any

from unlearnkit.class_names import listed
from unlearnkit.runtime.terminal import print_line


def show_references(result: dict[str, Any]) -> None:
    """Print the weights of each reference model, and how many of them were trained now."""
    references = result["references"]
    trained = sum(each["trained"] for each in references)
    _print(
        *(each["path"] for each in references),
        f"retrained without {_gone(result)}: {len(references)}, of which {trained} now and "
        f"{len(references) - trained} earlier",
        f"bank: {result['bank']}",
    )


def show_bank(result: dict[str, Any]) -> None:
    """Print each entry of the bank, or what was deleted from it."""
    if "pruned" in result:
        _print(*result["pruned"], f"deleted from the bank {result['bank']}: {len(result['pruned'])}")
        return
    _print(
        *(_line(entry) for entry in result["entries"]),
        f"in the bank {result['bank']}: {len(result['entries'])}",
    )


def _line(entry: dict[str, Any]) -> str:
    if entry["wrong"]:
        return f"{entry['key']}  WRONG  {entry['wrong']}"
    gone = _gone(entry)
    learned = f" without {gone}" if gone else ", all classes"
    return f"{entry['key']}  {entry['model']} on {entry['data']}{learned}, seed {entry['seed']}"


def _gone(entry: dict[str, Any]) -> str:
    """Return what a model was trained without; nothing where it knows all."""
    classes = listed(entry["excluded"], quoted=False)
    return " and ".join(filter(None, (classes, "some rows" if entry["rows"] else "")))


def _print(*lines: str) -> None:
    for line in lines:
        print_line(line)
