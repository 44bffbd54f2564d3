"""Kills and wrong inputs by the hundred: `python benchmarks/soak.py [--kills 40] [--only PART ...]` prints their table.

Every write of ours is killed at each of its calls of the file system, then trainings, ledgers and run folders are
killed at random moments. After each kill what is there must be whole: the old state or the new one. Takes some
minutes on one core, and needs Linux or macOS. docs/reliability.md has the figures.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch

import bad_inputs
from kills import killed, killed_after
from unlearnkit.disk import staging
from unlearnkit.proof.keys import make_key
from unlearnkit.proof.ledger import append, check, entries
from unlearnkit.run_dir import Artefacts, add_to_run, read_json, write_run
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps import checkpoints
from unlearnkit.steps.output import Output
from unlearnkit.steps.sign import sign_folder
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.steps.train import train_run
from unlearnkit.steps.verify import verify_run

WRONG = "wrong commands and inputs"
MOST = 400  # calls of the file system that one write makes, at most
SPEC = TrainSpec(model="small-cnn,width=4", data="digits", settings=("epochs=4", "batch_size=200", "augment=crop_flip"))
CPU = Runtime(device=torch.device("cpu"))


@dataclass
class Row:
    """A line of the table: what was tried, how often, what was found, and what was wrong."""

    tried: str
    times: int = 0
    found: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def count(self, found: str) -> None:
        """Count one trial and what was found after it."""
        self.times += 1
        self.found[found] = self.found.get(found, 0) + 1

    def line(self) -> str:
        """Return the line in Markdown."""
        found = ", ".join(f"{name}: {number}" for name, number in sorted(self.found.items()))
        return f"| {self.tried} | {self.times} | {found} | {len(self.faults)} |"


def write(folder: Path, kind: str, *, overwrite: bool = False) -> None:
    """Write a small run folder."""
    content: Artefacts = {
        "config.json": {"kind": kind},
        "model.safetensors": kind.encode() * 1000,
        "transformers/x": b"x",
    }
    write_run(folder, content, overwrite=overwrite, manifest={})


def at_every_call(tried: str, place: Path, start: Callable[[Path], None], work: Callable[[Path], object]) -> Row:
    """Kill the work at each of its calls; what is there must be the old run, the new one, or nothing where none was."""
    row = Row(tried)
    for at in range(1, MOST):
        folder = place / str(at) / "run"
        folder.parent.mkdir(parents=True)
        start(folder)
        before = set(os.listdir(folder)) if folder.exists() else set()
        ended = not killed(partial(work, folder), at)
        if ended:
            break
        staging.sweep(folder.parent)  # as the next command does
        left = [name for name in os.listdir(folder.parent) if name != "run"]
        if not folder.exists():
            row.count("nothing")
            if before:
                row.faults.append(f"call {at}: the run is gone")
        elif left or not verify_run(folder)["ok"]:
            row.count("broken")
            row.faults.append(f"call {at}: {left or verify_run(folder)}")
        else:
            same = set(os.listdir(folder)) == before and read_json(folder, "config.json")["kind"] == "old"
            row.count("the old run" if same else "the new run")
        shutil.rmtree(folder.parent)
    return row


def writes(place: Path) -> list[Row]:
    """Kill every kind of write at every call."""
    make_key(place / "key")
    key = place / "key"

    def old(folder: Path) -> None:
        write(folder, "old")

    def add(folder: Path) -> None:
        add_to_run(folder, {"audit.json": {"readings": []}, "config.json": {"kind": "new"}}, step={"inputs": {}})

    def overwrite(folder: Path) -> None:
        write(folder, "new", overwrite=True)

    rows = [
        at_every_call("writing a new run", place / "a", lambda _: None, lambda folder: write(folder, "new")),
        at_every_call("adding an audit", place / "b", old, add),
        at_every_call("`--overwrite`", place / "c", old, overwrite),
        at_every_call("signing", place / "d", old, lambda folder: sign_folder(folder, key)),
    ]
    with patch.object(staging, "_renameat2", lambda: None):
        rows += [
            at_every_call("adding an audit, in two renames", place / "e", old, add),
            at_every_call("`--overwrite`, in two renames", place / "f", old, overwrite),
        ]
    return rows


def run_folders(place: Path, kills: int, draw: random.Random) -> Row:
    """Kill a process that overwrites, adds and signs without end, at random moments."""
    row, folder = Row("overwriting, adding and signing in a loop, killed at random"), place / "run"
    make_key(place / "key")
    write(folder, "old")

    def loop() -> None:
        for number in range(10_000):
            write(folder, f"run {number}", overwrite=True)
            add_to_run(folder, {"audit.json": {"readings": []}}, step={"inputs": {}})
            sign_folder(folder, place / "key")

    for number in range(kills):
        killed_after(loop, draw.uniform(0.001, 0.12))
        config = read_json(folder, "config.json")  # takes back what was put aside
        whole = verify_run(folder)
        # an audit that is not signed yet is what a kill before the signing leaves
        sound = all(file["state"] == "matches" for file in whole["files"])
        staging.sweep(place)
        left = sorted(set(os.listdir(place)) - {"run", "key", "key.pub"})
        row.count("a whole run" if sound and config["kind"] and not left else "broken")
        if not sound or left:
            row.faults.append(f"kill {number}: {left or whole}")
    return row


def ledger(place: Path, kills: int, draw: random.Random) -> Row:
    """Kill one of two processes that write a ledger, at random moments; what was said to be written must be there."""
    row, path, said = Row("two writers of a ledger, one killed at random"), place / "ledger.sqlite", place / "said"

    def loop(count: int = 100_000) -> None:
        for _ in range(count):
            entry = append(path, {"kind": "run"})
            with said.open("a") as file:
                file.write(f"{entry.hash}\n")

    for number in range(kills):
        other = os.fork()
        if other == 0:
            try:
                loop(5)
            finally:
                os._exit(0)
        killed_after(loop, draw.uniform(0.002, 0.1))
        os.waitpid(other, 0)
        if not path.exists():
            row.count("no ledger yet")
            continue
        chain = check(path)
        lost = set(said.read_text().split()) - {entry.hash for entry in entries(path)} if said.exists() else set()
        row.count("whole" if chain.wrong is None and not lost else "broken")
        if chain.wrong or lost:
            row.faults.append(f"kill {number}: {chain.wrong}, lost {len(lost)}")
    return row


def trainings(place: Path, kills: int, draw: random.Random) -> Row:
    """Kill a training at random moments, three times at most, and go on: the weights must be the same."""
    row = Row("training, killed at random up to three times, then resumed")

    def run(folder: Path, *, resume: bool) -> None:
        train_run(SPEC, Output(folder), seed=1, runtime=CPU, resume=resume)

    start = time.perf_counter()
    run(place / "whole", resume=False)
    took, wanted = time.perf_counter() - start, (place / "whole" / "model.safetensors").read_bytes()
    done = 0
    while done < kills:
        folder = place / "again" / "run"
        folder.parent.mkdir(exist_ok=True)
        for _ in range(3):
            if not killed_after(partial(run, folder, resume=True), draw.uniform(0.1, 0.9) * took):
                break
            done += 1
            epochs = "saved" if checkpoints.place_of(folder).exists() else "nothing saved yet"
            row.count("finished" if folder.exists() else epochs)
        if not folder.exists():
            run(folder, resume=True)
        same = (folder / "model.safetensors").read_bytes() == wanted
        if not same or not verify_run(folder)["ok"]:
            row.faults.append(f"after {done} kills: other weights")
        shutil.rmtree(folder.parent)
    return row


def wrong_inputs(place: Path) -> Row:
    """Give every wrong input of `bad_inputs.py` to the command line."""
    row, run = Row(WRONG), place / "run"
    train_run(SPEC, Output(run), runtime=CPU)
    for number, name in enumerate(bad_inputs.CASES):
        (place / str(number)).mkdir()
        got = bad_inputs.answer(name, bad_inputs.Material(place / str(number), run))
        row.count("exit code 2, one sentence" if got.fault is None else "something else")
        if got.fault:
            row.faults.append(f"{name}: {got.fault}: {got.err[-300:]}")
    return row


PARTS: dict[str, Callable[[Path, int, random.Random], list[Row]]] = {
    "writes": lambda place, _kills, _draw: writes(place),
    "runs": lambda place, kills, draw: [run_folders(place, kills, draw)],
    "ledger": lambda place, kills, draw: [ledger(place, kills, draw)],
    "trainings": lambda place, kills, draw: [trainings(place, kills, draw)],
    "inputs": lambda place, _kills, _draw: [wrong_inputs(place)],
}


def command() -> int:
    """Run all of it and print the table; 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40, help="random kills of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=[*PARTS], help="parts of it; default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)  # threads do not outlive a fork
    os.environ.pop("UNLEARNKIT_LEDGER", None)
    draw = random.Random(options.seed)
    checkpoints.SECONDS = 0.0  # save at every epoch
    began = time.process_time()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for part in options.only or PARTS:
            (Path(name) / part).mkdir()
            rows += PARTS[part](Path(name) / part, options.kills, draw)
    times = os.times()
    print("| tried | times | what was found | faults |\n| --- | --- | --- | --- |")
    for row in rows:
        print(row.line())
    kills = sum(row.times for row in rows if row.tried != WRONG)
    wrong = sum(row.times for row in rows if row.tried == WRONG)
    spent = time.process_time() - began + times.children_user + times.children_system
    print(f"\n{kills} kills, {wrong} wrong inputs, seed {options.seed}, {spent:.0f} CPU seconds")
    for row in rows:
        for fault in row.faults:
            print(f"FAULT {row.tried}: {fault}", file=sys.stderr)
    return int(any(row.faults for row in rows))


if __name__ == "__main__":
    sys.exit(command())
