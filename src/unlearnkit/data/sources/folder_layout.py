"""Finds the training and the test folder of `imagefolder:DIR`, and what lies beside them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from unlearnkit.class_names import listed
from unlearnkit.data.sources.unread import is_hidden
from unlearnkit.errors import DataError

TEST_FOLDERS = ("test", "val", "valid", "validation")
_PARTS = ("train", "test", "val")  # a folder whose name begins so is a part of the data and no class


class Entries(NamedTuple):
    """What lies in a folder: names, sorted, and how many folders are hidden, which are left out."""

    folders: list[str]
    files: list[str]
    hidden_folders: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the class folders lie.

    Args:
        train: the folder of the training classes.
        test: that of the test classes; None: there is none.
        others: folders beside the two that are not read.
        loose: files beside the two that are not read.
        hidden: how many hidden folders lie beside the two.
    """

    train: Path
    test: Path | None = None
    others: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    hidden: int = 0


def entries(folder: Path) -> Entries:
    """Return the names in a folder.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            kinds = sorted((entry.name, entry.is_dir()) for entry in found)
    except OSError as error:
        raise DataError(
            f"Expected a folder that can be read at {folder}, but it cannot ({error.strerror}); mend its permissions."
        ) from error
    return Entries(
        folders=[name for name, is_folder in kinds if is_folder and not is_hidden(name)],
        files=[name for name, is_folder in kinds if not is_folder],
        hidden_folders=sum(is_folder and is_hidden(name) for name, is_folder in kinds),
    )


def sides_of(folder: Path) -> Layout:
    """Return where the training and the test classes lie.

    `Train` and `TEST` are as good as `train` and `test` where they hold folders; without any, they may be classes.

    Raises:
        DataError: the folders of one side are missing, or several could be it.
    """
    inside = entries(folder)
    spellings: dict[str, list[str]] = {}
    for name in inside.folders:
        if name == name.lower() or entries(folder / name).folders:
            spellings.setdefault(name.lower(), []).append(name)
    sides = {name: spellings[name] for name in ("train", *TEST_FOLDERS) if name in spellings}
    for found in sides.values():
        if len(found) > 1:
            raise DataError(f"Expected one folder of that name in {folder}, but got {listed(found)}; rename one.")
    tests = [name for name in TEST_FOLDERS if name in sides]
    if "train" not in sides:
        if tests:
            raise DataError(
                f"Expected a folder `train` beside `{tests[0]}` in {folder}, but there is none; "
                "add it, or name the folder that holds one folder for each class."
            )
        lower = [name.lower() for name in inside.folders]
        if any(name.startswith("train") for name in lower) and all(name.startswith(_PARTS) for name in lower):
            raise DataError(
                f"Expected one folder for each class, or `train` and `test`, in {folder}, but got "
                f"{listed(inside.folders)}, which look like parts of the data; rename them to `train` and `test`."
            )
        return Layout(train=folder)
    if "test" not in tests and len(tests) > 1:
        raise DataError(
            f"Expected one folder of test images in {folder}, but got {' and '.join(tests)}; rename one to `test`."
        )
    used = [sides["train"][0], *(sides[name][0] for name in tests[:1])]
    return Layout(
        train=folder / used[0],
        test=folder / used[1] if tests else None,
        others=tuple(name for name in inside.folders if name not in used),
        loose=tuple(inside.files),
        hidden=inside.hidden_folders,
    )
