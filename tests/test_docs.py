"""The documentation site: every page is in it, the API reference is whole, and it loads nothing from elsewhere."""

from __future__ import annotations

import doctest
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

import docs_links
import forked
import unlearnkit
import unlearnkit.audit
from docs_links import AT_THE_ROOT, linked_file, shown_at, targets

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
PAGES = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
CONTRACTS = ("Method", "ConfiguredMethod", "Context", "Metric", "Evidence", "Reading")


def listed(nav: Any) -> list[str]:
    """The pages of a navigation, however deep."""
    if isinstance(nav, str):
        return [nav]
    return [page for each in (nav.values() if isinstance(nav, dict) else nav) for page in listed(each)]


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_the_navigation_lists_every_page() -> None:
    by_hand = [page for page in PAGES if not page.startswith("adr/")]  # the hook lists the decisions
    assert sorted(listed(CONFIG["nav"])) == sorted([*by_hand, *AT_THE_ROOT.values()])


def test_the_list_of_decisions_is_whole() -> None:
    decisions = [page.removeprefix("adr/") for page in PAGES if page.startswith("adr/0")]
    assert list(targets(text_of("adr/README.md"))) == decisions


@pytest.mark.parametrize("page", [*PAGES, *AT_THE_ROOT.values()])
def test_links_lead_to_files_of_the_repository(page: str) -> None:
    home = next((path for path, shown in AT_THE_ROOT.items() if shown == page), f"docs/{page}")
    text = (ROOT / home).read_text(encoding="utf-8")
    linked = {found for target in targets(text) if (found := linked_file(page, target)) is not None}
    assert not {path for path in linked if not (ROOT / path).exists()}


def test_the_examples_of_the_links_are_right() -> None:
    found = doctest.testmod(docs_links)
    assert found.failed == 0
    assert found.attempted > 0


@pytest.mark.slow
@pytest.mark.xdist_group(forked.GROUP)
def test_the_program_of_the_page_on_own_models_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "own_model.md").read_text(encoding="utf-8")
    program = tmp_path / "program.py"
    program.write_text(
        "\n".join(re.findall(r"^```python\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)), encoding="utf-8"
    )
    done = forked.run(program, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 samples of the 7 were read\n")
    assert re.search(r"^(pass|fail|unknown) because ", done.stdout, re.MULTILINE)


class Parts(HTMLParser):
    """The anchors of a page, and what it loads: all but links that a reader may follow."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.loads: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        if tag != "a":
            self.loads |= {given.get(name) or "" for name in ("src", "href", "srcset", "data", "poster")}


@pytest.mark.slow
def test_every_page_is_built(site: Path) -> None:
    for page in (*PAGES, *AT_THE_ROOT.values()):
        built = re.sub(r"(^|/)README\.md$", r"\1index.md", page)
        assert (site / built).with_suffix(".html").is_file(), page


@pytest.mark.slow
def test_the_api_pages_have_every_public_name_and_contract(site: Path) -> None:
    anchors = set().union(*(Parts(path).anchors for path in (site / "api").glob("*.html")))
    public = {f"unlearnkit.{name}" for name in unlearnkit.__all__}
    public |= {f"unlearnkit.audit.{name}" for name in unlearnkit.audit.__all__}
    assert public - anchors == set()
    contracts = Parts(site / "api" / "contracts.html").anchors
    assert [name for name in CONTRACTS if not any(each.endswith(f".{name}") for each in contracts)] == []


@pytest.mark.slow
def test_a_file_that_a_page_links_to_is_in_the_site(site: Path) -> None:
    assert "examples/own_model.py" in {linked_file("own_model.md", each) for each in targets(text_of("own_model.md"))}
    assert (site / shown_at("examples/own_model.py")).with_suffix(".html").is_file()
    assert 'href="source/examples/own_model.py.html"' in (site / "own_model.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_decision_is_in_the_navigation(site: Path) -> None:
    text = (site / "adr" / "index.html").read_text(encoding="utf-8")
    for page in PAGES:
        if page.startswith("adr/0"):
            assert text.count(f'href="{page.removeprefix("adr/").replace(".md", ".html")}"') >= 2, page


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    loaded = set().union(*(Parts(path).loads for path in pages))
    assert any(each.endswith(".js") for each in loaded)
    assert {each for each in loaded if re.match(r"(https?:)?//", each)} == set()
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//[^)'\"]*", text), sheet
        assert "@font-face" not in text, sheet
