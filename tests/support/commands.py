"""What the tests of the command line share: quick settings, a forget, what a folder holds, what a refusal is."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import typer.main

from unlearnkit.cli import main

# typer makes the command anew from all signatures at every call, which a process does once
typer.main.get_command = cache(typer.main.get_command)

SMALL = ("noise.steps=2", "noise.batch_size=8", "retain_per_class=4", "search=none")
FAST = ("--device", "cpu", "--method", "unsir", *(arg for setting in SMALL for arg in ("--set", setting)))

WEIGHTS = "model.safetensors"
ARTEFACTS = {
    "README.md",
    "request.json",
    "config.json",
    "access.json",
    "cost.json",
    "manifest.json",
    WEIGHTS,
    "history.json",
}


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


def run_cli(*args: object) -> Outcome:
    """Run the command line in this process, through the entry point that `unlearnkit` and `python -m` call."""
    out, err, code, argv = io.StringIO(), io.StringIO(), 0, sys.argv
    sys.argv = ["unlearnkit", *(str(arg) for arg in args)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = argv
    return Outcome(code, out.getvalue(), err.getvalue())


def tree(folder: Path) -> dict[str, str | None]:
    """Every path under a folder, hidden ones too, with the hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def forget(*args: object, weights: Path, data: str = "digits", out: Path) -> Outcome:
    return run_cli("forget", "--weights", weights, "--data", data, "--out", out, *FAST, *args)


def assert_refused(outcome: Outcome, *words: str) -> None:
    """One sentence on standard error that holds the words, behind notes at most; no output, exit code 2."""
    assert outcome.code == 2, outcome
    assert outcome.out == "", outcome
    *notes, sentence = outcome.err.splitlines()
    assert sentence.startswith("unlearnkit: "), outcome.err
    assert all(note.startswith(("note: ", "images: ", "warning: ")) for note in notes), outcome.err
    assert outcome.err.endswith("\n"), outcome.err
    assert outcome.err.rstrip().endswith((".", "?")), outcome.err
    assert "Traceback" not in outcome.err
    assert all(word in outcome.err for word in words), outcome.err
