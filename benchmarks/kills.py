"""Kills a process at its nth call of the file system, or after a while; `soak.py` and the tests of crashes use it."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

# audit events of Python's calls of the file system; SQLite's own calls are not among them
EVENTS = {"open", "os.rename", "os.mkdir", "os.link", "os.remove", "os.rmdir", "os.chmod", "os.scandir", "os.listdir"}


def killed(work: Callable[[], object], at: int) -> bool:
    """Run the work in a process that kills itself at its nth call of the file system; False where it ended before."""
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, _args: object) -> None:
            nonlocal count
            count += event in EVENTS
            if event in EVENTS and count == at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        _run(work)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0


def killed_after(work: Callable[[], object], seconds: float) -> bool:
    """Run the work in a process that is killed after some seconds; False where it ended before."""
    child = os.fork()
    if child == 0:
        _run(work)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, status
            return False
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] != 0


def _run(work: Callable[[], object]) -> None:
    """Do the work, and end this process."""
    try:
        work()
        os._exit(0)
    finally:
        traceback.print_exc()
        os._exit(1)
