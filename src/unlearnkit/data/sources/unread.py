"""Counts the files of a folder of images that are not read, and says so in one sentence."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field

MOST_ENDINGS = 6


@dataclass
class Unread:
    """Files that are not read, by their ending."""

    endings: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    hidden_folders: int = 0

    def add(self, name: str) -> None:
        """Count a file."""
        if is_hidden(name):
            self.hidden += 1
        else:
            self.endings[ending_of(name)] += 1

    def add_folders(self, count: int) -> None:
        """Count hidden folders, whatever is in them."""
        self.hidden_folders += count

    def join(self, other: Unread) -> None:
        """Add what another one has counted."""
        self.endings += other.endings
        self.hidden += other.hidden
        self.hidden_folders += other.hidden_folders

    def described(self) -> str:
        """`12 files were not read: 10 .txt, 2 .mp4`; empty where all were."""
        kinds = sorted(self.endings.items(), key=lambda kind: (-kind[1], kind[0]))
        shown = [f"{count:,} {ending or 'without an ending'}" for ending, count in kinds[:MOST_ENDINGS]]
        if len(kinds) > MOST_ENDINGS:
            rest = sum(count for _, count in kinds[MOST_ENDINGS:])
            shown.append(f"{rest:,} with {len(kinds) - MOST_ENDINGS} other endings")
        if self.hidden:
            shown.append(f"{self.hidden:,} hidden")
        total = sum(self.endings.values()) + self.hidden
        said = f"{_were(total, 'file')} not read: {', '.join(shown)}" if total else ""
        folders = f"{_were(self.hidden_folders, 'hidden folder')} skipped" if self.hidden_folders else ""
        return "; ".join(part for part in (said, folders) if part)


def is_hidden(name: str) -> bool:
    """Whether a file or a folder is hidden, or one of those that macOS packs beside the files of an archive."""
    return name.startswith(".") or name == "__MACOSX"


def ending_of(name: str) -> str:
    """The ending of a file's name, in lower case, with the dot; empty where it has none."""
    return os.path.splitext(name)[1].lower()


def _were(count: int, what: str) -> str:
    return f"1 {what} was" if count == 1 else f"{count:,} {what}s were"
