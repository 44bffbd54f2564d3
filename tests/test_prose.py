"""First lines of docstrings are plain sentences, and errors say what was expected and what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import unlearnkit
from unlearnkit import errors

ROOT = Path(unlearnkit.__file__).parent
ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
# words that made a first line a riddle, each of which a plainer one replaces
RIDDLES = re.compile(
    r"\b(anew|alike|remade|goes on|held against|held still|for the eye|what is not there|there and back"
    r"|bug for bug|twice running|takes? off|on the word of|looked at|of so many)\b"
)
# messages that state what happened: nothing was expected of the caller
STATES = {
    "methods/harness.py": "The weights of {} became NaN or infinite; the run was stopped. Lower the learning rates.",
    "steps/first_look.py": "{} --trust-inputs goes on as it is.",  # behind a complaint that says what was expected
}


@cache
def files() -> dict[str, ast.Module]:
    """Every file of the package, parsed."""
    return {str(p.relative_to(ROOT)): ast.parse(p.read_text(encoding="utf-8")) for p in sorted(ROOT.rglob("*.py"))}


def documented(node: ast.AST, name: str = "") -> Iterator[tuple[str, str]]:
    """Name and first line of every module, class and public function below a node."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
        yield name, text.partition("\n")[0]
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            yield from documented(child, f"{name}.{child.name}")


def text_of(node: ast.expr) -> str | None:
    """The text of a literal with `{}` for each value in it; None where it is no literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and message of every named error that is raised with a literal."""
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ERRORS and call.args:
            message = text_of(call.args[0])
            if message is not None:
                yield node.lineno, message


def complaint_of(line: str) -> str | None:
    """What is wrong with the first line of a module."""
    if not line.endswith("."):
        return "the first line is a whole sentence"
    words = line.split()
    if len(line) >= 120 or len(words) < 5:
        return "the first line has five words or more, in less than 120 characters"
    # a verb in the third person is among the first words, or among those after a name and a colon, as in method cards
    start = [*words[:2], *line.partition(": ")[2].split()[:3]]
    return None if any(word.rstrip(",").endswith("s") for word in start) else "the first line has a verb"


def test_modules_begin_with_a_plain_sentence() -> None:
    lines = {file: (ast.get_docstring(tree) or "").partition("\n")[0] for file, tree in files().items()}
    found = {f"{file}: {line}": said for file, line in lines.items() if (said := complaint_of(line))}
    assert not found


@pytest.mark.parametrize(
    "line", ["", "Reads a file of rows", "Reads it.", f"Reads {'very ' * 30}much.", "A file to read in."]
)
def test_the_check_of_first_lines_sees_them(line: str) -> None:
    assert complaint_of("Reads a file of rows.") is None
    assert complaint_of("UNSIR: learns noise and trains on it.") is None
    assert complaint_of(line)


def test_first_lines_hold_no_riddles() -> None:
    lines = [(f"{file}{name}", line) for file, tree in files().items() for name, line in documented(tree)]
    assert not {place: line for place, line in lines if RIDDLES.search(line)}


def test_errors_say_what_was_expected_and_what_to_do() -> None:
    wrong = []
    for file, tree in files().items():
        for line, message in messages(tree):
            # a message that begins with a value begins with the sentence that this value holds
            plain = message.startswith(("Expected ", "{}")) and ("; " in message or ". " in message)
            if not plain and message != STATES.get(file):
                wrong.append(f"{file}:{line}: {message}")
    assert not wrong


def test_the_check_of_messages_sees_messages() -> None:
    assert sum(1 for tree in files().values() for _ in messages(tree)) > 150
