r"""Prints on the terminal; nothing else does, so that no name from a file reaches it raw.

A name can hold escape sequences that move the cursor, change colours or the window's title, or write over an earlier
line, and characters that turn the direction of a line. All of these are printed as Python writes them: `\x1b`.
"""

from __future__ import annotations

import json
import re
import sys

# controls, line and paragraph separators, marks of direction, half surrogate pairs
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped(text: str) -> str:
    """Return a line of text in which every character that a terminal acts on is written out, line breaks too."""
    return _ACTING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def print_line(text: object) -> None:
    """Print one line on standard output."""
    print(escaped(str(text)), flush=True)


def print_lines(text: str) -> None:
    """Print lines on standard output; what stands between the line breaks is escaped."""
    for line in text.removesuffix("\n").split("\n"):
        print_line(line)


def print_error(text: object) -> None:
    """Print one line on standard error."""
    print(escaped(str(text)), file=sys.stderr, flush=True)


def print_json(content: object) -> None:
    """Print JSON on standard output; it means the same as without the escapes."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    lines = (_ACTING.sub(lambda found: f"\\u{ord(found[0]):04x}", line) for line in text.split("\n"))
    print("\n".join(lines), flush=True)
