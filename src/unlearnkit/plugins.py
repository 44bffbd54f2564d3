"""Loads what other installed packages add by name: methods, data sources, models, metrics and languages.

A package declares an entry point in its own pyproject.toml, and the name then works wherever a built-in one does:

    [project.entry-points."unlearnkit.methods"]
    my-method = "my_package.my_module:MyMethod"

The groups are `unlearnkit.methods`, `unlearnkit.data`, `unlearnkit.models`, `unlearnkit.metrics` and
`unlearnkit.languages`. Reading the names imports nothing; an entry point is imported when it is asked for. A built-in
name always means what is built in, so that a command does the same whatever else is installed.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Generic, TypeVar

from unlearnkit.errors import InputError, reason

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Plugins(Generic[T]):
    """What installed packages add to one registry.

    Args:
        group: of the entry points, for example `unlearnkit.methods`.
        what: one of them, in messages: "method".
        builtin: the names that are taken.
        error: what is raised.
        check: (what was imported, where it is from) -> the same as a T; raises `error` where it is none.
    """

    group: str
    what: str
    builtin: Collection[str]
    error: type[InputError]
    check: Callable[[object, str], T]

    def names(self) -> list[str]:
        """Return the names that packages add, without importing anything."""
        return sorted({entry.name for entry in self._entries()} - set(self.builtin))

    def load(self, name: str) -> T:
        """Import what a package adds by this name.

        Raises:
            InputError: (the registry's own) no package adds it, it is built in too, two packages add it, it cannot be
                imported, or it is not what the registry holds.
        """
        entries = [entry for entry in self._entries() if entry.name == name]
        origins = " and ".join(sorted(map(_origin, entries)))
        if not entries:
            raise self.error(
                f"Expected a package that adds the {self.what} {name!r}, but none is installed; install one."
            )
        if name in self.builtin:
            raise self.error(
                f"Expected another name than {name!r} for the {self.what} of {origins}, but it is built in, and "
                "the built-in one is used; rename it in that package."
            )
        if len(entries) > 1:
            raise self.error(
                f"Expected one package that adds the {self.what} {name!r}, but {origins} both do; uninstall one."
            )
        try:
            found = entries[0].load()
        except (Exception, SystemExit) as error:
            raise self.error(
                f"Expected to import the {self.what} {name!r} of {origins}, but {entries[0].value} fails "
                f"({type(error).__name__}: {reason(error)}); repair or uninstall that package."
            ) from error
        return self.check(found, f"{entries[0].value} of {origins}")

    def load_all(self) -> tuple[dict[str, T], list[str]]:
        """Import everything; return what can be used by its name, and a sentence for each name that cannot."""
        usable: dict[str, T] = {}
        broken: list[str] = []
        for name in sorted({entry.name for entry in self._entries()}):
            try:
                usable[name] = self.load(name)
            except InputError as error:
                broken.append(str(error))
        return usable, broken

    def _entries(self) -> list[EntryPoint]:
        return list(_declared(self.group, tuple((folder, _changed(folder)) for folder in sys.path)))


def import_path(path: str, *, what: str, form: str, error: type[InputError]) -> object:
    """Import `package.module:name`, which runs that package's code: only for a path that the user gave.

    Args:
        path: module and name, with a colon between them.
        what: is expected there, in messages: "a factory".
        form: of a path, in messages: "package.module:factory".
        error: what is raised.

    Raises:
        InputError: (`error`) the module cannot be imported, or has no such name.
    """
    module, _, name = path.partition(":")
    try:
        found: object = getattr(importlib.import_module(module), name)
    except Exception as failure:
        raise error(
            f"Expected {what} at {path}, but it cannot be imported ({type(failure).__name__}: {reason(failure)}); "
            f"write {form}, and check that the package is on the Python path."
        ) from failure
    return found


@lru_cache(maxsize=8)
def _declared(group: str, _path: tuple[tuple[str, int], ...]) -> EntryPoints:
    """Return a group's entry points of all packages, read again when the path or one of its folders has changed.

    A suite asks for each of its methods, and to look through all packages takes 10 ms.
    """
    return entry_points(group=group)


def _changed(folder: str) -> int:
    """Return when something was put into a folder of the path or taken out of it; 0 where it is none."""
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


def _origin(entry: EntryPoint) -> str:
    """Return the distribution that an entry point is from, with its version."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unnamed package"
