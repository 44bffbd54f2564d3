"""Run folders: whole or not at all, with a manifest that tells the truth."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unlearnkit.errors import OutputError
from unlearnkit.run_dir import MANIFEST, add_to_run, check_output, read_json, write_run

CONTENT = {"a.json": {"name": "été", "n": 1}, "b.bin": b"\x00\xff", "c.html": "<p>ö</p>"}


def write(out: Path, *, overwrite: bool = False, **more: Any) -> None:
    write_run(out, CONTENT | more, overwrite=overwrite, manifest={"seed": 3})


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path under a folder, hidden ones too, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def assert_manifest_is_true(folder: Path) -> None:
    hashes = json.loads((folder / MANIFEST).read_text())["artefacts"]
    assert set(hashes) == {path.name for path in folder.iterdir()} - {MANIFEST}
    for name, digest in hashes.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_a_run_is_written_with_its_manifest(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "er" / "run"
    write(out)
    assert json.loads((out / "a.json").read_text(encoding="utf-8")) == CONTENT["a.json"]
    assert (out / "b.bin").read_bytes() == CONTENT["b.bin"]
    assert (out / "c.html").read_text(encoding="utf-8") == CONTENT["c.html"]
    assert_manifest_is_true(out)
    manifest = read_json(out, MANIFEST)
    assert manifest["seed"] == 3
    assert {"torch", "python", "unlearnkit"} <= set(manifest["versions"])
    assert [path.name for path in out.parent.iterdir()] == ["run"]


def test_a_folder_that_exists_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "run"
    write(out)
    before = tree(tmp_path)
    with pytest.raises(OutputError, match=r"run exists; choose another or add --overwrite"):
        write(out, extra="new")
    assert tree(tmp_path) == before


def test_overwriting_replaces_an_earlier_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    write(out, old="old")
    write(out, overwrite=True, new="new")
    assert not (out / "old").exists()
    assert (out / "new").read_text() == "new"
    assert_manifest_is_true(out)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_overwriting_takes_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write(tmp_path / "run", overwrite=True)
    assert_manifest_is_true(tmp_path / "run")


def _thesis(out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")


def _web_extension(out: Path) -> None:
    out.mkdir()
    (out / "manifest.json").write_text('{"manifest_version": 3, "name": "not ours"}')


def _broken_manifest(out: Path) -> None:
    out.mkdir()
    (out / "manifest.json").write_text("{")


def _file(out: Path) -> None:
    out.write_text("a file")


def _link_to_a_run(out: Path) -> None:
    write(out.parent / "elsewhere")
    out.symlink_to(out.parent / "elsewhere")


def _dangling_link(out: Path) -> None:
    out.symlink_to(out.parent / "nowhere")


OTHERS = [_thesis, _web_extension, _broken_manifest, _file, _link_to_a_run, _dangling_link]


@pytest.mark.parametrize("make", OTHERS, ids=lambda make: make.__name__)
def test_overwriting_anything_but_a_run_is_refused_and_loses_nothing(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    out = tmp_path / "run"
    make(out)
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="exists; choose another or add --overwrite"):
        check_output(out, overwrite=False)
    for attempt in (check_output, write):
        with pytest.raises(OutputError, match=r"earlier run folder to overwrite, but .*something else"):
            attempt(out, overwrite=True)
    assert tree(tmp_path) == before
    assert os.path.lexists(out)


@pytest.mark.parametrize("inner", ["run", "deep/er/run"])
def test_a_parent_that_is_a_file_is_refused(tmp_path: Path, inner: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"file refuses it \(Not a directory\)"):
        check_output(tmp_path / "file" / inner, overwrite=False)
    assert tree(tmp_path) == {"file": b"x"}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system that nobody can write to")
def test_a_parent_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(OutputError, match="write /proc/run, but /proc refuses it"):
        check_output(Path("/proc/run"), overwrite=False)


def test_a_parent_that_cannot_be_searched_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def closed(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if str(path).startswith(str(tmp_path / "closed" / "run")):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    def no_folder(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "stat", closed)
    monkeypatch.setattr(os, "mkdir", no_folder)
    with pytest.raises(OutputError, match=r"closed refuses it \(Permission denied\)"):
        check_output(tmp_path / "closed" / "run", overwrite=False)


def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="File name too long"):
        check_output(tmp_path / ("n" * 300), overwrite=False)


def test_checking_leaves_no_trace(tmp_path: Path) -> None:
    check_output(tmp_path / "deep" / "run", overwrite=False)
    assert tree(tmp_path) == {}


class Fails:
    """Stands in for a function and fails at the given call."""

    def __init__(self, real: Callable[..., Any], at: int, error: BaseException) -> None:
        self.real, self.at, self.error, self.calls = real, at, error, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return self.real(*args, **kwargs)


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()], ids=["disk full", "interrupt"])
@pytest.mark.parametrize(("name", "at"), [("rename", 1), ("rename", 2), ("fsync", 1), ("fsync", 3), ("fsync", 4)])
def test_a_failure_while_overwriting_leaves_the_old_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, at: int, error: BaseException
) -> None:
    if name == "rename":  # where there is no exchange in one step
        monkeypatch.setattr("unlearnkit.disk.staging._renameat2", lambda: None)
    out = tmp_path / "run"
    write(out, old="old")
    before = tree(tmp_path)
    failing = Fails(getattr(os, name), at, error)
    monkeypatch.setattr(os, name, failing)
    expected: type[BaseException] = OutputError if error is FULL else KeyboardInterrupt
    with pytest.raises(expected, match="No space left" if error is FULL else None):
        write(out, overwrite=True)
    assert failing.calls >= at
    monkeypatch.undo()
    assert tree(tmp_path) == before


@pytest.mark.parametrize(("name", "at"), [("rename", 1), ("fsync", 2)])
def test_a_failure_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, at: int
) -> None:
    monkeypatch.setattr(os, name, Fails(getattr(os, name), at, FULL))
    with pytest.raises(OutputError, match="No space left"):
        write(tmp_path / "run")
    assert tree(tmp_path) == {}


def test_content_that_is_no_json_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_run(tmp_path / "run", {"a.json": {"x": float("nan")}}, overwrite=False, manifest={})
    assert tree(tmp_path) == {}


def test_files_are_added_and_replaced_with_their_hashes(tmp_path: Path) -> None:
    out = tmp_path / "run"
    write(out)
    add_to_run(out, {"a.json": {"new": True}, "report.html": "<p>"})
    assert read_json(out, "a.json") == {"new": True}
    assert (out / "report.html").read_text() == "<p>"
    assert_manifest_is_true(out)
    assert read_json(out, MANIFEST)["seed"] == 3


@pytest.mark.parametrize("name", ["fsync", "rename"])
def test_a_failure_while_adding_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "rename":
        monkeypatch.setattr("unlearnkit.disk.staging._renameat2", lambda: None)
    out = tmp_path / "run"
    write(out)
    before = tree(tmp_path)
    monkeypatch.setattr(os, name, Fails(getattr(os, name), 1, FULL))
    with pytest.raises(OutputError, match="No space left"):
        add_to_run(out, {"a.json": {"new": True}})
    assert tree(tmp_path) == before


def test_adding_to_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"manifest.json in the run folder .*there is none"):
        add_to_run(tmp_path, {"a.json": {}})
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "there is none"), (b"{", "is damaged"), (b"\xff\xfe{}", "is damaged"), (b"[1]", "object .*got a list")],
)
def test_a_damaged_artefact_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(OutputError, match=words):
        read_json(tmp_path, "a.json")


def test_a_copied_run_reads_the_same(tmp_path: Path) -> None:
    write(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert_manifest_is_true(tmp_path / "copy")


def test_files_that_are_dropped_are_gone_from_folder_and_manifest(tmp_path: Path) -> None:
    out = tmp_path / "run"
    write(out)
    add_to_run(out, {"a.png": b"\x01", "b.png": b"\x02"})
    add_to_run(out, {"c.png": b"\x03"}, drop=["a.png", "c.png", "never-there.png"])
    assert_manifest_is_true(out)
    assert not (out / "a.png").exists()
    assert read_json(out, MANIFEST)["artefacts"].keys() >= {"b.png", "c.png"}
    assert "a.png" not in read_json(out, MANIFEST)["artefacts"]


def test_what_is_dropped_is_gone_even_where_the_rest_fails(tmp_path: Path) -> None:
    out = tmp_path / "run"
    write(out)
    add_to_run(out, {"a.png": b"\x01"})
    (out / "taken").mkdir()
    with pytest.raises(OutputError):
        add_to_run(out, {"taken": b"\x02"}, drop=["a.png"])
    assert not (out / "a.png").exists()
