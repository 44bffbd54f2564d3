"""A hook of mkdocs that adds what is not written in docs/, and makes the links of the repository work in the site.

Three things come from elsewhere:

- README, changelog, contributing and security stay at the root of the repository, where people look for them.
- The API reference is made from the package (`docs_api.py`).
- A file of the repository that a page links to, such as a benchmark's results, is shown in the site too.

A link to a file that is not there is a warning, and so an error in a strict build.
"""

from __future__ import annotations

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs_api import api_pages
from docs_links import AS_THEY_ARE, AT_THE_ROOT, CODE_OR_LINK, anchor, linked_file, shown_at, targets

log = logging.getLogger("mkdocs.hooks.docs_site")  # mkdocs counts the warnings of its own loggers
ROOT = Path(__file__).parents[1]
SYNTAX = {".py": "python", ".toml": "toml", ".yml": "yaml", ".cff": "yaml"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the anchors of headings those of repository browsers, and list API pages and decisions in the navigation."""
    api_pages.cache_clear()  # `mkdocs serve` builds again after a change
    config.mdx_configs.setdefault("toc", {})["slugify"] = anchor
    decisions = sorted(path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md"))
    _fill(config.nav, "API reference", list(api_pages()))
    _fill(config.nav, "Decisions", ["adr/README.md", *(f"adr/{name}" for name in decisions)])
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages from the root, the API pages, and the files that any page links to."""
    for name, page in AT_THE_ROOT.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for file in list(files.documentation_pages()):
        for target in targets(file.content_string):
            path = linked_file(file.src_uri, target)
            if path is not None and (ROOT / path).is_file() and files.get_file_from_path(shown_at(path)) is None:
                files.append(_from_repository(path, config))
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
        path = linked_file(here, match["target"])
        if path is None:
            return match[0]
        if (ROOT / path).is_dir():
            path = posixpath.join(path, "README.md")
        if not (ROOT / path).is_file():
            log.warning("Expected the file %r that %s links to, but there is none; mend the link.", path, here)
            return match[0]
        _, mark, fragment = match["target"].partition("#")
        return f"]({posixpath.relpath(shown_at(path), posixpath.dirname(here) or '.')}{mark}{fragment})"

    return CODE_OR_LINK.sub(rewritten, markdown)


def _fill(nav: Any, title: str, pages: list[str]) -> None:
    """Put pages under an empty title of the navigation, however deep it is."""
    for entry in nav:
        if isinstance(entry, dict):
            for name, inner in entry.items():
                if name == title:
                    entry[name] = pages
                elif isinstance(inner, list):
                    _fill(inner, title, pages)


def _from_repository(path: str, config: MkDocsConfig) -> File:
    """A file that is no page of its own: as it is, or as a page with its text."""
    suffix = Path(path).suffix
    if suffix in AS_THEY_ARE:
        return File.generated(config, shown_at(path), abs_src_path=str(ROOT / path))
    text = (ROOT / path).read_text(encoding="utf-8").rstrip()
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    page = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n{fence}{SYNTAX.get(suffix, 'text')}\n{text}\n{fence}\n"
    return File.generated(config, shown_at(path), content=page)
