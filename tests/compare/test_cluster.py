"""A suite on a Dask cluster: a worker that is killed at its work costs nothing, and a job that is given up is named."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from brief import shorten
from forked import GROUP, START, ended
from suites import comparison, tiny
from unlearnkit.compare.hand_out import Workers
from unlearnkit.compare.work import CellJob, Done, Job, OriginalJob, attempt
from unlearnkit.errors import ConfigError, ProcessError

distributed = pytest.importorskip("distributed", reason="Expected Dask; do `pip install unlearnkit[cluster]`.")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(GROUP)]
PATIENCE = 300  # seconds; the machine may be busy


def work(dies_at: type[Job] | None, *words: str) -> None:
    """Run Dask's own command for a worker in this process, which a job of one kind kills."""
    from distributed.cli.dask_worker import main

    def or_die(name: str, job: Job) -> Done:
        if dies_at is not None and isinstance(job, dies_at):
            os.kill(os.getpid(), signal.SIGKILL)
        return attempt(name, job)

    patch = pytest.MonkeyPatch()  # until this process ends
    shorten(patch)
    patch.setattr("unlearnkit.compare.work.attempt", or_die)
    main(words)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Any, Callable[..., list[BaseProcess]]]]:
    """A scheduler in this process, and a starter of workers that nobody starts again when they die."""
    words = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path), "--death-timeout"]
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None, host="127.0.0.1") as scheduler,
        ExitStack() as stack,
    ):
        address = scheduler.scheduler_address

        def start(*dies_at: type[Job] | None) -> list[BaseProcess]:
            workers = [START.Process(target=work, args=(kind, address, *words, str(PATIENCE))) for kind in dies_at]
            stack.enter_context(ended(workers))
            with distributed.Client(address) as client:
                client.wait_for_workers(len(workers), timeout=PATIENCE)
            return workers

        yield scheduler, start


def test_a_worker_that_is_killed_costs_nothing(tmp_path: Path, cluster: Any) -> None:
    scheduler, start = cluster
    dying, living = start(CellJob, None)
    suite = tiny(methods=[{"name": "head-mask"}], unlearning_seeds=[0, 1])
    lines: list[str] = []
    chosen = Workers(jobs=None, backend="dask", address=scheduler.scheduler_address)
    results = comparison(suite, tmp_path, lines, workers=chosen).run()
    dying.join(PATIENCE)
    assert dying.exitcode == -signal.SIGKILL
    assert living.is_alive()
    rows = results["groups"][0]["rows"]
    assert [row["failure"] for row in rows] == [None] * 2
    assert sum(line.startswith("[2/2] head-mask") for line in lines) == 1


def test_a_scheduler_that_gives_a_job_up_ends_the_suite_with_a_sentence(tmp_path: Path, cluster: Any) -> None:
    scheduler, start = cluster
    scheduler.scheduler.allowed_failures = 0  # of the workers that had the job; Dask's own number is 3
    start(OriginalJob)
    chosen = Workers(jobs=None, backend="dask", address=scheduler.scheduler_address)
    with pytest.raises(ProcessError, match=r"one was killed, .*what is finished is kept"):
        comparison(tiny(), tmp_path, [], workers=chosen).run()


def test_a_scheduler_that_is_lost_ends_the_suite_with_a_sentence(tmp_path: Path, cluster: Any) -> None:
    scheduler, _ = cluster
    chosen = Workers(jobs=None, backend="dask", address=scheduler.scheduler_address)

    def lose(line: str) -> None:
        if line == "originals: 1 to do":
            Timer(1.0, scheduler.close).start()  # no worker has come, so the job waits

    with pytest.raises(ProcessError, match=r"scheduler at tcp://.* to stay, but it was lost .* is finished is kept"):
        comparison(tiny(), tmp_path, [], workers=chosen, say=lose).run()


RUNNING: list[str] = []
MOST: list[int] = []


def beside_others(name: str, _job: object) -> str:
    """Stay for a moment, and note how many are there."""
    RUNNING.append(name)
    time.sleep(0.1)
    MOST.append(len(RUNNING))
    RUNNING.remove(name)
    return name


@pytest.mark.parametrize(("jobs", "most"), [(1, 1), (2, 2), (None, 4)])
def test_a_cluster_does_so_many_jobs_at_once_as_are_asked_for(
    jobs: int | None, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearnkit.compare.hand_out.attempt", beside_others)
    MOST.clear()
    with distributed.LocalCluster(n_workers=1, threads_per_worker=4, processes=False, dashboard_address=None) as here:
        chosen = Workers(jobs=jobs, backend="dask", address=here.scheduler_address)
        todo: list[tuple[str, Any]] = [(f"job-{k}", None) for k in range(8)]
        assert sorted(map(str, chosen.do(todo))) == [name for name, _ in todo]
    assert max(MOST) == most


def test_a_scheduler_that_does_not_answer_and_an_unknown_backend_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="but got 'lokey'; did you mean 'loky'"):
        comparison(tiny(), tmp_path, [], workers=Workers(backend="lokey")).run()

    def silent(*_: object, **__: object) -> None:
        raise OSError("Timed out")

    monkeypatch.setattr(distributed, "Client", silent)
    with pytest.raises(ConfigError, match="none answers"):
        comparison(tiny(), tmp_path, [], workers=Workers(backend="dask", address="tcp://127.0.0.1:1")).run()
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install unlearnkit\[cluster\]"):
        comparison(tiny(), tmp_path, [], workers=Workers(backend="dask", address="tcp://127.0.0.1:1")).run()
    with pytest.raises(ConfigError, match="pip install ray"):
        comparison(tiny(), tmp_path, [], workers=Workers(backend="ray")).run()


def test_a_killed_process_of_this_machine_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    def killed(*_: object) -> None:
        raise TerminatedWorkerError("SIGKILL(-9)")

    monkeypatch.setattr("unlearnkit.compare.hand_out.attempt", killed)
    with pytest.raises(ProcessError, match="what is finished is kept"):
        comparison(tiny(), tmp_path, []).run()


def test_a_process_that_is_replaced_between_two_jobs_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """joblib replaces a process whose memory has grown, and calls that a leak; all else that it warns of is shown."""

    def replaced(name: str, _job: object, _parent: int) -> str:
        warnings.warn(f"A worker {name} while some jobs were given to the executor.", stacklevel=1)
        return name

    monkeypatch.setattr("unlearnkit.compare.hand_out.attempt", replaced)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        job: Any = None
        assert list(Workers().do([("stopped", job)])) == ["stopped"]
        with pytest.raises(UserWarning, match="A worker vanished"):
            list(Workers().do([("vanished", job)]))
