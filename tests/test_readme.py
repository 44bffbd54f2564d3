"""The Chinese README says what the English one says: the same commands, figures, links and chapters."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
CHINESE = (ROOT / "README.zh.md").read_text(encoding="utf-8")


def blocks(text: str) -> list[str]:
    """The code blocks, without comments."""
    return [
        re.sub(r"  +# .*", "", block) for block in re.findall(r"^```.*?^```$", text, flags=re.DOTALL | re.MULTILINE)
    ]


def prose(text: str) -> str:
    """Everything else."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def test_both_link_to_each_other_in_their_first_lines() -> None:
    assert "(README.zh.md)" in ENGLISH[:100]
    assert "(README.md)" in CHINESE[:100]


def test_the_commands_are_the_same() -> None:
    assert len(blocks(ENGLISH)) >= 6
    assert blocks(CHINESE) == blocks(ENGLISH)


def test_code_figures_and_links_are_the_same() -> None:
    for pattern in (
        r"`[^`]+`",  # code
        r"(?<![\w.-])\d[\d,.]*\d|(?<![\w.-])\d(?![\w.])",  # figures, that are no part of a name
        r"\]\((?!README)[^)]+\)",  # links
    ):
        found = [
            Counter(re.sub(r"\s+", " ", each) for each in re.findall(pattern, prose(t))) for t in (CHINESE, ENGLISH)
        ]
        assert found[0] == found[1], {
            k: (found[0][k], found[1][k]) for k in found[0] | found[1] if found[0][k] != found[1][k]
        }
        assert len(found[0]) >= 10


def test_the_chapters_and_tables_are_the_same() -> None:
    assert len(re.findall(r"^## ", CHINESE, re.MULTILINE)) == len(re.findall(r"^## ", ENGLISH, re.MULTILINE))
    assert CHINESE.count("\n|") == ENGLISH.count("\n|")
