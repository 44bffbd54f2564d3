"""Where the documentation site shows the files of the repository, and how links between them are found.

Links are written as a plain repository browser needs them, relative to the file that they stand in. All paths here are
relative to the root of the repository or of the site, with forward slashes.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterator
from pathlib import PurePosixPath

# Pages that are kept at the root of the repository: file there -> page of the site.
AT_THE_ROOT = {
    "README.md": "index.md",
    "README.zh.md": "zh.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
# Files that the site holds as they are. Others that a page links to become a page with their text.
AS_THEY_ARE = {".json", ".png", ".svg", ".css"}
# Code is matched first, so that nothing in it is taken for a link.
CODE_OR_LINK = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]+(?:\n[^`\n]+)*`)|\]\((?P<target>[^)\s]+)\)", re.DOTALL | re.MULTILINE
)


def targets(markdown: str) -> Iterator[str]:
    """What a page links to, as it is written.

    >>> list(targets("[a](b.md#c), `[no](link)` and ![d](e.png)"))
    ['b.md#c', 'e.png']
    """
    yield from (match["target"] for match in CODE_OR_LINK.finditer(markdown) if match["target"])


def linked_file(page: str, target: str) -> str | None:
    """The file of the repository that a page of the site links to.

    None for a link to elsewhere or within the page, and for pages that are no files of the repository.

    >>> linked_file("adr/0003-audit.md", "../log.md#top"), linked_file("index.md", "docs/log.md")
    ('docs/log.md', 'docs/log.md')
    >>> linked_file("audit.md", "https://arxiv.org"), linked_file("audit.md", "#cost")
    (None, None)
    """
    if page.startswith(("api/", "source/")) or re.match(r"[a-z]+:|[#/<]", target):
        return None
    home = {site: path for path, site in AT_THE_ROOT.items()}.get(page, f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(home), target.partition("#")[0]))


def shown_at(path: str) -> str:
    """Where the site shows a file of the repository.

    >>> shown_at("README.md"), shown_at("docs/adr/README.md"), shown_at("examples/own_model.py")
    ('index.md', 'adr/README.md', 'source/examples/own_model.py.md')
    """
    if path in AT_THE_ROOT:
        return AT_THE_ROOT[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"source/{path}" if PurePosixPath(path).suffix in AS_THEY_ARE else f"source/{path}.md"


def anchor(text: str, separator: str = "-") -> str:
    """The anchor of a heading as repository browsers make it, so that one link serves there and in the site.

    >>> anchor("2026-11-22: every method, at 93 %, in full")
    '2026-11-22-every-method-at-93--in-full'
    """
    kept = re.sub(r"[^\w\- ]", "", unicodedata.normalize("NFC", text).strip().lower())
    return kept.replace(" ", separator)
