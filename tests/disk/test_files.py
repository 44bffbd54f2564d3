"""What leads out of a folder is refused, a pipe is not waited for, and no link is written through."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unlearnkit.disk.files import files_of, inside, open_regular, read_regular, replace_file, write_new
from unlearnkit.errors import OutputError

OUTSIDE = [
    "", ".", "..", "../a", "a/../b", "a/..", "/etc/passwd", "a//b", "./a", "a/b/c", "a/", "C:a", "C:\\a", "a\\b",
    "\\\\host\\a", "a\nb", "a\x00b", "\x1b[2K", "\udcff", None, 3, ["a"],
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_is_no_plain_one_is_refused(name: object, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Expected a name of a file in"):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", ["a", "a.json", ".hidden", "a b", "é猫", "transformers/config.json", "..a", "a.."])
def test_a_plain_name_is_a_path(name: str, tmp_path: Path) -> None:
    assert inside(tmp_path, name) == tmp_path / name


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(), max_size=12) | st.text("./\\a:", max_size=8))
def test_no_name_leads_out(tmp_path: Path, name: str) -> None:
    try:
        path = inside(tmp_path, name)
    except OutputError:
        return
    assert Path(os.path.normpath(path)).is_relative_to(tmp_path)
    assert path != tmp_path


@pytest.mark.parametrize("name", ["link", "folder/file", "dangling"])
def test_a_link_is_refused_wherever_it_leads(name: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "run" / "link").symlink_to(tmp_path / "run" / "file")
    (tmp_path / "run" / "file").write_text("x")
    (tmp_path / "run" / "folder").symlink_to(tmp_path / "other")
    (tmp_path / "run" / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="a link to elsewhere"):
        inside(tmp_path / "run", name)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        for name, words in (("pipe", "a pipe"), ("s", "No such device|a socket"), (".", "a folder")):
            with pytest.raises(OSError, match=words):
                open_regular(tmp_path / name)
    with pytest.raises(OSError, match="a device"):
        read_regular("/dev/zero")


def test_a_new_file_follows_no_link_and_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for name in ("mine", "link", "dangling"):
        if name != "mine":
            (tmp_path / name).symlink_to(tmp_path / ("mine" if name == "link" else "nowhere"))
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, b"theirs")
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_replacing_a_link_replaces_the_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    replace_file(tmp_path / "link", b"new")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "link").read_bytes() == b"new"
    assert sorted(files_of(tmp_path)) == ["link", "mine"]


@pytest.mark.skipif(not os.path.exists("/proc/kcore"), reason="Linux shows its state there")
def test_a_file_of_the_running_system_is_not_read(tmp_path: Path) -> None:
    """/proc/kmsg is a regular file that waits for ever, and /proc/kcore one of 128 TB."""
    (tmp_path / "link").symlink_to("/proc/kcore")
    for path in ("/proc/kmsg", "/proc/self/../kcore", tmp_path / "link"):
        with pytest.raises(OSError, match="a file of the running system"):
            read_regular(path)
