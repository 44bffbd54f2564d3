"""The report on paper: A4, all of it, black on white, heads repeated, nothing cut in the middle."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from pypdf import PdfReader

from visit import PRINTED, open_details, visit

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser: print")]
A4 = (210 / 25.4 * 72, 297 / 25.4 * 72)


@pytest.fixture(scope="module")
def papers(browser: Browser, pages: dict[str, Path]) -> dict[str, PdfReader]:
    """Pages as Chromium prints them, for someone who reads in the dark."""
    found = {}
    for name in ("plain", "hostile"):
        page = visit(browser, pages[name], scheme="dark").page
        found[name] = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True, print_background=True)))
        page.context.close()
    return found


@cache
def sheets(paper: PdfReader) -> list[str]:
    """The text of each sheet, its white space made one."""
    return [" ".join(sheet.extract_text().split()) for sheet in paper.pages]


@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_it_prints_on_a4_without_an_empty_sheet(papers: dict[str, PdfReader], name: str) -> None:
    for sheet in papers[name].pages:
        assert (float(sheet.mediabox.width), float(sheet.mediabox.height)) == pytest.approx(A4, abs=1)
    texts = sheets(papers[name])
    assert all(len(text) > 80 for text in texts)
    assert "Request to forget" in texts[0]
    assert "Verdict" in texts[0]
    assert "It loads nothing from elsewhere." in texts[-1]
    assert len(texts) < 40


def test_every_sheet_of_a_table_has_its_heads(papers: dict[str, PdfReader]) -> None:
    texts = [text for text in sheets(papers["plain"]) if "as retrained" in text]
    assert len(texts) >= 2
    for text in texts:
        assert all(head in text for head in ("Interval", "Wanted", "Doubts"))


def test_what_is_folded_and_what_only_a_screen_can_do_is_not_printed(papers: dict[str, PdfReader], go: Any) -> None:
    text = " ".join(sheets(papers["plain"]))
    for said in ("The same as a table", "Show rows with", "Skip to the summary", "The numbers as CSV"):
        assert said not in text
    page = go("bare").page
    open_details(page)
    assert "The same per class" in " ".join(sheets(PdfReader(io.BytesIO(page.pdf()))))


def test_hostile_names_are_on_paper_too(papers: dict[str, PdfReader]) -> None:
    text = "".join(sheets(papers["hostile"])).replace(" ", "")
    for name in ("<script>alert(1)</script>", '"><imgsrc=xonerror=alert(3)>', "x" * 200):
        assert name in text


DARK = """() => [...document.querySelectorAll('body, body *:not(svg *)')].filter(each => {
  const [red, green, blue, alpha = 1] = getComputedStyle(each).backgroundColor.match(/[0-9.]+/g).map(Number);
  return alpha > 0.5 && Math.min(red, green, blue) < 200;
}).map(each => each.outerHTML.slice(0, 90))"""
SPLIT = """() => [...document.querySelectorAll('tr, .card, .verdict, .reads, .canvas:not(.tall), .canvas.tall > div')]
  .filter(each => getComputedStyle(each).breakInside !== 'avoid' && !each.closest('.canvas.tall'))
  .map(each => each.outerHTML.slice(0, 90))"""
HELD = """() => [...document.querySelectorAll('body *')].filter(each => {
  const { overflowX, overflowY } = getComputedStyle(each);
  const hides = (way, inner, outer) => way !== 'visible' && inner > outer + 1;
  return !each.closest('svg, h1') && (hides(overflowX, each.scrollWidth, each.clientWidth)
    || hides(overflowY, each.scrollHeight, each.clientHeight));
}).map(each => each.outerHTML.slice(0, 90))"""


def test_paper_is_white_and_holds_all_of_every_box(go: Any) -> None:
    page = go("many", scheme="dark", width=PRINTED).page
    open_details(page)
    assert len(page.evaluate(DARK)) > 3
    assert len(page.evaluate(HELD)) > 1
    page.emulate_media(media="print")
    assert page.evaluate(DARK) == []
    assert page.evaluate(SPLIT) == []
    assert page.evaluate(HELD) == []
