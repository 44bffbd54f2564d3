"""Several processes compute the run of one; a process that dies ends the run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import several
from canonical import METHODS
from commands import run_cli
from forked import GROUP, Done, launch, run
from unlearnkit.runtime.processes import Processes

HERE = Path(__file__).parents[1] / "support"
pytestmark = pytest.mark.xdist_group(GROUP)


def succeeded(done: list[Done]) -> list[Done]:
    assert [each.returncode for each in done] == [0, 0], done
    return done


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes make of every case that they survive, one case after another, in a folder for each."""
    out = tmp_path_factory.mktemp("two")
    succeeded(launch(2, HERE / "several.py", "exact,methods,batchnorm,few,leaves", out))
    return out


def made(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return load_file(folder / "weights.safetensors"), json.loads((folder / "facts.json").read_text())


def alone(case: str, out: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What this one process makes of it."""
    several.main(case, out)
    return made(out)


@given(n=st.integers(0, 50), count=st.integers(1, 9))
def test_the_shares_are_the_whole_in_order(n: int, count: int) -> None:
    shares = [list(range(n))[Processes(rank=rank, count=count).share(n)] for rank in range(count)]
    assert [i for share in shares for i in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_needs_nobody() -> None:
    tensor = torch.arange(3.0)
    one = Processes()
    one.sum([tensor])
    assert one.gather(tensor, 3) is tensor
    assert tensor.tolist() == [0, 1, 2]


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(two: Path, tmp_path: Path) -> None:
    one, facts_one = alone("exact", tmp_path)
    both, facts_two = made(two / "exact")
    steps = sum(len(facts_one["history"][stage]) for stage in ("impair", "repair"))
    assert steps >= 20
    assert (facts_one["processes"], facts_two["processes"]) == (1, 2)
    for name, value in one.items():
        assert value.dtype == torch.float64
        difference = (both[name] - value).norm() / value.norm().clamp_min(1e-12)
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
def test_two_processes_give_the_weights_of_one_whatever_the_method(two: Path, tmp_path: Path) -> None:
    one, facts_one = alone("methods", tmp_path)
    both, facts_two = made(two / "methods")
    assert facts_two.keys() == facts_one.keys()
    for name, facts in facts_one.items():  # samples read, and samples passed in each stage
        if name.startswith("erase") or not METHODS[name].shared:  # every process makes its passes whole
            read = "forget_samples_read"
            assert facts_two[name]["access"][read] == facts["access"][read], name
        else:
            assert facts_two[name] == facts, name
    assert {"ssd", "salun", "boundary-shrink"} <= facts_one.keys()
    for name, value in one.items():
        torch.testing.assert_close(both[name], value, rtol=1e-5, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.slow
def test_batch_statistics_are_shared_out_and_averaged(two: Path, tmp_path: Path) -> None:
    one, _ = alone("batchnorm", tmp_path)
    both, facts = made(two / "batchnorm")
    assert all(value.isfinite().all() for value in both.values())
    weights = [name for name, value in one.items() if value.is_floating_point()]
    assert any(not torch.allclose(one[name], both[name], rtol=1e-6) for name in weights)  # as the documentation says
    assert facts["processes"] == 2


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_with_an_error(tmp_path: Path) -> None:
    began = time.monotonic()
    done = run(HERE / "elastic.py", "dies", tmp_path, path=[HERE], timeout=100)
    assert done.returncode != 0
    assert time.monotonic() - began < 90
    assert "exitcode" in done.stderr
    assert (tmp_path / "dies").is_dir()
    assert not (tmp_path / "dies" / "weights.safetensors").exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in Linux's /proc")
def test_no_thread_of_the_group_outlives_it(two: Path) -> None:
    for rank in range(2):
        found = json.loads((two / "leaves" / f"threads-{rank}.json").read_text())
        if not found["together"]:
            pytest.skip("this release of torch does not name the group's threads")
        assert found["alone"] == []


@pytest.mark.slow
def test_more_processes_than_samples_of_a_batch(two: Path) -> None:
    for rank in range(2):
        assert "ConfigError" in (said := (two / "few" / f"error-{rank}.txt").read_text())
        assert "fewer than 2 processes" in said
    assert not (two / "few" / "weights.safetensors").exists()


@pytest.mark.slow
def test_the_command_line_writes_once(tmp_path: Path) -> None:
    trained, digits = tmp_path / "original", ("--data", "digits")
    small = ("--model", "small-cnn,width=4", "--epochs", 1)
    done = succeeded(launch(2, "unlearnkit", "train", *small, *digits, "--out", trained))
    assert [each.stdout.count("written to") for each in done] == [1, 0]
    cheap = (
        "--method",
        "unsir",
        "--set",
        "noise.steps=2",
        "--set",
        "retain_per_class=20",
        "--set",
        "search=none",
        "--quick",
    )
    given = ("--weights", trained / "model.safetensors", *digits, "--forget", 3, *cheap)
    done = succeeded(launch(2, "unlearnkit", "forget", *given, "--trust-inputs", "--out", tmp_path / "run"))
    assert [each.stdout.count("written to") for each in done] == [1, 0]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["runtime"]["processes"] == 2
    assert (tmp_path / "run" / "report.html").is_file()


def test_other_commands_refuse_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():  # what a launcher sets
        monkeypatch.setenv(name, value)
    done = run_cli("methods")
    assert (done.code, done.out) == (2, "")
    assert "Expected one process" in done.err
