"""The terminal: whatever a file is named or says, nothing in it moves the cursor or writes over another line."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import unlearnkit
from commands import run_cli
from unlearnkit.cli.progress import Bars, Lines
from unlearnkit.run_dir import write_run
from unlearnkit.runtime.terminal import escaped, print_json, print_line, print_lines

ACTING = [
    "\x1b[31m",  # colour
    "\x1b]0;title\x07",  # the window's title
    "\x1b[1A\x1b[2K",  # over the line above
    "\x1b]8;;http://x\x1b\\",  # a link
    "\x9b2J",  # the same in one byte
    "\r",  # over this line
    "\n",
    "\b",
    "\u2028",
    "\u202e",  # right to left
    "\u2066",
    "\udcff",  # a byte that is no UTF-8
]
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.mark.parametrize("acting", ACTING)
def test_what_a_terminal_acts_on_is_written_out(acting: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"cat{acting} dog"
    assert not RAW.search(escaped(line))
    assert "\n" not in escaped(line)
    print_line(line)
    Lines().say(line)
    Lines().start(line, 3)
    print_json({line: [line]})
    found = capsys.readouterr()
    assert not RAW.search(found.out + found.err)
    assert found.out.count("\n") == 1 + 5
    assert found.err.count("\n") == 2
    assert json.loads(found.out.partition("\n")[2]) == {line: [line]}


def test_names_in_any_script_are_printed_as_they_are() -> None:
    for name in ("été", "猫", "שלום", "👩\u200d👧", "a\\b", "[red]"):
        assert escaped(name) == name


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines("a\x1b\nb\r\n\n")
    assert capsys.readouterr().out == "a\\x1b\nb\\r\n\n"


def test_bars_escape_too(capsys: pytest.CaptureFixture[str]) -> None:
    bars = Bars()
    bars.say("a\x1b[2Kb")
    assert "\\x1b[2Kb" in capsys.readouterr().err


@pytest.mark.parametrize("acting", ACTING[:-1])
def test_no_file_rewrites_the_answer_of_verify(acting: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_run(run, {"config.json": {"kind": "forget"}}, overwrite=False, manifest={"inputs": {}})
    (run / f"x{acting.replace('/', '')}everything is as recorded").write_text("mine")
    done = run_cli("verify", run)
    assert done.code == 1
    assert not RAW.search(done.out + done.err)
    assert not [line for line in done.out.splitlines() if line.startswith("everything")]
    assert run_cli("verify", run, "--json").code == 1


@pytest.mark.parametrize("acting", ACTING[:5])
def test_no_file_writes_escapes_in_an_error(acting: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_run(run, {"config.json": {"kind": acting}}, overwrite=False, manifest={"inputs": {}})
    done = run_cli("audit", run)
    assert done.code == 2
    assert not RAW.search(done.err)
    assert done.err.count("\n") == 1


def test_nothing_else_prints() -> None:
    root = Path(unlearnkit.__file__).parent
    found = []
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found.append(path.relative_to(root).as_posix())
    assert set(found) == {"runtime/terminal.py"}
