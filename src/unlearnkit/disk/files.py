"""Turns names from files into paths, reads regular files alone, and makes files; no other module does any of these.

A run folder may come from a stranger: a name in its manifest may lead out of it, a file in it may be a link to a file
elsewhere, or a pipe that is never written to.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path, PurePosixPath, PureWindowsPath

from unlearnkit.class_names import unprintable
from unlearnkit.errors import OutputError

DEEPEST = 2  # an artefact lies in the run folder or one folder below
MARK = "unlearnkit"  # in the names of what is only there while a command writes
OF_THE_KERNEL = ("/proc/", "/sys/")
# Windows lacks these; a pipe there has a name of its own kind.
NO_WAIT, NO_LINK = getattr(os, "O_NONBLOCK", 0), getattr(os, "O_NOFOLLOW", 0)
_PRIVATE = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def inside(folder: Path, name: object) -> Path:
    """Return the path of an artefact of a run folder; it need not exist.

    Args:
        folder: the run folder.
        name: as a manifest, another file of the folder, or our own code names it.

    Raises:
        OutputError: the name is no plain one, or a link or something else than a file or a folder stands there.
    """
    if not _is_plain(name):
        raise OutputError(
            f"Expected a name of a file in {folder}, but got {str(name)[:80]!r}; the folder is damaged or was not made "
            "by unlearnkit: run the step that made it again."
        )
    path = folder
    for part in PurePosixPath(str(name)).parts:
        path = path / part
        kind = _kind(path)
        if kind is not None:
            raise OutputError(
                f"Expected {name} in the run folder {folder} to be a file of its own, but it is {kind}; run the step "
                "that made the folder again, or ask for a copy that holds the file itself."
            )
    return path


def open_regular(path: str | Path) -> BufferedReader:
    """Open a regular file to read; links are followed, and a pipe or a device is not waited for.

    Nor are the files by which Linux shows its own state: some never end, and some wait for ever.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    if os.path.realpath(path).startswith(OF_THE_KERNEL):
        raise OSError(0, "it is a file of the running system and no regular file", str(path))
    descriptor = os.open(path, os.O_RDONLY | NO_WAIT | _PRIVATE)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, f"it is {_called(os.fstat(descriptor).st_mode)} and no regular file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open_regular(path) as file:
        return file.read()


def check_space(error: BaseException) -> None:
    """Raise an OSError where an error comes of a disk that is full, or a share of one that is used up; else nothing.

    Raises:
        OSError: it does; the error's own words are in it.
    """
    seen: set[int] = set()
    behind: BaseException | None = error
    while behind is not None and id(behind) not in seen:
        if isinstance(behind, OSError) and behind.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(behind.errno, f"{os.strerror(behind.errno)} ({str(error).rstrip('.')})") from error
        seen.add(id(behind))
        behind = behind.__cause__ or (None if behind.__suppress_context__ else behind.__context__)


def write_new(path: Path, data: bytes, *, mode: int = 0o666) -> str:
    """Write a file that is not there yet, through to the disk, and return its sha256; no link is followed.

    Args:
        path: of the file.
        data: its content.
        mode: who may read and write it, less what the process's mask takes away.

    Raises:
        OSError: it is there, or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK | _PRIVATE, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(data).hexdigest()


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in one rename: whoever reads it sees the old content or the new one.

    Raises:
        OSError: it cannot be written; the old content stays.
    """
    temporary = hidden_beside(path)
    try:
        write_new(temporary, data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def hidden_beside(path: Path) -> Path:
    """Return a path beside another that nobody can foresee, for what is there only while a command writes."""
    return path.with_name(f".{path.name}.{MARK}-{secrets.token_hex(8)}")


def files_of(folder: Path) -> Iterator[str]:
    """Yield the name of everything in a folder that is no folder, links too, and of every empty folder."""
    for place, folders, files in os.walk(folder):
        below = Path(place).relative_to(folder)
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*files, *links):
            yield (below / name).as_posix()
        if not folders and not files and below != Path():
            yield below.as_posix()


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a loss of power, where the file system can."""
    with contextlib.suppress(OSError):  # some take no folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_plain(name: object) -> bool:
    if not isinstance(name, str) or unprintable(name) or "\\" in name or PureWindowsPath(name).drive:
        return False
    parts = PurePosixPath(name).parts
    return "/".join(parts) == name and 0 < len(parts) <= DEEPEST and ".." not in parts and name[0] != "/"


def _kind(path: Path) -> str | None:
    """What stands at a path instead of a file or a folder; None where there is one of these, or nothing."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else f"{_called(mode)} and is no regular file"


def _called(mode: int) -> str:
    names = (
        (stat.S_ISLNK, "a link to elsewhere"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISDIR, "a folder"),
    )
    return next((name for check, name in names if check(mode)), "a device")
