"""The table of the article's statements in the documentation is that of the committed suites."""

from __future__ import annotations

from statements import PAGE, renewed, table


def test_the_page_has_the_table_of_the_committed_suites() -> None:
    page = PAGE.read_text()
    assert table() in page, "run benchmarks/statements.py --write"
    assert renewed(page) == page


def test_a_table_of_earlier_results_gives_way_and_the_rest_stays() -> None:
    old = "before\n\n| statement | outcome | figures |\n| --- | --- | --- |\n| old | held | 1 |\n\nafter\n"
    assert renewed(old) == f"before\n\n{table()}\nafter\n"
