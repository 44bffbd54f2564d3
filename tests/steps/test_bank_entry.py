"""A model of the bank that another process is training is waited for, and taken from there or trained after all."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import unlearnkit.steps.bank_entry as step
from trained_once import CPU, TINY
from unlearnkit.compare.comparison import outcome
from unlearnkit.disk.holding import held
from unlearnkit.errors import OutputError
from unlearnkit.run_dir import WEIGHTS
from unlearnkit.runtime.progress import Silent
from unlearnkit.steps.original import original_run
from unlearnkit.steps.reference_bank import damage, folders_of
from unlearnkit.steps.specs import TrainSpec

pytestmark = pytest.mark.xdist_group("bank entry")  # one process trains the model


class Told(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def original(bank: Path, told: Told | None = None) -> dict[str, Any]:
    spec = TrainSpec(model=TINY, data="digits", settings=("epochs=1",))
    return original_run(spec, bank, seed=4, runtime=CPU, progress=told)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank of one original."""
    bank = tmp_path_factory.mktemp("made") / "bank"
    assert original(bank)["trained"]
    return bank


@contextmanager
def another(entry: Path, last: Callable[[], object]) -> Iterator[int]:
    """Have another process hold an entry, which does the last thing once somebody waits, and ends."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with held(entry):
                os.write(writer, b"x")
                time.sleep(1)
                last()
        finally:
            os._exit(0)
    os.read(reader, 1)
    try:
        yield child
    finally:
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)


def ended() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("left", ["an entry", "nothing", "a lock"])
def test_a_model_in_training_is_waited_for(made: Path, tmp_path: Path, left: str) -> None:
    (entry,) = folders_of(made)
    bank = tmp_path / "bank"
    bank.mkdir()
    last = {
        "an entry": lambda: shutil.copytree(entry, bank / entry.name),
        "nothing": lambda: None,
        "a lock": ended,
    }[left]
    told = Told()
    with another(bank / entry.name, last) as child:
        result = original(bank, told)
    assert result["trained"] == (left != "an entry")
    assert result["replaced"] is None
    (waited,) = (line for line in told.lines if "waiting until that has ended" in line)
    assert f"process {child} of " in waited
    assert damage(bank / entry.name) is None
    assert [path.name for path in bank.iterdir()] == [entry.name], "no lock is left"


def test_what_another_process_trains_anew_is_not_replaced_a_second_time(made: Path, tmp_path: Path) -> None:
    bank = Path(shutil.copytree(made, tmp_path / "bank"))
    (entry,) = folders_of(bank)
    whole = (entry / WEIGHTS).read_bytes()
    (entry / WEIGHTS).write_bytes(b"x")
    with another(entry, lambda: (entry / WEIGHTS).write_bytes(whole)):
        result = original(bank)
    assert (result["trained"], result["replaced"]) == (False, None)


def test_no_process_waits_for_itself(made: Path, tmp_path: Path) -> None:
    (entry,) = folders_of(made)
    bank = tmp_path / "bank"
    bank.mkdir()
    failures: list[OutputError] = []

    def second() -> None:
        try:
            original(bank)
        except OutputError as error:
            failures.append(error)

    with held(bank / entry.name):
        thread = threading.Thread(target=second, daemon=True)
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
    assert f"but process {os.getpid()} of " in str(failures[0])


def test_a_model_that_is_there_needs_no_lock(made: Path) -> None:
    (entry,) = folders_of(made)
    with held(entry):
        assert not original(made)["trained"]


def test_the_line_of_a_job_says_why_a_model_is_trained_anew(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = Path(shutil.copytree(made, tmp_path / "bank"))
    assert outcome(original(bank)) == "in the bank"
    (entry,) = folders_of(bank)
    weights = bytearray((entry / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (entry / WEIGHTS).write_bytes(weights)
    assert outcome(original(bank)) == "trained anew: model.safetensors is changed"
    assert outcome(original(tmp_path / "new")) == "trained"
    shutil.rmtree(tmp_path / "new")

    def refused(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(step, "held", refused)
    with pytest.raises(OutputError, match=r"Expected to be able to write into the reference bank .* Read-only"):
        original(tmp_path / "new")
