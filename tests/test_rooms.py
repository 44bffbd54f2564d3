"""The tests lie as the code lies: a folder of tests is a folder of the package, and no test module needs another."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import unlearnkit

TESTS, PACKAGE = Path(__file__).parent, Path(unlearnkit.__file__).parent
MODULES = sorted(TESTS.rglob("test_*.py"))
# tests of what is no module or folder of the package
OF_THE_WHOLE = {
    "docs",
    "docs_browser",
    "examples",
    "extensions",
    "imports",
    "project_files",
    "prose",
    "readme",
    "rooms",
}
BESIDE = {Path("benchmarks")}  # folders of tests of what lies beside the package


def test_a_test_module_lies_where_the_code_lies_that_it_tests() -> None:
    assert len(MODULES) > 80
    for path in MODULES:
        room = path.parent.relative_to(TESTS)
        if room == Path():
            name = path.stem.removeprefix("test_")
            assert name in OF_THE_WHOLE or (PACKAGE / f"{name}.py").is_file(), path
        else:
            assert room in BESIDE or (PACKAGE / room).is_dir(), f"{path}: the package has no folder {room}"


def test_every_folder_of_the_package_has_a_folder_of_tests() -> None:
    """Folders inside those may be tested by modules of the outer one."""
    tested = {path.parent.relative_to(TESTS) for path in MODULES}
    rooms = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert {room for room in rooms if len(room.parts) == 1} <= tested


def test_every_folder_of_tests_has_fast_ones() -> None:
    """So `make test-fast` passes through every room."""
    all_slow = re.compile(r"^pytestmark = .*\b(slow|browser)\b", re.MULTILINE)
    a_test = re.compile(r"(?<!@pytest\.mark\.slow\n)^def test_", re.MULTILINE)
    texts = {path: path.read_text(encoding="utf-8") for path in MODULES}
    fast = {path.parent for path, text in texts.items() if a_test.search(text) and not all_slow.search(text)}
    assert fast == {path.parent for path in MODULES}


@pytest.mark.xdist_group("rooms")
def test_groups_of_tests_stay_together(request: pytest.FixtureRequest) -> None:
    """pytest-xdist 3.8 tells them by a suffix of the name, which pytest 9.2 drops; then they part without a word."""
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith("@rooms"), "pytest-xdist does not group tests with this pytest"


@pytest.mark.xdist_group("rooms")
def test_the_dear_tests_come_first_and_the_quick_ones_of_a_file_stay_together(request: pytest.FixtureRequest) -> None:
    """Between processes; one process alone has them file by file."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("tests are not shared out")
    units: dict[str, list[pytest.Item]] = {}
    for item in request.session.items:
        units.setdefault(item.nodeid.rpartition("@")[2] if "@" in item.nodeid else item.nodeid, []).append(item)
    dear = [
        any(item.get_closest_marker(mark) for item in unit for mark in ("slow", "browser")) for unit in units.values()
    ]
    assert dear == sorted(dear, reverse=True)
    alone = [unit[0] for unit in units.values() if "@" not in unit[0].nodeid]
    assert all(item.get_closest_marker("slow") for item in alone)


def test_test_modules_import_what_they_share_from_support() -> None:
    names = {path.stem for path in MODULES}
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [node.module] if isinstance(node, ast.ImportFrom) else []
            imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            others = {name for name in imported if name and name.rpartition(".")[2] in names}
            assert not others, f"{path} imports from {others}: move what both need into tests/support"
