"""Says in which lines one suite differs from another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a line for every difference between two suites, as a comparison's folder keeps them.

    Args:
        before, after: `name` and `suite`.

    Example:
        >>> changes({"name": "a", "suite": {"retrained": 3}}, {"name": "a", "suite": {"retrained": 5}})
        ['changed since the last run here: retrained: 3, now 5']
    """
    lines = [] if before.get("name") == after.get("name") else [f"name: {before.get('name')}, now {after.get('name')}"]
    old, new = _named(before["suite"]), _named(after["suite"])
    for key in dict.fromkeys([*old, *new]):
        if key not in new:
            lines.append(f"{key}: not there any more")
        elif key not in old:
            lines.append(f"{key}: new")
        elif old[key] != new[key]:
            lines.append(f"{key}: {_text(old[key])}, now {_text(new[key])}")
    return [f"changed since the last run here: {line}" for line in lines]


def _named(suite: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a suite under the names that a reader knows them by."""
    found: dict[str, Any] = {}
    for key, value in suite.items():
        if key == "methods":
            found |= {f"method {method.get('label') or method.get('name')}": method for method in value}
        elif key == "settings":
            for setting in value:
                place = f"{setting.get('model')} on {setting.get('data')}"
                requests = setting.get("requests", [])
                found[place] = {name: each for name, each in setting.items() if name != "requests"}
                found |= {f"{place}, request {_text(request)}": request for request in requests}
        else:
            found[key] = value
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
