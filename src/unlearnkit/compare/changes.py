"""Says in which lines one suite differs from another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from unlearnkit.compare.groups import in_a_line

PLACE = "setting "  # what names of settings begin with


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return a line for every difference between two suites, as a comparison's folder keeps them.

    Of a suite of another name, which has no setting of the one before, one line says so.

    Args:
        before, after: `name` and `suite`.

    Example:
        >>> changes({"name": "a", "suite": {"retrained": 3}}, {"name": "a", "suite": {"retrained": 5}})
        ['changed since the last run here: retrained: 3, now 5']
    """
    old, new = _named(before["suite"]), _named(after["suite"])
    lines = [] if before.get("name") == after.get("name") else [f"name: {before.get('name')}, now {after.get('name')}"]
    if lines and not any(key in new for key in old if key.startswith(PLACE)):
        return [f"another suite than the last one here, which was {before.get('name')}"]
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
                place = f"{PLACE}{setting.get('model')} on {setting.get('data')}"
                requests = setting.get("requests", [])
                found[place] = {name: each for name, each in setting.items() if name != "requests"}
                found |= {f"{place}, request {_request(request)}": request for request in requests}
        else:
            found[key] = value
    return found


def _request(request: Mapping[str, Any]) -> str:
    """Return what a request says, long lists of classes in short."""
    said = {key: in_a_line(value) if key == "forget" else value for key, value in request.items() if value}
    return _text(said)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
