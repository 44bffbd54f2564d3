"""The ledger: whole under several writers and kills, and every change to what was written is found."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import assert_refused, run_cli
from unlearnkit.errors import OutputError
from unlearnkit.proof.ledger import append, check, entries
from unlearnkit.run_dir import add_to_run, write_run
from unlearnkit.steps.ledger import VARIABLE, add_run, list_ledger, record, verify_ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite"
    for number in range(5):
        append(path, {"kind": "forget", "number": number})
    return path


def forked(*works: Callable[[], None]) -> list[int]:
    """Run each in a process of its own."""
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            try:
                work()
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        children.append(child)
    return children


def test_entries_are_chained(ledger: Path) -> None:
    found = entries(ledger)
    assert [entry.number for entry in found] == [1, 2, 3, 4, 5, 6]
    assert found[0].content["kind"] == "ledger"
    chain = check(ledger)
    assert (chain.count, chain.head, chain.wrong) == (6, found[-1].hash, None)


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    path, count = tmp_path / "new.sqlite", 6

    def write(who: int) -> None:
        for number in range(count):
            append(path, {"who": who, "number": number})

    for child in forked(*(lambda who=who: write(who) for who in range(3))):
        assert os.waitpid(child, 0)[1] == 0
    chain = check(path)
    assert (chain.count, chain.wrong) == (1 + 3 * count, None)
    for who in range(3):  # each writer's entries in its order
        assert [e.content["number"] for e in entries(path) if e.content.get("who") == who] == list(range(count))


@pytest.mark.slow
def test_killed_writers_leave_a_whole_ledger(ledger: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"

    def write() -> None:
        while True:
            entry = append(ledger, {"kind": "run"})
            with said.open("a") as file:  # after the entry is there
                file.write(f"{entry.hash}\n")

    for number in range(8):
        (child,) = forked(write)
        time.sleep(0.01 + 0.012 * number)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert check(ledger).wrong is None
    append(ledger, {"kind": "run"})
    hashes = {entry.hash for entry in entries(ledger)}
    assert set(said.read_text().split()) <= hashes, "what was said to be written is there"
    assert check(ledger).wrong is None


CHANGES = {
    "content": "UPDATE entries SET content = replace(content, '2', '7') WHERE number = 4",
    "content of the newest": "UPDATE entries SET content = '{}' WHERE number = 6",
    "hash": f"UPDATE entries SET hash = '{'0' * 64}' WHERE number = 3",
    "kind of value": "UPDATE entries SET content = CAST(content AS BLOB) WHERE number = 3",
    "deleted": "DELETE FROM entries WHERE number = 3",
    "first deleted": "DELETE FROM entries WHERE number = 1",
    "swapped": "UPDATE entries SET number = CASE number WHEN 3 THEN -4 WHEN 4 THEN -3 ELSE number END;"
    "UPDATE entries SET number = -number WHERE number < 0",
    "numbered anew": "DELETE FROM entries WHERE number = 3; UPDATE entries SET number = number - 1 WHERE number > 3",
    "put between": "UPDATE entries SET number = -number - 1 WHERE number > 3;"
    "UPDATE entries SET number = -number WHERE number < 0; INSERT INTO entries VALUES (4, '{}', 'x')",
}


def change(path: Path, script: str) -> None:
    with sqlite3.connect(path) as database:
        database.executescript(script)
    database.close()


@pytest.mark.parametrize("how", CHANGES)
def test_a_change_is_found(how: str, ledger: Path) -> None:
    change(ledger, CHANGES[how])
    done = run_cli("ledger", "verify", "--ledger", ledger)
    assert done.code == 1, done
    assert done.out.startswith("BROKEN: entry ")


def test_what_is_cut_off_or_written_anew_only_a_kept_hash_tells(ledger: Path, tmp_path: Path) -> None:
    done = run_cli("ledger", "verify", "--ledger", ledger)
    assert (done.code, "not found by this: newest entries that were cut off" in done.out) == (0, True)
    head = done.out.split()[-1]
    append(ledger, {"kind": "run"})
    done = run_cli("ledger", "verify", "--ledger", ledger, "--head", head)
    assert (done.code, "is there; 1 came after it" in done.out) == (0, True)
    change(ledger, "DELETE FROM entries WHERE number > 5")
    assert check(ledger).wrong is None
    done = run_cli("ledger", "verify", "--ledger", ledger, "--head", head)
    assert (done.code, "entries were cut off, or all were written anew" in done.out) == (1, True)
    assert_refused(run_cli("ledger", "verify", "--ledger", ledger, "--head", "12"), "64 hexadecimal digits")


def test_a_broken_end_is_not_built_on(ledger: Path) -> None:
    change(ledger, CHANGES["content of the newest"])
    with pytest.raises(OutputError, match=r"entry 6 has changed; look at it with `unlearnkit ledger verify`"):
        append(ledger, {})


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries WHERE number = 2; END",
        "CREATE VIEW v AS SELECT 1",
        "ALTER TABLE entries ADD COLUMN more TEXT",
        "DROP TABLE entries; CREATE VIEW entries AS SELECT 1 AS number, '{}' AS content, '' AS hash",
    ],
)
def test_another_database_is_refused(script: str, ledger: Path, tmp_path: Path) -> None:
    change(ledger, script)
    for words in (("list",), ("verify",)):
        assert_refused(run_cli("ledger", *words, "--ledger", ledger), "is another database")
    with pytest.raises(OutputError, match="is another database"):
        append(ledger, {})


def test_what_is_no_ledger_is_refused(tmp_path: Path, run: Path) -> None:
    (tmp_path / "text").write_text("no database " * 100)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, said in {"text": "not a database", "pipe": "a pipe", "folder": "", "none": "there is none"}.items():
        assert_refused(run_cli("ledger", "list", "--ledger", tmp_path / name), said)
    for name in ("text", "pipe", "folder"):
        assert_refused(run_cli("ledger", "add", run, "--ledger", tmp_path / name), "ledger")
    assert_refused(run_cli("ledger", "list"), "UNLEARNKIT_LEDGER")
    assert_refused(run_cli("ledger", "add", "--ledger", tmp_path / "new"), "a run folder to add")
    assert_refused(run_cli("ledger", "list", run, "--ledger", tmp_path / "new"), "no run folder")
    assert_refused(run_cli("ledger", "list", "--ledger", tmp_path / "new", "--head", "0" * 64), "leave it out")
    assert_refused(run_cli("ledger", "add", run, "--ledger", tmp_path / "new", "--request", "x" * 201), "200")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made(tmp_path, "run", before="a" * 64, weights=b"after")


def made(folder: Path, name: str, *, before: str, weights: bytes) -> Path:
    weights_file = folder / "person" / "weights"
    content = {
        "config.json": {"kind": "forget", "method": "unsir", "weights": str(weights_file)},
        "request.json": {"forget": ["3", "\u732b"], "already_forgotten": []},
        "model.safetensors": weights,
    }
    manifest = {"inputs": {str(weights_file): before}, "command": ["unlearnkit", "forget", str(folder)]}
    write_run(folder / name, content, overwrite=False, manifest=manifest)
    return folder / name


def test_runs_are_linked_by_their_models(run: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    first = add_run(ledger, run, request="REQ-1")
    assert first == add_run(ledger, run, request="REQ-1") | {"added": True}, "it is there once"
    audit = {"readings": [], "tier": "E3", "verdict": {"status": "pass", "why": []}}
    add_to_run(run, {"audit.json": audit}, step={"inputs": {}})
    record(ledger, run)
    after = list_ledger(ledger)["entries"][1]["model_after"]
    add_run(ledger, made(tmp_path, "next", before=after, weights=b"later"))
    listed = list_ledger(ledger)["entries"]
    assert [entry.get("follows") for entry in listed] == [[], [], [2], [3]]
    assert listed[1]["request"] == "REQ-1"
    assert listed[1]["forget"] == ["3", "\u732b"]
    assert listed[1]["model_before"] == "a" * 64
    assert (listed[1]["audit"], listed[2]["audit"]["verdict"]) == (None, "pass")
    assert verify_ledger(ledger, first["head"])["since_head"] == 2
    lines = run_cli("ledger", "list", "--ledger", ledger).out.splitlines()
    assert "request REQ-1  forget 3, \u732b  model aaaaaaaaaaaa -> " in lines[1]
    assert lines[2].endswith("audit pass (E3)  follows 2")
    raw = ledger.read_bytes()
    for secret in (str(tmp_path), "person", "unlearnkit forget"):
        assert secret.encode() not in raw, "no path, no command line"


def test_a_changed_run_is_not_written_down(run: Path, tmp_path: Path) -> None:
    (run / "model.safetensors").write_bytes(b"x")
    assert_refused(run_cli("ledger", "add", run, "--ledger", tmp_path / "l"), "model.safetensors (changed)")


def test_forget_and_audit_write_their_runs_down(
    digits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, out = tmp_path / "ledger.sqlite", tmp_path / "out"
    words = ("--weights", digits_run / "model.safetensors", "--data", "digits", "--forget", 3, "--device", "cpu")
    plain = ("--no-audit", "--quiet", "--method", "head-mask")
    (tmp_path / "text").write_text("no database " * 100)
    done = run_cli("forget", *words, "--out", out, *plain, "--ledger", tmp_path / "text")
    assert_refused(done, "not a database")
    assert not out.exists(), "a ledger that cannot be written is refused before any work"
    monkeypatch.setenv(VARIABLE, str(ledger))
    assert run_cli("forget", *words, "--out", out, *plain).code == 0
    (_, entry) = list_ledger(ledger)["entries"]
    assert (entry["kind"], entry["forget"], entry["method"], entry["audit"]) == ("forget", ["3"], "head-mask", None)
