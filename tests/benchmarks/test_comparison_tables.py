"""The tables of the comparison in the documentation are those of the committed results."""

from __future__ import annotations

import itertools

import pytest

from comparison_tables import MARKED, PAGE, TABLES, renewed

TEXT = PAGE.read_text(encoding="utf-8")
BY_HAND = ["| method | source | reported: original A_f / A_r |"]  # what others report is in no result of ours


@pytest.mark.slow
def test_the_page_has_the_tables_of_the_committed_results() -> None:
    assert renewed(TEXT) == TEXT, "run benchmarks/comparison_tables.py --write"


def test_each_table_is_in_the_page_and_one_alone_is_made_by_hand() -> None:
    assert [name for _, name, _ in MARKED.findall(TEXT)] == list(TABLES)
    rest = itertools.pairwise(MARKED.sub("", TEXT).splitlines())
    heads = [line for line, below in rest if below.startswith("| --- ")]
    assert [head for head in heads if not head.startswith(tuple(BY_HAND))] == []
    assert len(heads) == len(BY_HAND)


def test_what_stands_where_a_table_belongs_gives_way_to_it_and_the_rest_stays() -> None:
    page = "before\n\n<!-- table: subclass -->\n\n| old |\n\n<!-- end of table -->\n\nafter\n"
    made = renewed(page)
    assert made == page.replace("| old |\n", TABLES["subclass"]())
    assert renewed(made) == made


def test_a_table_that_nothing_makes_is_an_error() -> None:
    with pytest.raises(KeyError):
        renewed("<!-- table: none -->\n\n\n<!-- end of table -->")
