"""Runs programs in processes of their own, forked from one that has imported torch and the package already.

A process costs no import then, which is most of what a small one costs. What it runs finds nothing that a test has
changed: the process that is forked has run no test. A test of what is imported, or of the interpreter's own start,
needs `subprocess`.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

START = multiprocessing.get_context("forkserver")
# What is imported at its first use: torch imports _dynamo for the first optimiser, which takes as long as torch itself,
# and scikit-learn, which holds the digits and fits an audit's classifiers, as long as the package.
START.set_forkserver_preload(
    [
        *("unlearnkit.cli", "unlearnkit.steps.forget", "accelerate", "torch._dynamo", "torch.distributed.nn"),
        *("sklearn.datasets", "sklearn.linear_model", "sklearn.svm", "sklearn.metrics"),
    ]
)
GROUP = "forked"  # pytest-xdist: tests of this group share one process to fork from


@dataclass(frozen=True)
class Done:
    """What a program left."""

    returncode: int | None
    stdout: str
    stderr: str


def run(program: str | Path, *arguments: object, path: Sequence[Path] = (), timeout: float = 120) -> Done:
    """Run a module by its name, or a file by its path; `path` is searched for modules first."""
    (done,) = start([{}], program, *arguments, path=path, timeout=timeout)
    return done


def launch(count: int, program: str | Path, *arguments: object, timeout: float = 120) -> list[Done]:
    """Run the same program in several processes, which are told of each other as `torchrun` does it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port)} for rank in range(count)]
    return start([common | rank for rank in ranks], program, *arguments, timeout=timeout)


def start(
    environments: Sequence[Mapping[str, str]],
    program: str | Path,
    *arguments: object,
    path: Sequence[Path] = (),
    timeout: float = 120,
) -> list[Done]:
    """Run a program once in each environment, at the same time."""
    with TemporaryDirectory() as folder:
        said = [(Path(folder) / f"{i}.out", Path(folder) / f"{i}.err") for i in range(len(environments))]
        processes = [
            START.Process(
                target=_main, args=(program, [str(word) for word in arguments], dict(environment), [*path], *files)
            )
            for environment, files in zip(environments, said, strict=True)
        ]
        with ended(processes):
            for process in processes:
                process.join(timeout)
        return [
            Done(process.exitcode, *(file.read_text(encoding="utf-8") for file in files))
            for process, files in zip(processes, said, strict=True)
        ]


@contextmanager
def ended(processes: Sequence[multiprocessing.process.BaseProcess]) -> Iterator[None]:
    """Start processes, and leave none running."""
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join()


def _main(
    program: str | Path, arguments: list[str], environment: dict[str, str], path: list[Path], out: Path, err: Path
) -> None:
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.argv = [str(program), *arguments]
    sys.path[:0] = map(str, path)
    try:
        if isinstance(program, Path):
            runpy.run_path(str(program), run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends a process without them
