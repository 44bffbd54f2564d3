"""Tables in a real browser: they sort by what cells mean and filter by what rows say, on any page that has some."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, PackageLoader
from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser: tables")]
ROWS = [  # name, what the cell shows, what it is sorted by
    ("run 10", "2 min 5 s", "125"),
    ("run 2", "9.9 ms", "0.0099"),
    ("run 1", "unknown", ""),
    ("run 3", "−3.00 s", "-3.0"),
    ("run 5", "3.00 s", "3.0"),
    ("run 4", "3.00 s", "3.0"),
    ("run 6", "1.0e-5 s", "1e-05"),
]
TWO = """{% import "parts.html.j2" as parts %}
<!doctype html><html lang="en"><meta charset="utf-8"><title>two tables</title>
{% for key in ("one", "two") %}
{% call parts.sortable(key, key, [("Name", false), ("Time", true)], "Only", "{} of {}") %}
<tbody>{% for name, shown, value in rows %}
<tr><th scope="row">{{ name }}</th>{{ parts.number(shown, value) }}</tr>
{% endfor %}</tbody>
{% endcall %}
{% endfor %}
<script>{{ script }}</script></html>"""


@pytest.fixture
def two(go: Any, tmp_path: Path) -> Page:
    """A page that is no report, with the table twice."""
    loader = PackageLoader("unlearnkit.report", ".")
    script = resources.files("unlearnkit.report").joinpath("page.js").read_text(encoding="utf-8")
    made = Environment(loader=loader, autoescape=False).from_string(TWO).render(rows=ROWS, script=script)
    file = tmp_path / "two.html"
    file.write_text(made, encoding="utf-8")
    page: Page = go(file).page
    return page


def names(page: Page, table: int = 0) -> list[str]:
    return page.locator("table").nth(table).locator("tbody tr:visible th").all_inner_texts()


def press(page: Page, head: str, table: int = 0) -> None:
    page.locator("table").nth(table).get_by_role("button", name=head).click()


def test_numbers_sort_by_their_value_whatever_their_unit(two: Page) -> None:
    given = [name for name, *_ in ROWS]
    press(two, "Time")
    up = ["run 3", "run 6", "run 2", "run 5", "run 4", "run 10", "run 1"]
    assert names(two) == up  # equal ones as the page had them, what is unknown last
    press(two, "Time")
    assert names(two) == ["run 10", "run 5", "run 4", "run 2", "run 6", "run 3", "run 1"]
    press(two, "Time")
    assert names(two) == given
    assert names(two, 1) == given


def test_names_sort_as_people_count(two: Page) -> None:
    press(two, "Name", 1)
    assert names(two, 1) == ["run 1", "run 2", "run 3", "run 4", "run 5", "run 6", "run 10"]
    ways = [head.get_attribute("aria-sort") for head in two.locator("table").nth(1).locator("thead th").all()]
    assert ways == ["ascending", "none"]
    press(two, "Time", 1)
    ways = [head.get_attribute("aria-sort") for head in two.locator("table").nth(1).locator("thead th").all()]
    assert ways == ["none", "ascending"]


def test_each_filter_is_for_its_own_table(two: Page) -> None:
    two.get_by_label("Only").nth(1).fill("3.00 RUN")
    assert names(two, 1) == ["run 3", "run 5", "run 4"]
    assert two.locator("output").all_inner_texts() == ["7 of 7", "3 of 7"]
    assert len(names(two)) == len(ROWS)
    press(two, "Time", 1)
    assert names(two, 1) == ["run 3", "run 5", "run 4"]
    two.get_by_label("Only").nth(1).fill("")
    assert len(names(two, 1)) == len(ROWS)


def test_the_readings_sort_inside_each_measure_and_filter_by_it(go: Any) -> None:
    page: Page = go("plain").page
    first = page.locator("#readings tbody").first
    cells = first.locator("tr:not(.group) td:nth-of-type(2)")
    page.locator("#readings").get_by_role("button", name="Value").click()
    found = [float(cell.get_attribute("data-v") or "nan") for cell in cells.all()]
    assert found == sorted(found)
    assert len(set(found)) > 4
    assert "group" in (first.locator("tr").first.get_attribute("class") or "")
    before = page.locator("#readings tbody:visible").count()
    page.get_by_role("searchbox").fill("balanced-nothing")
    assert page.locator("#readings tbody:visible").count() == 0
    page.get_by_role("searchbox").fill("STEPS unlearned")
    assert 0 < page.locator("#readings tbody:visible").count() < before
    rows = page.locator("#readings tbody tr:not(.group):visible")
    assert rows.count() > 0
    assert all("unlearned" in row for row in rows.all_inner_texts())
    said = page.locator("output").inner_text()
    assert said.startswith(f"{rows.count()} of ")


def test_the_heads_stay_in_sight(go: Any) -> None:
    page: Page = go("many").page
    region = page.locator("#readings .table")
    region.evaluate("each => { each.scrollTop = 900 }")
    inside, head = region.bounding_box(), region.locator("thead th").first.bounding_box()
    assert inside is not None
    assert head is not None
    assert head["y"] == pytest.approx(inside["y"], abs=2)
