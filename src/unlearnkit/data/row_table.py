"""Defines RowTable: what a data source knows of its rows besides pictures and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class RowTable(Protocol):
    """File names and columns of metadata of one stored set, read when they are asked for; no picture is opened."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that hold neither pictures nor what the model is trained on."""
        ...

    def column(self, name: str) -> Sequence[str | None]:
        """Return a column's value in every row as text, None where there is none; a class is given by its name."""
        ...

    def file_names(self) -> Sequence[str | None]:
        """Return the file name of every row as the source has it, with `/` between folders; None where it has none."""
        ...
