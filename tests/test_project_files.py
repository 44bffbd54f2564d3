"""Files around the code: versions that agree, workflows and hooks that parse, the lowest versions, ends of lines."""

from __future__ import annotations

import doctest
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import check_text
import lowest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
YAML = [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / ".pre-commit-config.yaml"]


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_every_file_names_the_same_version() -> None:
    version = PYPROJECT["project"]["version"]
    citation = parsed(ROOT / "CITATION.cff")
    releases = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert citation["version"] == version
    assert releases[0] == "Unreleased"
    assert releases[1] == f"{version} - {citation['date-released']}"
    major_minor = ".".join(version.split(".")[:2])
    assert f"\n| {major_minor} | yes |\n" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_workflows_templates_and_hooks_parse(path: Path) -> None:
    assert isinstance(parsed(path), dict)


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_actions_are_pinned_by_their_major_version_and_rights_are_few(path: Path) -> None:
    workflow = parsed(path)
    assert workflow["permissions"] == {"contents": "read"}
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", each)] == []


def test_every_python_of_the_classifiers_is_tested() -> None:
    pythons = parsed(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: 3."
    named = [each for each in PYPROJECT["project"]["classifiers"] if each.startswith(prefix)]
    assert pythons == [each.rpartition(" ")[2] for each in named]
    assert PYPROJECT["project"]["requires-python"] == f">={pythons[0]}"


def test_issue_forms_ask_for_something() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"):
        form = parsed(path)
        assert {"name", "description", "body"} <= form.keys()
        asked = [each["id"] for each in form["body"] if each["type"] != "markdown"]
        assert len(asked) == len(set(asked)) >= 3
        assert any(each.get("validations", {}).get("required") for each in form["body"])


def test_hooks_run_what_the_project_has() -> None:
    for hook in parsed(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        program, *arguments = hook["entry"].split()
        tool = program.removeprefix(".venv/bin/")
        groups = PYPROJECT["dependency-groups"]
        dev = [each for each in (*groups["dev"], *groups["lint"]) if isinstance(each, str)]
        assert tool == "python" or tool in {Requirement(each).name for each in dev}
        assert all((ROOT / each).is_file() for each in arguments if each.endswith(".py"))


def test_lowest_versions_are_those_that_are_allowed() -> None:
    found = lowest.lowest(lowest.direct_requirements(PYPROJECT))
    assert found == sorted(found)
    for line in found:
        name, _, version = line.partition("==")
        assert any(
            requirement.name == name and requirement.specifier.contains(version)
            for requirement in map(Requirement, lowest.direct_requirements(PYPROJECT))
        ), line
    names = {line.partition("==")[0] for line in found}
    assert {"torch", "numpy", "optuna", "datasets"} <= names


def test_requirements_without_one_minimum_are_refused() -> None:
    assert lowest.lowest(["a>=2.1,<3", "b[extra]>=1", "a>=2.1"]) == ["a==2.1", "b==1"]
    with pytest.raises(ValueError, match="one minimum in 'a<3', but got 0; write a>=X"):
        lowest.lowest(["a<3"])
    with pytest.raises(ValueError, match="one minimum of a, but got 1 and 2"):
        lowest.lowest(["a>=1", "a>=2"])


def test_ends_of_lines_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctest.testmod(check_text).failed == 0
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_bytes(b"one\n\ntwo\n")
    bad.write_bytes(b"one\r\n<<<<<<< two\n\n")
    assert check_text.main([str(good)]) == 0
    assert capsys.readouterr().out == ""
    assert check_text.main([str(good), str(bad)]) == 1
    assert [line.removeprefix(f"{bad}:") for line in capsys.readouterr().out.splitlines()] == [
        "1: a Windows line end",
        "2: a mark of a merge",
        "3: an empty line at the end of the file",
    ]
