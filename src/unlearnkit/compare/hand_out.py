"""Hands jobs to joblib, which has processes of this machine and other backends, as Ray, or to a Dask cluster."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from unlearnkit.compare.suite_checks import nearest
from unlearnkit.compare.work import Done, Job, attempt
from unlearnkit.errors import ConfigError, ProcessError, reason

if TYPE_CHECKING:
    from distributed import Client

LOCAL = "loky"
CLUSTERS = ("dask", "ray")
KNOWN = (LOCAL, "threading", "sequential", *CLUSTERS)
INSTALL = "install it with `pip install {}`"


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Who does the jobs.

    Args:
        jobs: how many at once; of a cluster, None leaves it to the cluster.
        backend: name of a backend of joblib.
        address: of the cluster's scheduler.

    Raises:
        ConfigError: fewer than one job, or an address without a cluster.
    """

    jobs: int | None = 1
    backend: str = LOCAL
    address: str | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise ConfigError(f"Expected at least one job at once, but got --jobs {self.jobs}; give 1 or more.")
        if self.address is not None and self.backend not in CLUSTERS:
            raise ConfigError(
                f"Expected --backend dask or ray beside --address, but got {self.backend}; add one, or leave the "
                "address out."
            )
        if self.backend == "dask" and self.address is None:
            raise ConfigError(
                "Expected the address of a Dask scheduler, but got none; give --address tcp://HOST:PORT, as "
                "`dask scheduler` prints it."
            )

    def check(self) -> None:
        """Refuse what `do` would refuse before its first job; a scheduler of Dask is asked whether it answers.

        Of Ray nothing but the package is looked for: to join its cluster may start one.

        Raises:
            ConfigError: there is no such backend, or its scheduler does not answer.
        """
        if self.backend == "dask":
            _client(str(self.address)).close()
        elif self.backend == "ray":
            _check_ray()
        else:
            with self._backend():
                pass

    def do(self, jobs: Sequence[tuple[str, Job]]) -> Iterator[Done]:
        """Do all jobs, and return what became of each as it ends.

        Raises:
            ConfigError: there is no such backend, or its scheduler does not answer.
            ProcessError: a worker was killed, more often than its backend tries again, or a scheduler was.
        """
        if not jobs:
            return
        try:
            if self.backend == "dask":
                yield from _on_dask(str(self.address), jobs, self.jobs)
            else:
                with self._backend(), warnings.catch_warnings():
                    # a process whose memory has grown is replaced between two jobs, as it should be
                    warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
                    parent = None if self.backend in CLUSTERS else os.getpid()
                    yield from _parallel()(delayed(attempt)(name, job, parent) for name, job in jobs)
        except TerminatedWorkerError as error:
            raise _killed(error) from error

    @contextmanager
    def _backend(self) -> Iterator[None]:
        with ExitStack() as stack:
            if self.backend == "ray":
                _ray(self.address)
            if self.backend == "multiprocessing":
                raise ConfigError(
                    "Expected a backend that gives each result as it comes, but joblib's multiprocessing does not; "
                    f"leave --backend out, which takes {LOCAL}."
                )
            count = -1 if self.jobs is None else self.jobs
            try:
                stack.enter_context(parallel_config(backend=self.backend, n_jobs=count))
            except ValueError as error:
                raise ConfigError(
                    f"Expected a backend that joblib knows, but got {self.backend!r}; {nearest(self.backend, KNOWN)}"
                ) from error
            yield


def _parallel() -> Parallel:
    """Return what hands jobs to the backend, and gives each result as it comes; of Ray's, all of them at the end.

    A cell keeps its own result, so that nothing is lost by that if the command is killed.
    """
    try:
        return Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
    except ValueError:  # the backend cannot
        return Parallel(batch_size=1, pre_dispatch="all")


def _on_dask(address: str, jobs: Sequence[tuple[str, Job]], at_once: int | None) -> Iterator[Done]:
    """Do all jobs on the workers of a Dask scheduler, so many at once, and return what became of each as it ends.

    Not by joblib: of a job that Dask gives up it tells a generator of results nothing, which then waits for ever, and
    for a cluster of one thread it does all in this process.
    """
    client = _client(address)
    from distributed import as_completed
    from distributed.comm.core import CommClosedError
    from distributed.scheduler import KilledWorker

    with client:
        submitted = (client.submit(attempt, name, job, pure=False) for name, job in jobs)
        try:
            running = as_completed(list(islice(submitted, at_once)))
            for future in running:
                done: Done = future.result()
                running.update(islice(submitted, 1))
                yield done
        except KilledWorker as error:
            raise _killed(error) from error
        except (CommClosedError, CancelledError) as error:  # futures of a scheduler that is gone count as cancelled
            raise ProcessError(
                f"Expected the Dask scheduler at {address} to stay, but it was lost ({reason(error)}); start it and "
                "its workers again, and give the same command with its address: what is finished is kept."
            ) from error


def _client(address: str) -> Client:
    """Return a client of the Dask scheduler at an address."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError(
            f"Expected Dask for --backend dask, but it is missing; {INSTALL.format('unlearnkit[cluster]')}."
        ) from error
    try:
        return Client(address, timeout=20)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Expected a Dask scheduler at {address}, but none answers ({reason(error)}); start one with `dask "
            "scheduler` and workers with `dask worker`."
        ) from error


def _check_ray() -> None:
    """Refuse to go on where Ray is not installed."""
    try:
        import ray.util.joblib  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise ConfigError(f"Expected Ray for --backend ray, but it is missing; {INSTALL.format('ray')}.") from error


def _ray(address: str | None) -> None:
    """Join a Ray cluster and register its backend with joblib."""
    _check_ray()
    import ray
    from ray.util.joblib import register_ray

    ray.init(address=address, ignore_reinit_error=True)
    register_ray()


def _killed(error: Exception) -> ProcessError:
    """Return what is said where a worker was killed, more often than its backend tries again."""
    return ProcessError(
        "Expected the processes of the suite to live, but one was killed, perhaps for lack of memory "
        f"({reason(error)}); give the same command again, with fewer --jobs: what is finished is kept."
    )
