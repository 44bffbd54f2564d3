"""Sentences that the audit wrote in English (doubts, reasons), said in the language of the page.

A sentence that the language has no translation of stays English, and is marked as such for browsers and readers.
"""

from __future__ import annotations

import re
from functools import cache

from markupsafe import Markup, escape

from unlearnkit.report.text import clean
from unlearnkit.report.words import ENGLISH, Words

NUMBER, WORD, ANY = r"-?[\d.,]+%?", r"\S+", ".+"
KINDS = {"n": NUMBER, "m": NUMBER, "key": WORD, "other": WORD, "keys": "[^;]+", "text": ANY, "reason": ANY}


def translated(sentence: str, words: Words) -> str | None:
    """Return the sentence in the page's language, None where it has no translation; several come joined by "; "."""
    if words is ENGLISH:
        return sentence
    for pattern, translation in words.SENTENCES.items():
        found = _compiled(pattern).fullmatch(sentence)
        if found is None:
            continue
        values = found.groupdict()
        if "reason" in values:
            reason = translated(values["reason"], words)
            if reason is None:
                continue
            values["reason"] = reason
        return translation.format(**values)
    parts = _parts(sentence)
    if len(parts) < 2:
        return None
    said = [translated(part, words) for part in parts]
    known = [part for part in said if part is not None]
    return words.SEMICOLON.join(known) if len(known) == len(said) else None


def plain(sentence: str, words: Words) -> str:
    """Return the sentence translated, or as it is: for pictures, where nothing can be marked."""
    return translated(sentence, words) or sentence


def marked(sentence: str, words: Words) -> Markup:
    """Return the sentence translated, or as it is with its language: for the page."""
    said = translated(sentence, words)
    if said is None:
        return Markup('<span lang="{}">{}</span>').format(ENGLISH.LANG, clean(sentence))
    return escape(clean(said))


def joined(sentences: list[Markup], words: Words) -> Markup:
    """Several sentences as one."""
    return escape(words.SEMICOLON).join(sentences)


def filled(template: str, *values: str) -> Markup:
    """Fill a string of the page with text that may be marked; what is not is escaped."""
    return escape(template).format(*(value if isinstance(value, Markup) else clean(value) for value in values))


def _parts(sentence: str) -> list[str]:
    """What stands between the semicolons outside brackets."""
    parts, depth = [""], 0
    for piece in re.split(r"(; |[()])", sentence):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if piece == "; " and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression: the pattern's own text, and a named group of its kind for each placeholder."""
    pieces = re.split(r"\{(\w+)\}", pattern)
    return re.compile(
        "".join(f"(?P<{piece}>{KINDS[piece]})" if i % 2 else re.escape(piece) for i, piece in enumerate(pieces)),
        re.DOTALL,
    )
