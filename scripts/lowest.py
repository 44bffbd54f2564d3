"""Print the lowest version that pyproject.toml allows of each direct dependency, as a constraints file for pip.

`make test-lowest` installs with these constraints and runs the fast tests, so that a minimum which no longer works is
found by a test and not by a user:

    python scripts/lowest.py > constraints.txt
    python -m pip install --constraint constraints.txt --editable . --group test

The dependencies and every extra are constrained. The tools of the tests are not, because users never install them.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def lowest(requirements: Iterable[str]) -> list[str]:
    """Turn each `name>=X` into `name==X`, sorted by name; a name may come twice with the same minimum.

    Raises:
        ValueError: a requirement has no `>=`, or a name comes with two minima.
    """
    minima: dict[str, str] = {}
    for text in requirements:
        requirement = Requirement(text)
        found = [each.version for each in requirement.specifier if each.operator == ">="]
        if len(found) != 1:
            raise ValueError(f"Expected one minimum in {text!r}, but got {len(found)}; write {requirement.name}>=X.")
        if minima.setdefault(requirement.name, found[0]) != found[0]:
            raise ValueError(
                f"Expected one minimum of {requirement.name}, but got {minima[requirement.name]} and {found[0]}; "
                "write the same one everywhere."
            )
    return [f"{name}=={version}" for name, version in sorted(minima.items())]


def direct_requirements(pyproject: dict[str, Any]) -> list[str]:
    """The dependencies of the package and those of all of its extras."""
    project = pyproject["project"]
    return [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]


def main() -> int:
    """Print the constraints; 2 where pyproject.toml has a requirement without one minimum."""
    try:
        lines = lowest(direct_requirements(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
