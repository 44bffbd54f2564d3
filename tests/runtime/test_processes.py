"""Several processes compute the run of one; a process that dies ends the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import several
from commands import run_cli
from unlearnkit.runtime.processes import Processes

HERE = Path(__file__).parents[1] / "support"
LAUNCH = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]


def start(arguments: list[str], *, processes: int = 1, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=timeout,
    )


def run(case: str, out: Path, processes: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    out.mkdir()
    if processes == 1:
        several.main(case, out)
    else:
        done = start([str(HERE / "several.py"), case, str(out)], processes=processes)
        assert done.returncode == 0, done.stderr
    return load_file(out / "weights.safetensors"), json.loads((out / "facts.json").read_text())


@given(n=st.integers(0, 50), count=st.integers(1, 9))
def test_the_shares_are_the_whole_in_order(n: int, count: int) -> None:
    shares = [list(range(n))[Processes(rank=rank, count=count).share(n)] for rank in range(count)]
    assert [i for share in shares for i in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_needs_nobody() -> None:
    tensor = torch.arange(3.0)
    alone = Processes()
    alone.sum([tensor])
    assert alone.gather(tensor, 3) is tensor
    assert tensor.tolist() == [0, 1, 2]


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    one, facts_one = run("exact", tmp_path / "one", 1)
    two, facts_two = run("exact", tmp_path / "two", 2)
    steps = sum(len(facts_one["history"][stage]) for stage in ("impair", "repair"))
    assert steps >= 20
    assert (facts_one["processes"], facts_two["processes"]) == (1, 2)
    for name, value in one.items():
        assert value.dtype == torch.float64
        difference = (two[name] - value).norm() / value.norm().clamp_min(1e-12)
        assert difference < 1e-6, name
    for stage in ("impair", "repair"):
        assert facts_two["history"][stage] == pytest.approx(facts_one["history"][stage], rel=1e-6)
    # what is read and passed is the same altogether, whoever does it
    assert facts_two["access"] == facts_one["access"]
    assert facts_two["access"]["forget_samples_read"] == 0
    for stage, cost in facts_one["cost"].items():
        for key in ("samples_forward", "samples_backward"):
            assert facts_two["cost"][stage][key] == cost[key], (stage, key)


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_whatever_the_method(tmp_path: Path) -> None:
    one, facts_one = run("methods", tmp_path / "one", 1)
    two, facts_two = run("methods", tmp_path / "two", 2)
    assert facts_two == facts_one  # samples read, and samples passed in each stage
    assert {"ssd", "salun", "boundary-shrink"} <= facts_one.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.slow
def test_batch_statistics_are_shared_out_and_averaged(tmp_path: Path) -> None:
    one, _ = run("batchnorm", tmp_path / "one", 1)
    two, facts = run("batchnorm", tmp_path / "two", 2)
    assert all(value.isfinite().all() for value in two.values())
    weights = [name for name, value in one.items() if value.is_floating_point()]
    assert any(not torch.allclose(one[name], two[name], rtol=1e-6) for name in weights)  # as the documentation says
    assert facts["processes"] == 2


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_with_an_error(tmp_path: Path) -> None:
    began = time.monotonic()
    done = start([str(HERE / "several.py"), "dies", str(tmp_path)], processes=2, timeout=100)
    assert done.returncode != 0
    assert time.monotonic() - began < 90
    assert "exitcode" in done.stderr
    assert not (tmp_path / "weights.safetensors").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in Linux's /proc")
def test_no_thread_of_the_group_outlives_it(tmp_path: Path) -> None:
    done = start([str(HERE / "several.py"), "leaves", str(tmp_path)], processes=2)
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        found = json.loads((tmp_path / f"threads-{rank}.json").read_text())
        if not found["together"]:
            pytest.skip("this release of torch does not name the group's threads")
        assert found["alone"] == []


@pytest.mark.slow
def test_more_processes_than_samples_of_a_batch(tmp_path: Path) -> None:
    done = start([str(HERE / "several.py"), "few", str(tmp_path)], processes=2)
    assert done.returncode != 0
    assert "fewer than 2 processes" in done.stderr


@pytest.mark.slow
def test_the_command_line_writes_once(tmp_path: Path) -> None:
    common = ["-m", "unlearnkit"]
    trained = tmp_path / "original"
    done = start(
        [*common, "train", "--model", "small-cnn,width=4", "--data", "digits", "--epochs", "1", "--out", str(trained)],
        processes=2,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to") == 1
    forget = ["--data", "digits", "--forget", "3", "--set", "noise.steps=2", "--set", "retain_per_class=20"]
    done = start(
        [
            *common,
            "forget",
            "--weights",
            str(trained / "model.safetensors"),
            *forget,
            "--quick",
            "--out",
            str(tmp_path / "run"),
        ],
        processes=2,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to") == 1
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["runtime"]["processes"] == 2
    assert (tmp_path / "run" / "report.html").is_file()


def test_other_commands_refuse_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():  # what a launcher sets
        monkeypatch.setenv(name, value)
    done = run_cli("methods")
    assert (done.code, done.out) == (2, "")
    assert "Expected one process" in done.err
