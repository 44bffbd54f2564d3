"""The report: a run folder -> one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

__all__ = ["render"]


def render(folder: Path) -> str:
    """Return the page."""
    return f"<!doctype html><title>{folder}</title>"
