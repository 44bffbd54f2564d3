"""Sends the tests of one `xdist_group` to one process: `--dist loadgroup` alone does not do it any more with pytest 9.2.

pytest-xdist 3.8 tells its controller the group by writing it into the private `_nodeid` of a test, which pytest does not
read: every group is then spread over all processes without a word, and each makes the dear fixtures again. Here a
process writes the groups of the tests that it has collected into a file, and the controller reads them from there.
"""

from __future__ import annotations

import json
import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

PLACE = "UNLEARNKIT_TEST_GROUPS"  # environment variable that tells the processes where to write


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps tests of a group together, and hands out all others one by one."""

    @cached_property
    def groups(self) -> dict[str, str]:
        """The group of each test that has one; read when all processes have collected."""
        files = sorted(Path(os.environ[PLACE]).glob("*.json"))
        assert files, "the processes have written no groups"
        found: dict[str, str] = json.loads(files[0].read_text())
        return found

    def _split_scope(self, nodeid: str) -> str:
        return self.groups.get(nodeid, nodeid)


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of the groups, in the process that starts the others."""
    if not hasattr(config, "workerinput") and config.getoption("dist", "no") == "loadgroup":
        os.environ[PLACE] = tempfile.mkdtemp(prefix="test-groups-")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Write down the groups of what was collected."""
    if not hasattr(config, "workerinput") or PLACE not in os.environ:
        return
    marks = {item.nodeid: item.get_closest_marker("xdist_group") for item in items}
    groups = {nodeid: str(mark.args[0]) for nodeid, mark in marks.items() if mark is not None}
    worker: Any = config.workerinput["workerid"]  # type: ignore[attr-defined]
    temporary = Path(os.environ[PLACE]) / f"{worker}.tmp"
    temporary.write_text(json.dumps(groups))
    temporary.replace(temporary.with_suffix(".json"))


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling | None:
    """Return the scheduler where `--dist loadgroup` is asked for."""
    return GroupScheduling(config, log) if config.getvalue("dist") == "loadgroup" else None
