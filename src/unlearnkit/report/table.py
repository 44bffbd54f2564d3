"""Embeds a figure's data in the page as a CSV file, whose link needs neither a script nor the run folder."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from unlearnkit.report.text import clean

Cell = str | float | None
# a spreadsheet takes a cell that begins so for a formula, also behind white space and in full width
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Named columns and rows of text and numbers; None is an empty cell."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]

    @property
    def csv(self) -> str:
        """Return the table by RFC 4180: numbers with all digits, and quoted text that never starts as a formula."""
        file = io.StringIO()
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
        writer.writerows([_cell(cell) for cell in row] for row in chain([self.columns], self.rows))
        return file.getvalue()

    @property
    def link(self) -> str:
        """Return the CSV file as a data: address, with the byte order mark that tells spreadsheets it is UTF-8."""
        encoded = base64.b64encode(self.csv.encode("utf-8-sig")).decode("ascii")
        return f"data:text/csv;charset=utf-8;base64,{encoded}"


def _cell(cell: Cell) -> str | float:
    if not isinstance(cell, str):
        return "" if cell is None else cell
    text = clean(cell)
    formula = text.lstrip().startswith(FORMULA) or text.startswith(("\t", "\r", "\n"))
    return f"'{text}" if formula else text  # the apostrophe makes it text in every spreadsheet
