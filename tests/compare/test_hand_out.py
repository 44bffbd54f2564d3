"""Jobs of a suite end with the process that holds its folder, and backends that cannot serve are refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
from joblib import register_parallel_backend
from joblib.parallel import ThreadingBackend

from unlearnkit.compare import hand_out
from unlearnkit.compare.hand_out import Workers
from unlearnkit.compare.work import Done
from unlearnkit.errors import ConfigError

SUITE = """
import time
from unlearnkit.compare.hand_out import Workers

class Waits:
    def run(self):
        print(1, flush=True)
        time.sleep(90)

list(Workers(jobs=2).do([("one", Waits()), ("two", Waits())]))
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Windows keeps the number of a parent that is gone")
def test_workers_end_where_the_command_was_killed() -> None:
    command = subprocess.Popen([sys.executable, "-c", SUITE], stdout=subprocess.PIPE)
    assert command.stdout is not None
    assert [command.stdout.readline() for _ in range(2)] == [b"1\n"] * 2
    command.send_signal(signal.SIGKILL)
    command.communicate(timeout=30)  # the end of what all of them can write to


def test_a_backend_that_gives_no_result_as_it_comes_is_refused() -> None:
    jobs: Any = [("one", None)]
    with pytest.raises(ConfigError, match="multiprocessing does not; leave --backend out"):
        list(Workers(backend="multiprocessing").do(jobs))


class AtTheEnd(ThreadingBackend):
    """A backend that gives no result before the last, as Ray's is."""

    supports_return_generator = False


def test_a_cluster_that_gives_all_results_at_the_end_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = ModuleType("ray")
    ray.init = lambda **told: joined.append(told)  # type: ignore[attr-defined]
    module = ModuleType("ray.util.joblib")
    module.register_ray = lambda: register_parallel_backend("ray", AtTheEnd)  # type: ignore[attr-defined]
    for name, each in (("ray", ray), ("ray.util", ModuleType("ray.util")), ("ray.util.joblib", module)):
        monkeypatch.setitem(sys.modules, name, each)
    joined: list[dict[str, Any]] = []
    monkeypatch.setattr(hand_out, "attempt", lambda name, _job, parent: Done(name, {"parent": parent}))
    jobs: Any = [("one", None), ("two", None)]
    found = list(Workers(backend="ray", address="ray://head:1", jobs=2).do(jobs))
    assert {done.name: done.result for done in found} == {"one": {"parent": None}, "two": {"parent": None}}
    assert joined == [{"address": "ray://head:1", "ignore_reinit_error": True}]


@pytest.mark.parametrize("backend", ["sequential", "threading"])
def test_jobs_of_this_machine_end_with_the_command(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int | None] = []

    def attempt(name: str, _job: Any, parent: int | None = None) -> Done:
        told.append(parent)
        return Done(name, {})

    monkeypatch.setattr(hand_out, "attempt", attempt)
    jobs: Any = [("one", None), ("two", None)]
    assert sorted(done.name for done in Workers(backend=backend, jobs=1).do(jobs)) == ["one", "two"]
    assert told == [os.getpid()] * 2
