"""What a page of the report holds: its text and elements, its pictures, and its CSV files."""

from __future__ import annotations

import base64
import csv
import html
import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

CSV = "data:text/csv;charset=utf-8;base64,"


class Reader(HTMLParser):
    """Collects the text, the elements, and the tags left open."""

    void = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.scripts.append(data)
        elif "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def svgs(page: str) -> list[ElementTree.Element]:
    """The outermost SVGs of a page."""
    found, depth, start = [], 0, 0
    for match in re.finditer(r"<svg\b[^>]*?(/?)>|</svg>", page):
        if match[0].startswith("</"):
            depth -= 1
            if depth == 0:
                found.append(ElementTree.fromstring(page[start : match.end()]))
        elif not match[1]:
            start = match.start() if depth == 0 else start
            depth += 1
    assert depth == 0
    return found


def of_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [e for e in root.iter() if name in e.get("class", "").split()]


def first_screen(page: str) -> str:
    """Everything above the table of contents, as text."""
    markup = page[page.index("<body") : page.index("<nav")]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", markup)))


def files(page: str) -> dict[str, list[list[str]]]:
    """The CSV files of a page, read as a program reads them."""
    found = {}
    for tag, attributes in Reader(page).elements:
        if tag == "a" and (name := attributes.get("download")):
            data = base64.b64decode((attributes["href"] or "").removeprefix(CSV), validate=True)
            assert data.startswith(b"\xef\xbb\xbf")
            found[name] = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    return found
