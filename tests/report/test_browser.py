"""The report in a real browser: it asks for nothing, says all of it, keeps its layout, and can be used by everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from unlearnkit.report.text import clean
from visit import NASTY, PRINTED, TURNED, open_details

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
PAGES = ("plain", "hostile", "many", "judged", "bare", "pictured", "chinese")


# Links to nowhere, and links that are neither to a place in the page nor a file in it
ASTRAY = """() => [...document.querySelectorAll('a')].filter(each => each.getAttribute('href').startsWith('#')
  ? !document.getElementById(each.hash.slice(1)) : !each.download || !each.href.startsWith('data:text/csv'))
  .map(each => each.outerHTML)"""


@pytest.mark.parametrize("name", PAGES)
def test_it_opens_offline_without_a_word_and_asks_for_nothing(go: Any, pages: dict[str, Path], name: str) -> None:
    here = go(name)
    open_details(here.page)
    here.page.mouse.wheel(0, 100_000)
    assert here.said == []
    assert here.asked == [pages[name].as_uri()]
    assert pages[name].stat().st_size < 5_000_000
    assert here.page.evaluate(ASTRAY) == []


INJECTED = "<script>document.title = 'ran'</script><img src=x onerror=\"document.title = 'ran'\"></body>"


def test_the_policy_lets_no_script_in_that_is_not_ours(go: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    page = pages["plain"].read_text(encoding="utf-8")
    start = page.index('<meta http-equiv="Content-Security-Policy"')
    unguarded = page[:start] + page[page.index(">", start) + 1 :]
    ran = {}
    for name, text in {"guarded": page, "unguarded": unguarded}.items():
        file = tmp_path / f"{name}.html"
        file.write_text(text.replace("</body>", INJECTED), encoding="utf-8")
        here = go(file)
        ran[name] = here.page.title() == "ran"
        if name == "guarded":
            assert sum("Content Security Policy" in said for said in here.said) >= 2  # the script, and the picture
            assert here.page.locator("th button").count() == 6  # ours still runs
            here.page.evaluate(
                "document.body.append(Object.assign(document.createElement('script'), {text: 'alert(1)'}))"
            )
            assert not [said for said in here.said if said.startswith("dialog")]
    assert ran == {"guarded": False, "unguarded": True}


def test_hostile_names_are_text_and_run_nothing(go: Any) -> None:
    here = go("hostile")
    open_details(here.page)
    assert here.page.locator("img, iframe, object, embed").count() == 0
    assert here.page.locator("script").count() == 1
    for name in NASTY:
        assert here.page.get_by_text(clean(name), exact=True).count() >= 1, name
    shown = here.page.locator(".chip bdi").first
    assert shown.inner_text() == TURNED
    assert here.said == []


# The left edges of the first letter of each of these words, in the element that has them all
EDGES = """([within, ...words]) => {
  const at = [...document.querySelectorAll(within)].find(each => words.every(word => each.textContent.includes(word)));
  const walker = document.createTreeWalker(at, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node; (node = walker.nextNode()); )
    for (const word of words) {
      const start = node.data.indexOf(word);
      if (start < 0) continue;
      const range = document.createRange();
      range.setStart(node, start);
      range.setEnd(node, start + 1);
      found.push([word, range.getBoundingClientRect().left, range.getBoundingClientRect().top]);
    }
  return found;
}"""


def test_a_name_turns_only_itself(go: Any) -> None:
    page = go("hostile", width=4000).page
    for within, words in (
        ("h1", ["Request", "“", "”"]),
        (".chip", ["gpj", "id 0"]),
        (".found", ["The retained class that lost most", "oops", "from"]),
        (".facts div", ["classes to forget", "gpj"]),
    ):
        edges = page.evaluate(EDGES, [within, *words])
        assert [word for word, *_ in edges] == words
        places = [left for _, left, _ in edges]
        assert places == sorted(places), within


def test_without_scripts_everything_is_there(go: Any) -> None:
    page = go("plain", scripts=False).page
    text = page.locator("body").inner_text()
    assert "98.8%" in text
    assert page.locator("th button").count() == 0
    assert page.locator(".tools").is_hidden()
    assert page.locator("#readings tbody tr:not(.group)").count() > 30
    assert page.locator("#readings tbody tr").last.is_visible()
    page.locator("summary").first.click()
    assert page.locator("details table").first.is_visible()


# What is drawn beyond the box that holds it, and what lies on its neighbour
CUT = """() => [...document.querySelectorAll('.plot text, .plot .point')].flatMap(each => {
  const box = each.getBoundingClientRect(), frame = each.closest('.canvas, .card').getBoundingClientRect();
  const cut = box.width && (box.left < frame.left - 1 || box.right > frame.right + 1);
  return cut ? [`${each.textContent}: ${box.left} to ${box.right} in ${frame.left} to ${frame.right}`] : [];
})"""
OVER = """() => [...document.querySelectorAll('.plot')].flatMap(plot => {
  const boxes = [...plot.querySelectorAll('text')].map(each => [each.lastChild?.data, each.getBoundingClientRect()]);
  return boxes.flatMap(([a, x], i) => boxes.slice(i + 1).flatMap(([b, y]) =>
    x.width && y.width && Math.min(x.right, y.right) - Math.max(x.left, y.left) > 1
      && Math.min(x.bottom, y.bottom) - Math.max(x.top, y.top) > 4 ? [`${a} on ${b}`] : []));
})"""
# Boxes whose content is wider than they are, unless one can scroll to it by keyboard
WIDE = """() => [...document.querySelectorAll('body *')].filter(each => !each.closest('svg') && !each.closest('h1')
    && getComputedStyle(each).display !== 'inline' && !each.matches('.table[tabindex="0"]')
    && each.scrollWidth > each.clientWidth + 1 && each.clientWidth).map(each => each.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_off_or_runs_into_another(go: Any, name: str) -> None:
    page = go(name).page
    open_details(page)
    for width, media in ((1100, "screen"), (360, "screen"), (PRINTED, "print")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(media=media)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for fault in (CUT, OVER, WIDE):
            assert page.evaluate(fault) == [], (width, media)


def test_the_value_is_in_sight_on_a_telephone(go: Any) -> None:
    page = go("judged", width=360).page  # with the widest of units
    region, box = (page.locator(each).first.bounding_box() for each in ("#readings .table", "#readings td.n"))
    assert region is not None
    assert box is not None
    assert box["x"] + box["width"] <= region["x"] + region["width"]


# Of rows of a table that differ in their words alone, and of marks of a drawing that do in their place, two are kept:
# axe-core takes as long for each, and finds the same
UNLIKE = """() => {
  const told = each => [each.tagName, each.getAttribute('class'), each.getAttribute('role'), each.getAttributeNames(),
    each.textContent.trim() === ''].join();
  const seen = new Map();
  for (const each of document.querySelectorAll('tbody tr, svg *')) {
    const kind = [each, ...each.querySelectorAll('*')].map(told).join('; '), within = each.closest('svg');
    if (!seen.has(within)) seen.set(within, new Map());
    const times = (seen.get(within).get(kind) ?? 0) + 1;
    seen.get(within).set(kind, times);
    if (times > 2) each.remove();
  }
  return document.querySelectorAll('tbody tr').length;
}"""
# What stands behind the text of a drawing axe-core cannot tell, so it finds no contrast there: without it, it has less
# to look through.
UNDRAWN = "() => document.querySelectorAll('svg').forEach(each => each.replaceChildren())"


def barriers(page: Page) -> str:
    """What axe-core finds, its best practices and the size of targets included; but no contrast."""
    open_details(page)
    assert page.evaluate(UNLIKE) > 3
    rules = {"target-size": {"enabled": True}, "color-contrast": {"enabled": False}}
    found = Axe().run(page, options={"resultTypes": ["violations"], "rules": rules})
    return str(found.generate_report()) if found.violations_count else ""


def faint(page: Page) -> str:
    """What axe-core finds too faint to read; a drawing is not there any more."""
    open_details(page)
    assert page.evaluate(UNLIKE) > 3
    page.evaluate(UNDRAWN)
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": ["color-contrast"]})
    assert len(found.response["passes"]) + len(found.response["violations"]) == 1
    return str(found.generate_report()) if found.violations_count else ""


def test_axe_finds_no_barrier(go: Any) -> None:
    page = go("plain").page
    assert barriers(page) == ""
    page.set_viewport_size({"width": 360, "height": 900})
    assert barriers(page) == ""


def test_axe_finds_no_faint_text(go: Any) -> None:
    page = go("plain").page
    assert faint(page) == ""
    assert page.locator("tbody tr").count() > 10
    page.emulate_media(color_scheme="dark")
    assert faint(page) == ""  # no colour depends on the width


@pytest.mark.parametrize("name", ["hostile", "judged", "bare", "pictured", "chinese"])
def test_axe_finds_no_barrier_in_other_runs(go: Any, name: str) -> None:
    page = go(name).page
    assert barriers(page) == ""
    assert name != "bare" or faint(page) == ""


FOCUSED = """() => {
  const at = document.activeElement, style = getComputedStyle(at);
  return [at.outerHTML.slice(0, 90), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2];
}"""
REACHABLE = """() => [...document.querySelectorAll('a[href], button, input, summary, [tabindex="0"]')]
  .filter(each => each.checkVisibility()).map(each => each.outerHTML.slice(0, 90))"""


def test_the_keyboard_reaches_everything_and_one_sees_where_it_is(go: Any) -> None:
    page = go("plain").page
    wanted = page.evaluate(REACHABLE)
    assert len(wanted) > 30
    reached = []
    for _ in wanted:
        page.keyboard.press("Tab")
        at, outlined = page.evaluate(FOCUSED)
        assert outlined, at
        reached.append(at)
    assert reached == wanted  # in the order of the page


def test_the_keyboard_alone_works_headings_folds_and_scrolling(go: Any) -> None:
    page: Page = go("many", width=360).page
    heading = page.get_by_role("columnheader", name="Value")
    heading.get_by_role("button").focus()
    for key, way in (("Enter", "ascending"), ("Space", "descending"), ("Enter", "none")):
        page.keyboard.press(key)
        assert heading.get_attribute("aria-sort") == way
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None
    for region, key, side in ((".canvas.tall", "End", "scrollTop"), ("#readings .table", "ArrowRight", "scrollLeft")):
        page.locator(region).first.focus()
        page.keyboard.press(key)
        for _ in range(100):
            if page.evaluate(f"document.querySelector('{region}').{side}") > 0:
                break
            page.wait_for_timeout(100)
        else:
            pytest.fail(f"{region} does not scroll by {key}")
    page.keyboard.press("Control+Home")
    page.reload()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**#summary", timeout=10_000)  # a busy machine takes a while


def test_the_paper_is_light_or_dark_as_one_likes_it(go: Any) -> None:
    page = go("bare", scheme="light").page
    paper = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)"
    assert min(page.evaluate(paper)) > 230
    page.emulate_media(color_scheme="dark")
    assert max(page.evaluate(paper)) < 40
