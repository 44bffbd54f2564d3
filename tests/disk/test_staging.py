"""Kills at every file-system call: a run folder is the old one or the new one, and what is left is swept."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from kills import killed
from unlearnkit.disk.holding import held
from unlearnkit.disk.staging import HIDDEN, locked, staged, sweep
from unlearnkit.errors import OutputError
from unlearnkit.run_dir import add_to_run, read_json, write_run
from unlearnkit.steps.verify import verify_run

fcntl = pytest.importorskip("fcntl", reason="needs locks of folders")
MOST = 400
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be copied")


def write(folder: Path, kind: str, *, overwrite: bool = False) -> None:
    content = {"config.json": {"kind": kind}, "model.safetensors": kind.encode() * 1000, "transformers/x": b"x"}
    write_run(folder, content, overwrite=overwrite, manifest={})


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if HIDDEN.fullmatch(path.name)]


@pytest.mark.slow
@pytest.mark.parametrize("exchange", [True, False])
def test_a_kill_while_adding_leaves_the_old_run_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr("unlearnkit.disk.staging._renameat2", lambda: None)
    found = set()
    for at in range(1, MOST):
        folder = tmp_path / str(at) / "run"
        write(folder, "old")
        (folder / "notes.txt").write_text("mine")
        more = {"audit.json": {"readings": []}, "config.json": {"kind": "new"}}
        ended = not killed(lambda folder=folder, more=more: add_to_run(folder, more, step={"inputs": {}}), at)
        config = read_json(folder, "config.json")  # takes back what was put aside
        states = {file["state"] for file in verify_run(folder)["files"] if file["name"] != "notes.txt"}
        assert states == {"matches"}, at
        assert (folder / "audit.json").exists() == (config["kind"] == "new")
        assert (folder / "notes.txt").read_text() == "mine"
        found.add(config["kind"])
        sweep(folder.parent)
        assert hidden(folder.parent) == []
        if ended:
            assert config["kind"] == "new"
            break
    assert at > 20
    assert found == {"old", "new"}


@pytest.mark.slow
@pytest.mark.parametrize("exchange", [True, False])
def test_a_kill_while_overwriting_hides_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr("unlearnkit.disk.staging._renameat2", lambda: None)
    found = set()
    for at in range(1, MOST):
        folder = tmp_path / str(at) / "run"
        write(folder, "old")
        ended = not killed(lambda folder=folder: write(folder, "new", overwrite=True), at)
        if exchange:
            assert folder.exists(), at
        kind = read_json(folder, "config.json")["kind"]
        assert verify_run(folder)["ok"], at
        found.add(kind)
        sweep(folder.parent)
        assert hidden(folder.parent) == []
        if ended:
            break
    assert kind == "new"
    assert at > 20
    assert found == {"old", "new"}


@pytest.mark.slow
def test_a_kill_while_writing_leaves_nothing_or_a_whole_run(tmp_path: Path) -> None:
    for at in range(1, MOST):
        folder = tmp_path / str(at) / "run"
        folder.parent.mkdir()
        ended = not killed(lambda folder=folder: write(folder, "new"), at)
        assert not folder.exists() or verify_run(folder)["ok"]
        write(folder, "new", overwrite=True)
        assert [path.name for path in folder.parent.iterdir()] == ["run"]
        if ended:
            break
    assert at > 15


def test_what_somebody_still_writes_is_not_swept(tmp_path: Path) -> None:
    with staged(tmp_path / "run") as staging:
        sweep(tmp_path)
        assert staging.is_dir()
        with locked(tmp_path):
            assert staging.is_dir()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [write, add_to_run])
def test_a_sweep_beside_does_not_meet_the_run_that_was_replaced(
    change: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers wrote cells side by side: one swept what the other was deleting, which failed on a file less."""
    folder = tmp_path / "run"
    write(folder, "old")
    delete, deleted = shutil.rmtree, []

    def watched(path: Path) -> None:
        if path.parent == tmp_path:
            with pytest.raises(BlockingIOError):  # a sweep, of another process as of this one, waits for the lock
                fcntl.flock(around, fcntl.LOCK_EX | fcntl.LOCK_NB)
            deleted.append(path)
        delete(path)

    monkeypatch.setattr("unlearnkit.disk.staging.shutil.rmtree", watched)
    around = os.open(tmp_path, os.O_RDONLY)
    try:
        if change is write:
            change(folder, "new", overwrite=True)
        else:
            change(folder, {"audit.json": {"readings": []}})
    finally:
        os.close(around)
    assert deleted
    assert hidden(tmp_path) == []


def test_a_file_that_replaces_another_is_swept_when_it_is_old(tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / f".{name}.unlearnkit-0123456789abcdef").write_text("half")
    os.utime(tmp_path / ".old.unlearnkit-0123456789abcdef", (0, 0))
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".new.unlearnkit-0123456789abcdef"]


def test_nothing_else_is_swept(tmp_path: Path) -> None:
    kept = [".run.unlearnkit-12", "run.unlearnkit-0123456789abcdef", ".other", ".run.unlearnkit-0123456789ABCDEF"]
    for name in kept:
        (tmp_path / name).mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / ".run.unlearnkit-0123456789abcdef").symlink_to(tmp_path / "mine")
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "mine", ".run.unlearnkit-0123456789abcdef"}
    sweep(tmp_path / "nowhere")


def test_a_second_command_on_a_folder_says_who_holds_it(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with held(tmp_path / "deep" / "run"):
            os.write(writer, b"x")
            signal.pause()
    os.read(reader, 1)
    try:
        with pytest.raises(OutputError, match=rf"run for this command alone, but process {child} of .* is working"):
            held(tmp_path / "deep" / "run").__enter__()
        with held(tmp_path / "deep" / "other"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with held(tmp_path / "deep" / "run"):  # its process is gone
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())


class LocksOfWindows:
    """The module msvcrt as far as it is used: a lock that no second opening of a file gets."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.held: set[int] = set()

    def locking(self, descriptor: int, _mode: int, count: int) -> None:
        node = os.fstat(descriptor).st_ino
        assert (os.lseek(descriptor, 0, os.SEEK_CUR), count) == (2**20, 1), "what others read is not locked"
        if node in self.held:
            raise OSError(errno.EACCES, "Permission denied")
        self.held.add(node)


@pytest.fixture
def as_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fcntl and no exchange; the rest of Windows is not here."""
    monkeypatch.setattr("unlearnkit.disk.staging.fcntl", None)
    monkeypatch.setattr("unlearnkit.disk.holding.fcntl", None)
    monkeypatch.setattr("unlearnkit.disk.holding.msvcrt", LocksOfWindows())
    monkeypatch.setattr("unlearnkit.disk.staging._renameat2", lambda: None)


@pytest.mark.usefixtures("as_on_windows")
def test_without_locks_of_folders_a_second_command_is_refused_too(tmp_path: Path) -> None:
    with (
        held(tmp_path / "run"),
        pytest.raises(OutputError, match=rf"process {os.getpid()} of .* is working on it"),
        held(tmp_path / "run"),
    ):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("as_on_windows")
def test_without_locks_of_folders_no_kill_hides_a_run(tmp_path: Path) -> None:
    for at in range(1, MOST, 3):
        folder = tmp_path / str(at) / "run"
        write(folder, "old")
        ended = not killed(lambda folder=folder: write(folder, "new", overwrite=True), at)
        assert read_json(folder, "config.json")["kind"] in ("old", "new"), at
        assert verify_run(folder)["ok"], at
        if ended:
            break
    assert at > 20
