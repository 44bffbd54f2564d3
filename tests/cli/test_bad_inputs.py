"""A hundred wrong commands and inputs: exit code 2 and one sentence each, and nothing is left in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from bad_inputs import CASES, Material, answer
from trained_once import trained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("bad") / "run")


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_command_gets_one_sentence(
    name: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNLEARNKIT_LEDGER", raising=False)
    got = answer(name, Material(tmp_path, run))
    assert got.fault is None, got
    assert not (tmp_path / "out").exists()


def test_there_are_enough() -> None:
    assert len(CASES) >= 80
