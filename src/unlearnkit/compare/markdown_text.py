"""Writes text of others in Markdown and LaTeX, where it may begin nothing of its own."""

from __future__ import annotations


def as_text(text: str) -> str:
    """Return text that begins no link, tag, code, cell or line in Markdown."""
    kept = printable(text)
    for mark in "\\`|*<>[]":
        kept = kept.replace(mark, f"\\{mark}")
    return kept


def printable(text: str) -> str:
    """Return text without what would end a line."""
    return "".join(character if character.isprintable() else " " for character in text)
