"""Tests of one group run in one process, and make its module's fixtures once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parent / "support"
SUITE = """
import os
import time

import pytest

pytestmark = pytest.mark.xdist_group("together")


@pytest.mark.parametrize("number", range(6))
def test_one_of_several(number):
    time.sleep(0.2)
    with open(os.environ["SEEN"], "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


@pytest.mark.slow
def test_a_group_runs_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = "pytest_collection_modifyitems, pytest_configure, pytest_xdist_make_scheduler"
    (tmp_path / "conftest.py").write_text(f"from grouping import {hooks}\n")
    (tmp_path / "test_suite.py").write_text(SUITE)
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_ADDOPTS", "UNLEARNKIT_TEST_GROUPS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        "--dist",
        "loadgroup",
        "-p",
        "no:cacheprovider",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    workers = (tmp_path / "seen").read_text().split()
    assert len(workers) == 6
    assert len(set(workers)) == 1
