"""The report's pages on disk, and a visit to one of them in the browser."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page

from report_folders import HOSTILE, artefacts, audit_json, drawn, judged_audit, measured_audit, write_folder
from report_folders import page as page_in
from unlearnkit.report import render

PATIENCE = 120_000  # ms; the machine may be busy
PRINTED = 688  # px between the margins of A4
TURNED = "\u202egpj.exe"  # turns the direction and never turns it back
# as wide as a name gets, and the least welcome one; the first is forgotten, the second loses most
NASTY = [TURNED, "\u2069\u202eoops", '"><img src=x onerror=alert(3)>', *HOSTILE]


def write_pages(folder: Path) -> dict[str, Path]:
    """Pages with few classes, hostile names, many classes, every verdict, no audit, with pictures, and in Chinese."""
    classes = ["cat", "dog", "emu", "fox"]
    many = [f"class {i}" for i in range(40)]
    runs: dict[str, dict[str, Any]] = {
        "plain": {"audit": audit_json(classes, retrained=3)},
        "hostile": hostile(),
        "many": {"classes": many, "audit": audit_json(many, retrained=6)},
        "judged": {"audit": judged_audit()},
        "bare": {"audit": None},
    }
    pages = {}
    for name, changed in runs.items():
        page = render(write_folder(folder / name, **changed))
        pages[name] = folder / f"{name}.html"
        pages[name].write_text(page, encoding="utf-8")
    seen = drawn()
    seen["figures"]["noise"]["pictures"][0]["label"] = NASTY[2]
    seen["figures"]["attention"]["pictures"][0] |= {"label": TURNED, "rivals": dict.fromkeys(NASTY[:3], NASTY[3])}
    for name, language in (("pictured", "en"), ("chinese", "zh")):
        page = page_in(folder / name, language, audit=measured_audit(), pictures=seen)
        pages[name] = folder / f"{name}.html"
        pages[name].write_text(page, encoding="utf-8")
    return pages


def hostile() -> dict[str, Any]:
    """A run whose classes, files, settings, stages, layers, doubts and command are all hostile."""
    content = artefacts(NASTY)
    bad = NASTY[2]
    audit = audit_json(NASTY, retrained=2)
    remark = {"code": "remark", "values": {"text": bad}}
    audit["verdict"]["why"] = [remark]
    audit["retrained"] = [{"path": f"/runs/{name}/model.safetensors", "sha256": name} for name in NASTY]
    for reading in audit["readings"]:
        reading["doubts"] = [*reading["doubts"], remark, {"code": bad, "values": {bad: bad}}]
        if reading["metric"] == "accuracy" and reading["model"] == "unlearned" and NASTY[1] in reading["series"]:
            reading["series"][NASTY[1]] = 0.0
        if reading["metric"] == "probe_recovery":
            reading["series"] = dict.fromkeys(NASTY, 0.5)
    config = content["config.json"] | {
        "model": bad,
        "weights": f"/runs/{TURNED}.safetensors",
        "data": bad,
        "preset": bad,
        "settings": {bad: {TURNED: bad}},
        "notes": {name: name for name in NASTY},
    }
    history = {name: [1.0, 0.5] for name in NASTY}
    manifest = {"inputs": {f"/runs/{TURNED}.safetensors": bad}, "command": ["unlearnkit", *NASTY], "created": bad}
    return {"classes": NASTY, "audit": audit, "config": config, "history": history, "manifest": manifest}


@dataclass
class Visit:
    """A page, what it complained about, and what it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


def visit(
    browser: Browser,
    path: Path,
    *,
    width: int = 1100,
    scheme: Literal["dark", "light"] = "light",
    scripts: bool = True,
) -> Visit:
    """Open a file in a fresh, offline context; what is said and asked for is kept from the first byte on."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts, offline=True
    )
    context.set_default_timeout(PATIENCE)
    opened = Visit(context.new_page())
    page = opened.page
    page.on("console", lambda message: opened.said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: opened.said.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (opened.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: opened.asked.append(request.url))
    page.goto(path.as_uri())
    return opened


def open_details(page: Page) -> None:
    """Open everything that folds."""
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
