"""Says what every JSON artefact of a run folder looks like; whoever reads one gets it checked.

A person may have edited the file, or a stranger made it. Everything that our own code reads of an artefact is here with
its type; what else stands there is kept. Versions before may lack what has a default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from unlearnkit.errors import OutputError


class Artefact(BaseModel):
    """Base of all: types are taken as they stand, and keys that are not named here are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


SCHEMAS: dict[str, type[Artefact]] = {}


def check_artefact(folder: Path, name: str, content: object, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of an artefact if it is one of this name.

    Args:
        folder: the run folder, for messages.
        name: of the file.
        content: what its JSON says.
        keys: which must be there.

    Raises:
        OutputError: a key is missing, or a value is of the wrong kind or out of its range.
    """
    path = folder / name
    if not isinstance(content, dict):
        raise OutputError(f"Expected a JSON object in {path}, but got a {type(content).__name__}; make it again.")
    missing = [key for key in keys if key not in content]
    if missing:
        raise OutputError(
            f"Expected {missing[0]!r} in {path}, but it is not there; run the step that made the file again."
        )
    if name in SCHEMAS:
        try:
            SCHEMAS[name].model_validate(content)
        except ValidationError as error:
            raise OutputError(f"{_sentence(path, error)}; run the step that made the file again.") from error
    return content


def _sentence(path: Path, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    got = "nothing" if first["type"] == "missing" else repr(first["input"])[:60]
    wanted = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("a valid ")
    if first["type"] == "missing":
        wanted = "there"
    return f"Expected {place!r} in {path} to be {wanted}, but got {got}"
