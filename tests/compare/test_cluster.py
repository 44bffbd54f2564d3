"""A suite on a Dask cluster of two workers, one of which is killed while it works: nothing is lost."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from forked import GROUP, START, ended
from suites import comparison, tiny
from unlearnkit.compare.hand_out import Workers
from unlearnkit.errors import ConfigError, ProcessError

distributed = pytest.importorskip("distributed", reason="Expected Dask; do `pip install unlearnkit[cluster]`.")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group(GROUP)]
PATIENCE = 300  # seconds; the machine may be busy


def work(*words: str) -> None:
    """Run Dask's own command for a worker in this process."""
    from distributed.cli.dask_worker import main

    main(words)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[BaseProcess]]]:
    """A scheduler in this process, and two workers that nobody starts again when they die."""
    words = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path), "--death-timeout"]
    with distributed.LocalCluster(n_workers=0, dashboard_address=None, host="127.0.0.1") as scheduler:
        address = scheduler.scheduler_address
        workers = [START.Process(target=work, args=(address, *words, str(PATIENCE))) for _ in range(2)]
        with ended(workers):
            with distributed.Client(address) as client:
                client.wait_for_workers(2, timeout=PATIENCE)
            yield address, workers


def test_a_worker_that_is_killed_costs_nothing(tmp_path: Path, cluster: tuple[str, list[BaseProcess]]) -> None:
    address, workers = cluster
    suite = tiny(methods=[{"name": "original"}, {"name": "head-mask"}], unlearning_seeds=[0, 1])
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("[1/4]"):  # the first cell is done, and both workers are at others
            workers[0].kill()

    chosen = Workers(jobs=None, backend="dask", address=address)
    results = comparison(suite, tmp_path, lines, workers=chosen, say=say).run()
    workers[0].join(PATIENCE)
    assert workers[0].exitcode == -signal.SIGKILL
    assert workers[1].is_alive()
    rows = results["groups"][0]["rows"]
    assert [row["failure"] for row in rows] == [None] * 4
    assert sum(line.startswith("[4/4]") for line in lines) == 1


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
