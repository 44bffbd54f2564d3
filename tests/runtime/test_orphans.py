"""A worker ends with the process that started it, also where that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from unlearnkit.runtime.orphans import end_with

WORKER = """
import os, time
from unlearnkit.runtime.orphans import end_with
end_with(os.getppid())
print(1, flush=True)
time.sleep(90)
"""
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORKER!r}])"


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps the number of a parent that is gone")
def test_a_worker_ends_soon_after_its_parent_was_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"1\n"
    parent.send_signal(signal.SIGKILL)
    parent.communicate(timeout=30)  # the end of what both can write to: the worker is gone, too


def test_a_process_is_not_its_own_orphan() -> None:
    before = threading.active_count()
    end_with(os.getpid())
    assert threading.active_count() == before
