"""A hook of mkdocs that adds to the site what is not written in docs/, and makes every link of the repository work there.

Three things come from elsewhere:

- README, changelog, contributing and security stay at the root of the repository, where people look for them.
- The API reference is made from the package: what `unlearnkit` and `unlearnkit.audit` list in `__all__`, the contracts
  that a new method or metric fulfils, the errors, and a list of all modules. A module may move without a change here.
- A file of the repository that a page links to, such as a benchmark's results, is shown in the site too.

Links are written as a plain repository browser needs them, relative to the file that they stand in. A link to a file
that is not there is a warning, and so an error in a strict build.
"""

from __future__ import annotations

import logging
import posixpath
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from docs_api import api_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks.docs_site")  # mkdocs counts the warnings of its own loggers
ROOT = Path(__file__).parents[1]

# Pages that are kept at the root of the repository: file there -> page of the site.
AT_THE_ROOT = {
    "README.md": "index.md",
    "README.zh.md": "zh.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
# Shown as they are; other files that a page links to become a page with their text.
STATIC = {".json", ".png", ".svg", ".css"}
SYNTAX = {".py": "python", ".toml": "toml", ".yml": "yaml", ".cff": "yaml"}

# Code is matched first, so that nothing in it is taken for a link.
CODE_OR_LINK = re.compile(r"(?P<code>^```.*?^```|`[^`\n]+(?:\n[^`\n]+)*`)|\]\((?P<target>[^)\s]+)\)", re.DOTALL | re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the anchors of headings those of repository browsers, and list the API pages in the navigation."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = anchor
    for entry in config.nav or []:
        if "API reference" in entry:
            entry["API reference"] = list(api_pages())
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages from the root, the API pages, and the files that any page links to."""
    for name, page in AT_THE_ROOT.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for file in list(files.documentation_pages()):
        for target in _targets(file.content_string):
            path = _linked(file.src_uri, target)
            if path is not None and (ROOT / path).is_file() and files.get_file_from_path(shown_at(path)) is None:
                files.append(_of_repository(path, config))
    for page, text in api_pages().items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turn links between files of the repository into links between pages of the site."""
    here = page.file.src_uri

    def rewritten(match: re.Match[str]) -> str:
        if match["code"]:
            # a repository browser wants bars in a table's code escaped, and this Markdown does not
            return match[0] if match[0].startswith("```") else match[0].replace(r"\|", "|")
        path = _linked(here, match["target"])
        if path is None:
            return match[0]
        if (ROOT / path).is_dir():
            path = posixpath.join(path, "README.md")
        if not (ROOT / path).is_file():
            log.warning("Expected %r, which %s links to, in the repository, but there is none; mend the link.", path, here)
            return match[0]
        _, hash_, fragment = match["target"].partition("#")
        return f"]({posixpath.relpath(shown_at(path), posixpath.dirname(here) or '.')}{hash_}{fragment})"

    return CODE_OR_LINK.sub(rewritten, markdown)


def anchor(text: str, separator: str) -> str:
    """The anchor of a heading as repository browsers make it, so that one link serves there and in the site.

    >>> anchor("2026-11-22: every method, at 93 %, in full", "-")
    '2026-11-22-every-method-at-93--in-full'
    """
    kept = re.sub(r"[^\w\- ]", "", unicodedata.normalize("NFC", text).strip().lower())
    return kept.replace(" ", separator)


def shown_at(path: str) -> str:
    """Where the site shows a file of the repository; both are relative, with forward slashes.

    >>> shown_at("README.md"), shown_at("docs/adr/README.md"), shown_at("examples/own_model.py")
    ('index.md', 'adr/README.md', 'source/examples/own_model.py.md')
    """
    if path in AT_THE_ROOT:
        return AT_THE_ROOT[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"source/{path}" if Path(path).suffix in STATIC else f"source/{path}.md"


def _targets(markdown: str) -> Iterator[str]:
    yield from (match["target"] for match in CODE_OR_LINK.finditer(markdown) if match["target"])


def _linked(page: str, target: str) -> str | None:
    """The file of the repository that a page links to; None for links to elsewhere, within the page, or of a made page."""
    if page.startswith(("api/", "source/")) or re.match(r"[a-z]+:|[#/<]", target):
        return None
    home = {site: path for path, site in AT_THE_ROOT.items()}.get(page, f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(home), target.partition("#")[0]))


def _of_repository(path: str, config: MkDocsConfig) -> File:
    """A file that is no page of its own: as it is, or as a page with its text."""
    if Path(path).suffix in STATIC:
        return File.generated(config, shown_at(path), abs_src_path=str(ROOT / path))
    text = (ROOT / path).read_text(encoding="utf-8")
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    syntax = SYNTAX.get(Path(path).suffix, "text")
    return File.generated(config, shown_at(path), content=f"# {path}\n\n{fence}{syntax}\n{text.rstrip()}\n{fence}\n")
