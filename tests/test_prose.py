"""First lines of docstrings are plain sentences, and errors say what was expected and what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import unlearnkit
from unlearnkit import errors

ROOT = Path(unlearnkit.__file__).parent
FILES = {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in ROOT.rglob("*.py")}
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


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_module_begins_with_a_plain_sentence(file: str) -> None:
    line = (ast.get_docstring(FILES[file]) or "").partition("\n")[0]
    assert line.endswith("."), "the first line is a whole sentence"
    assert len(line) < 120
    words = line.split()
    assert len(words) >= 5, line
    # a verb in the third person is among the first words, or among those after a name and a colon, as in method cards
    start = [*words[:2], *line.partition(": ")[2].split()[:3]]
    assert any(word.rstrip(",").endswith("s") for word in start), line


@pytest.mark.parametrize("file", sorted(FILES))
def test_first_lines_hold_no_riddles(file: str) -> None:
    found = {name: line for name, line in documented(FILES[file]) if RIDDLES.search(line)}
    assert not found


@pytest.mark.parametrize("file", sorted(FILES))
def test_errors_say_what_was_expected_and_what_to_do(file: str) -> None:
    for line, message in messages(FILES[file]):
        if message == STATES.get(file):
            continue
        place = f"{file}:{line}: {message}"
        # a message that begins with a value begins with the sentence that this value holds
        assert message.startswith(("Expected ", "{}")), place
        assert "; " in message or ". " in message, place


def test_the_check_of_messages_sees_messages() -> None:
    assert sum(1 for tree in FILES.values() for _ in messages(tree)) > 150
