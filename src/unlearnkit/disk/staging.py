"""Builds folders beside their place and puts them there in one step, and clears up after commands that were killed.

A staged folder is hidden, carries an unforeseeable name, and is locked by the process that fills it. The lock ends with
the process, however that ends: what is not locked any more is swept by the next command that writes beside it. While
folders are staged, exchanged and swept, the folder around them is locked too, so one command waits for the other.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from unlearnkit.disk.files import MARK, hidden_beside, sync_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment, unused-ignore]

HOLD = "0" * 16  # ends the name of the file that a command locks while it works on a folder
STALE = 3600  # seconds, after which a file that was to replace another is left over; these have no locks
RETIRED = "-old"  # ends the name of a folder that is being replaced in two steps
HIDDEN = re.compile(rf"\.(?P<name>.+)\.{MARK}-[0-9a-f]{{16}}(?P<retired>{RETIRED})?")
_AT_FDCWD, _EXCHANGE = -100, 2  # of renameat2
WITHOUT_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP, errno.EACCES, errno.EPERM)
_WITHOUT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other command stages, exchanges or sweeps in a folder, and keep others waiting meanwhile."""
    descriptor = _lock(folder, wait=True)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Make an empty folder beside `out`; what is still there at the end is deleted, whatever happens.

    Raises:
        OSError: the folder around it cannot be written to.
    """
    staging = hidden_beside(out)
    with locked(out.parent):
        staging.mkdir(mode=0o700)
        descriptor = _lock(staging, wait=False)
    try:
        yield staging
    finally:
        if staging.exists():
            with locked(out.parent):  # after an exchange an older run is here, which `sweep` would not find locked
                if staging.exists():
                    shutil.rmtree(staging)
        if descriptor is not None:
            os.close(descriptor)


def put(staging: Path, out: Path) -> bool:
    """Put a staged folder in the place of `out`; what was there stands in the staged folder's place afterwards.

    On Linux the two are exchanged in one step. Elsewhere there are two, and a command that is killed between them
    leaves a folder that `sweep` takes back.

    Returns:
        whether something was there.

    Raises:
        OSError: it cannot be done; everything is as it was.
    """
    if not os.path.lexists(out):
        staging.rename(out)
        sync_folder(out.parent)
        return False
    if not _exchanged(staging, out):
        retired = staging.with_name(staging.name + RETIRED)
        out.rename(retired)
        try:
            staging.rename(out)
        except BaseException:  # a keyboard interrupt too
            retired.rename(out)
            raise
        retired.rename(staging)
    sync_folder(out.parent)
    return True


def sweep(folder: Path) -> None:
    """Delete what killed commands have left in a folder, and take back a run that they were about to replace."""
    with contextlib.suppress(OSError), locked(folder):  # a folder that cannot be read holds nothing of ours
        for entry in list(os.scandir(folder)):
            found = HIDDEN.fullmatch(entry.name)
            if found is None or entry.is_symlink():
                continue
            descriptor = _lock(Path(entry.path), wait=False)
            out = folder / found["name"]
            if descriptor is None:  # somebody works on it, or nobody can know
                if fcntl is None and found["retired"] and not os.path.lexists(out):
                    Path(entry.path).rename(out)
                continue
            try:
                if found["retired"] and not os.path.lexists(out):
                    Path(entry.path).rename(out)
                elif entry.is_dir():
                    shutil.rmtree(entry.path)
                elif entry.name.endswith(HOLD) or time.time() - entry.stat().st_mtime > STALE:
                    os.unlink(entry.path)
            finally:
                os.close(descriptor)


def _lock(path: Path, *, wait: bool) -> int | None:
    """Lock a file or a folder, and return what keeps the lock; None where another has it or there are no locks."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            return None
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, *WITHOUT_LOCKS):
            return None
        raise
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or the file system cannot."""
    call = _renameat2()
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _WITHOUT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


@cache
def _renameat2() -> ctypes._NamedFuncPointer | None:
    """The call of Linux, None elsewhere."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return None
    call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    call.restype = ctypes.c_int
    return call
