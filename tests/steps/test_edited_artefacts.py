"""JSON edited by hand: whatever stands in an artefact, a command does its work or refuses it in one sentence."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import run_cli
from report_folders import PICTURE, artefacts, drawn, judged_audit, measured_audit, write_folder
from unlearnkit.data import AccessLog
from unlearnkit.run_dir import MANIFEST, add_to_run
from unlearnkit.steps import audit as audit_step
from unlearnkit.steps import drawing
from unlearnkit.steps.first_look import FirstLook

pytestmark = pytest.mark.slow
EDITS = 60  # of each file: every kind of value twice
NEW: list[Any] = [
    None, True, -1, 0, 3, 10**30, 0.5, -1e308, 1e308, 1e-308, "", "x", "1e999", "\x1b[2K\n", "../x", "\ud800",
    "x" * 5000,
    [], [None], [1, "a"], [[1]], ["x"], {}, {"a": 1}, {"a": {"b": []}}, {"code": 1}, {"code": "x", "values": {}},
]  # fmt: skip
GONE, TWICE = object(), object()


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def edited(content: Any, path: tuple[Any, ...], new: Any) -> str:
    """The text of a file with another value at one place."""
    if not path:
        return json.dumps(new if new not in (GONE, TWICE) else {})
    changed = copy.deepcopy(content)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if new is GONE:
        del inner[path[-1]]
    elif new is TWICE:
        text = json.dumps(changed)
        return text.replace("{", '{"a": 1, "a": 2, ', 1)
    else:
        inner[path[-1]] = new
    return json.dumps(changed)


def edits(content: Any, name: str) -> list[tuple[tuple[Any, ...], Any, str]]:
    """A fixed choice of edits: first each kind of value, then places at random."""
    draw = random.Random(name)
    everywhere = list(places(content))
    # a place high up is edited as often as one of the many deep ones
    by_depth = {depth: [path for path in everywhere if len(path) == depth] for depth in {len(p) for p in everywhere}}
    found = []
    for i in range(EDITS):
        new = [*NEW, GONE, TWICE][i % (len(NEW) + 2)]
        path = draw.choice(by_depth[draw.choice(list(by_depth))])
        found.append((path, new, edited(content, path, new)))
    return found


def assert_answered(command: str, folder: Path, name: str, *args: object) -> None:
    """Edit one artefact in every way; each time the command must answer."""
    original = (folder / name).read_bytes()
    for path, new, text in edits(json.loads(original), name):
        (folder / name).write_text(text, encoding="utf-8")
        kept = (folder / MANIFEST).read_bytes()
        told = f"{name} with {new!r:.60} at {path}"
        try:
            done = run_cli(command, folder, *args)
        except Exception as error:
            raise AssertionError(f"{command} of {told}: {type(error).__name__}: {error}") from error
        assert done.code in ((0, 1, 2) if command == "verify" else (0, 2)), told
        if done.code == 2:
            assert done.err.count("\n") == 1, (told, done)
            assert done.err.startswith("unlearnkit: Expected "), (told, done)
        if name != MANIFEST:
            (folder / MANIFEST).write_bytes(kept)
    (folder / name).write_bytes(original)


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run folder with every artefact that the report reads."""
    cost = artefacts(["cat", "dog"])["cost.json"]
    for part in (cost["total"], *cost["stages"].values()):
        part["operations"] = 10**9
    folder = write_folder(tmp_path / "run", audit=measured_audit(), pictures=drawn(), cost=cost)
    add_to_run(folder, {PICTURE: drawing.strip(torch.zeros(1, 1, 4, 4), 1.0)}, step={"inputs": {"/x": "ab"}})
    return folder


NAMES = [*artefacts(["cat", "dog"]), MANIFEST, "pictures.json"]


@pytest.mark.parametrize("name", NAMES)
def test_the_report_answers(name: str, finished: Path) -> None:
    assert_answered("report", finished, name, "--quiet")


def test_the_report_of_a_judged_audit_answers(tmp_path: Path) -> None:
    assert_answered("report", write_folder(tmp_path / "run", audit=judged_audit()), "audit.json", "--quiet")


@pytest.mark.parametrize("name", [MANIFEST, "audit.json"])
def test_verify_answers(name: str, finished: Path) -> None:
    assert_answered("verify", finished, name)


@pytest.mark.parametrize("name", ["config.json", "request.json", "access.json", "cost.json", MANIFEST, "pictures.json"])
def test_the_audit_answers(name: str, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the measuring itself, which reads no artefact."""
    measured = json.loads((copied / "audit.json").read_text())

    class Measured:
        def as_dict(self) -> dict[str, Any]:
            return measured

    def measure(inputs: Any, **options: Any) -> Any:
        pictures = audit_step.Pictures(personal=True, include_images=False, figures={})
        return {"audit.json": measured, "access.json": inputs.access.summary(inputs.split)}, pictures, Measured()

    monkeypatch.setattr(audit_step, "audit_artefacts", measure)
    monkeypatch.setattr(audit_step, "first_look", _no_look)
    before = copied.parent / "before"
    shutil.copytree(copied, before)
    original = (copied / name).read_bytes()
    for path, new, text in edits(json.loads(original), name):
        (copied / name).write_text(text, encoding="utf-8")
        told = f"{name} with {new!r:.60} at {path}"
        try:
            done = run_cli("audit", copied, "--quick", "--quiet", "--device", "cpu")
        except Exception as error:
            raise AssertionError(f"audit of {told}: {type(error).__name__}: {error}") from error
        assert done.code in (0, 2), (told, done)
        assert done.err.count("\n") == (done.code == 2), (told, done)
        (copied / name).write_bytes(original)
        if done.code == 0:  # what is refused has written nothing
            shutil.rmtree(copied)
            shutil.copytree(before, copied)
    for file in before.rglob("*"):
        assert file.is_dir() or file.read_bytes() == (copied / file.relative_to(before)).read_bytes(), file


def _no_look(case: Any, **_: Any) -> Any:
    return FirstLook(finding=None, complaint=None, access=AccessLog(case.data))
