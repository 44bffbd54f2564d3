"""Prints the tables that sum a suite up on standard output."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unlearnkit.runtime.terminal import escaped


def show_table(heading: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table below its heading, 80 columns wide at least; words fold, figures stay whole.

    Args:
        heading: what it is about.
        heads: of the columns.
        rows: text for each column.
    """
    console = Console(highlight=False)
    console.width = max(80, console.width)
    console.print(Text(escaped(heading)), soft_wrap=True)
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for number, head in enumerate(heads):
        if number == 0:
            table.add_column(head, overflow="fold", min_width=12)
        elif head in ("reading", "verdicts"):
            table.add_column(head, min_width=len(head))
        else:
            table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(escaped(cell)) for cell in row))
    console.print(table)
