"""Keeps a folder for one command while it works on it: another is refused, or waits until that has ended.

The lock is a hidden file beside the folder. It ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from unlearnkit.disk.files import MARK, NO_LINK, NO_WAIT
from unlearnkit.disk.staging import HOLD, WITHOUT_LOCKS, locked
from unlearnkit.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment, unused-ignore]
try:
    import msvcrt
except ImportError:  # elsewhere
    msvcrt = None  # type: ignore[assignment, unused-ignore]

PAUSE = 0.5  # seconds between two looks at a folder that another process holds
_BYTE = 2**20  # that Windows locks in a file: others may not even read what is locked, and the name stands before it
_OWN: set[tuple[int, int]] = set()  # devices and inodes of the files that this process has locked


@contextlib.contextmanager
def held(out: Path, *, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Keep other commands from writing a folder while this one works on it, which may take hours.

    The lock is a hidden file beside the folder, or in the nearest folder around it that is there.

    Args:
        out: the folder.
        waiting: called once with the name of another process that works on it, until whose end this one waits; None:
            it does not wait. For a lock of its own no process waits, as it would for ever.

    Raises:
        OutputError: another process works on it.
        OSError: the folder around it cannot be written to.
    """
    parent = out.parent
    while not parent.exists():
        parent = parent.parent
    path = parent / f".{out.name}.{MARK}-{HOLD}"
    told = False
    while True:
        got, who = _taken(path)
        if got is not None:
            break
        if waiting is None or who is None:
            raise OutputError(
                f"Expected {out} for this command alone, but {who or _name()} is working on it; wait until that has "
                "ended, or choose another folder."
            )
        if not told:
            waiting(who)
            told = True
        time.sleep(PAUSE)
    descriptor, node = got
    try:
        yield
    finally:
        with locked(parent):
            _OWN.discard(node)
            if fcntl is None:  # Windows deletes no file that is open, and another command may have opened it by now
                os.close(descriptor)
                with contextlib.suppress(OSError):
                    path.unlink()
            else:
                path.unlink(missing_ok=True)
                os.close(descriptor)


def _taken(path: Path) -> tuple[tuple[int, tuple[int, int]] | None, str | None]:
    """Lock the file, and return what keeps the lock, and its node; else None and who has it, None for this process."""
    with locked(path.parent):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_WAIT | NO_LINK, 0o644)
        try:
            status = os.fstat(descriptor)
            node = (status.st_dev, status.st_ino)
            if _try_lock(descriptor):
                os.truncate(descriptor, 0)
                os.write(descriptor, f"{_name()}\n".encode())
                _OWN.add(node)
                return (descriptor, node), None
            who = os.read(descriptor, 200).decode("utf-8", "replace").strip() or "another process"
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None, None if node in _OWN else who


def _name() -> str:
    return f"process {os.getpid()} of {platform.node()}"


def _try_lock(descriptor: int) -> bool:
    """Lock an open file, unless another process has; where there are no locks, nobody keeps anybody out."""
    if fcntl is None:
        return msvcrt is None or _lock_byte(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            return True
        if error.errno == errno.EWOULDBLOCK:
            return False
        raise
    return True


def _lock_byte(descriptor: int) -> bool:
    """Lock an open file as Windows does it; False where another process has."""
    os.lseek(descriptor, _BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EDEADLK):
            return False
        raise
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return True
