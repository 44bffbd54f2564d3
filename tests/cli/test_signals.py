"""Signals that end a process: it exits with their code, and leaves nothing behind."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from commands import run_cli
from unlearnkit.cli.signals import ending_on_signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
@pytest.mark.parametrize("moment", ["unlearnkit.steps.train.load_images", "unlearnkit.run_dir.write_new"])
def test_a_signal_ends_a_command(
    number: signal.Signals,
    code: int,
    moment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    def stop(*_: object, **__: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr(moment, stop)
    interrupts = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, interrupts))
    hangups = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and what nohup starts ignores this one
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, hangups))
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)]
    done = run_cli(
        "train", "--model", "small-cnn", "--data", "digits", "--epochs", 1, "--quiet", "--out", tmp_path / "run",
        "--set", "batch_size=2000", "--device", "cpu",
    )  # fmt: skip
    assert done.code == code, done
    assert "Traceback" not in done.err
    assert not list(tmp_path.iterdir())
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)] == before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_on_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_have_no_signals() -> None:
    def body() -> None:
        with ending_on_signals():
            done.append(True)

    done: list[bool] = []
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert done
