"""Lists the built-in data sources for the help of `--data`."""

from __future__ import annotations

from unlearnkit.data.sources.registry import SOURCES


def source_forms() -> str:
    """Return how each built-in source is written, with commas between them."""
    return ", ".join(f"{name}:{source.needs}" if source.needs else name for name, source in SOURCES.items())
