"""Ends a worker process whose parent is gone: killed outright, a parent cannot end its workers itself."""

from __future__ import annotations

import os
import threading
import time

SECONDS = 1.0  # between two looks
_watching = threading.Event()


def end_with(parent: int) -> None:
    """Watch a parent from a thread, and end this process at once where it is gone; once for each process.

    Whatever is being written then is left unfinished: files that matter are written in one rename.

    Args:
        parent: its process number; this process's own number changes nothing.
    """
    if parent == os.getpid() or _watching.is_set():
        return
    _watching.set()
    threading.Thread(target=_watch, args=(parent,), name="end-with-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS)
    os._exit(1)  # another command may be at the same work by now: nothing may be tidied up or finished
