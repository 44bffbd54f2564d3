"""The documentation site in a real browser: it asks nobody else for anything, and its search works."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_browser_asks_nobody_else_and_the_search_finds_a_function(browser: Browser, site: Path) -> None:
    with serving(site) as address:
        page = browser.new_context().new_page()
        page.set_default_timeout(120_000)
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        for name in ("index", "methods", "comparison", "api/unlearnkit", "source/examples/own_model.py"):
            page.goto(f"{address}/{name}.html", wait_until="load")
            assert page.locator("h1").count() == 1, name
        page.locator("input.md-search__input").press_sequentially("gather")
        page.locator(".md-search-result__link").first.wait_for()
        assert "gather" in page.locator(".md-search-result__list").inner_text()
        page.context.close()
    assert [each for each in asked if not each.startswith((f"{address}/", "data:", "blob:"))] == []
    assert said == []


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder to this machine, and yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output free of requests."""
