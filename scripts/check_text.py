"""Refuse text files with blanks at the end of a line, Windows line ends, marks of a merge, or no newline at their end.

python scripts/check_text.py FILE...
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

MERGE_MARKS = (b"<<<<<<< ", b">>>>>>> ", b"||||||| ")


def faults(content: bytes) -> Iterator[tuple[int, str]]:
    r"""Yield line number and fault.

    >>> list(faults(b"one\ntwo \nthree"))
    [(2, 'blanks at the end of the line'), (3, 'no newline at the end of the file')]
    """
    lines = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if line.endswith(b"\r"):
            yield number, "a Windows line end"
        elif line != line.rstrip(b" \t"):
            yield number, "blanks at the end of the line"
        if line.startswith(MERGE_MARKS):
            yield number, "a mark of a merge"
    if lines[-1]:
        yield len(lines), "no newline at the end of the file"
    elif len(lines) > 2 and not lines[-2]:
        yield len(lines) - 1, "an empty line at the end of the file"


def main(paths: list[str]) -> int:
    """Print what is wrong; 1 where anything is."""
    found = [f"{path}:{line}: {what}" for path in paths for line, what in faults(Path(path).read_bytes())]
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
