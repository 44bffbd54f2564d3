"""The table of the article's statements in the documentation is that of the committed suites."""

from __future__ import annotations

from pathlib import Path

from statements import table

PAGE = Path(__file__).parents[2] / "docs" / "compare.md"


def test_the_page_has_the_table_of_the_committed_suites() -> None:
    assert table() in PAGE.read_text(), "run benchmarks/statements.py and put its table into docs/compare.md"
