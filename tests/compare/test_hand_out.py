"""Who does the jobs of a suite is told which process holds the folder."""

from __future__ import annotations

import os
from typing import Any

import pytest

from unlearnkit.compare import hand_out
from unlearnkit.compare.hand_out import Workers
from unlearnkit.compare.work import Done


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
