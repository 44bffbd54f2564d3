"""Turns doubts and reasons, stored as a code with values, into sentences in the language of the page.

A code that the language does not know, as of a newer version, is shown as it is, and is marked as English for browsers
and readers; so is text that is English whatever the page is, such as the message of an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup, escape

from unlearnkit.errors import OutputError
from unlearnkit.report.text import clean
from unlearnkit.report.words import ENGLISH, Words

QUOTED = "text"  # placeholder of what is English in every language


@dataclass(frozen=True)
class Doubt:
    """A doubt or a reason: its code, and the numbers, names and further doubts that its sentence needs."""

    code: str
    values: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def reason(self) -> Doubt | None:
        """The doubt that this one gives as its reason, if any."""
        found = self.values.get("reason")
        return found if isinstance(found, Doubt) else None


def read_doubt(raw: Any, file: str) -> Doubt:
    """Return the doubt that a file of the run folder holds as `{"code": ..., "values": {...}}`.

    Raises:
        OutputError: it is none.
    """
    sound = isinstance(raw, Mapping) and isinstance(raw.get("code"), str) and isinstance(raw.get("values"), Mapping)
    if not sound:
        raise OutputError(
            f"Expected a doubt or a reason with a code and its values in {file}, but got {str(raw)[:60]!r}; "
            "it is of an earlier version or damaged: run the command that wrote it again."
        )
    values = {str(name): _value(value, file) for name, value in raw["values"].items()}
    return Doubt(raw["code"], values)


def read_statement(notes: Mapping[str, Any], file: str) -> Doubt | None:
    """Return what a method states of its run in `notes["statement"]`, to be said as doubts are; None: nothing.

    Raises:
        OutputError: the code is no text.
    """
    raw = notes.get("statement") or {}
    if "code" not in raw:  # version 0.2.0 kept figures alone
        return None
    return read_doubt({"code": raw["code"], "values": {k: v for k, v in raw.items() if k != "code"}}, file)


def title_of(metric: str, words: Words) -> str:
    """Return the title of a reading; a reading without one in this language gets its name."""
    return words.METRICS[metric][0] if metric in words.METRICS else metric.replace("_", " ").capitalize()


def title_of_vote(key: str, words: Words) -> str:
    """Return the title of a reading that votes, named METRIC or METRIC/PART."""
    metric, _, part = key.partition("/")
    title = title_of(metric, words)
    return words.TITLE_PART.format(title, words.PARTS.get(part, part)) if part else title


def titled(doubt: Doubt, words: Words) -> Doubt:
    """Name readings in a reason of the verdict by their titles, as everywhere on the page.

    Several that are unresolved for the same reason are named together, before it.
    """

    def named(name: str, value: Any) -> Any:
        match value:
            case Doubt():
                return titled(value, words)
            case [Doubt(), *_]:
                return [titled(each, words) for each in _together(value)]
            case list():
                return [named(name, item) for item in value]
            case str() if name in ("reading", "readings"):
                return words.QUOTED.format(title_of_vote(value, words))
            case _:
                return value

    return Doubt(doubt.code, {name: named(name, value) for name, value in doubt.values.items()})


def _together(doubts: Sequence[Doubt]) -> list[Doubt]:
    """Make one doubt of those that differ only in the reading that they name."""
    found: dict[str, list[Doubt]] = {}
    for doubt in doubts:
        rest = {name: value for name, value in doubt.values.items() if name != "reading"}
        found.setdefault(repr((doubt.code, rest)), []).append(doubt)
    return [
        Doubt(same[0].code, {**same[0].values, "reading": [each.values["reading"] for each in same]})
        if len(same) > 1 and all("reading" in each.values for each in same)
        else same[0]
        for same in found.values()
    ]


def plain(doubt: Doubt, words: Words) -> str:
    """Return the sentence as plain text, for pictures, files and the terminal."""
    values = {name: _plain_value(value, words) for name, value in doubt.values.items()}
    sentence = _filled(words.SENTENCES.get(doubt.code), values)
    return _bare(doubt) if sentence is None else sentence


def marked(doubt: Doubt, words: Words) -> Markup:
    """Return the sentence as HTML, with text that is in English on a page of another language marked as such."""
    template = words.SENTENCES.get(doubt.code)
    values = {name: _marked_value(value, words) for name, value in doubt.values.items()}
    if words.LANG != ENGLISH.LANG and QUOTED in values:
        values[QUOTED] = _english(values[QUOTED])
    sentence = _filled(None if template is None else escape(template), values)
    if sentence is not None:
        return Markup(sentence)  # nosec B704  # of our own words; values are put in by `format`, which escapes
    bare = clean(_bare(doubt))
    return escape(bare) if words.LANG == ENGLISH.LANG else _english(bare)


def told(doubts: Sequence[Doubt], words: Words) -> str:
    """Join several doubts into one text."""
    return words.SEMICOLON.join(plain(doubt, words) for doubt in doubts)


def joined(sentences: list[Markup], words: Words) -> Markup:
    """Join several sentences into one text."""
    return escape(words.SEMICOLON).join(sentences)


def to_turn(method: object, stronger: object, words: Words) -> str:
    """Say which settings of a method to turn so that it forgets more.

    Args:
        method: its name, as config.json has it.
        stronger: name of a setting -> `raise` or `lower`, as config.json has it; of older folders None.
        words: of the language.
    """
    ways: dict[str, list[str]] = {way: [] for way in words.TURN}
    for name, way in stronger.items() if isinstance(stronger, Mapping) else ():
        if isinstance(way, str) and way in ways:
            ways[way].append(str(name))
    turns = [words.TURN[way].format(words.LISTED.join(names)) for way, names in ways.items() if names]
    return words.TURN_SETTINGS.format(method, words.LISTED.join(turns)) if method and turns else words.TURN_UP


def shares_of_retraining(ratio: float, series: Mapping[str, float], words: Words) -> str:
    """Say what share of a retraining a run was, in time, in samples passed, and in operations where they were counted.

    Args:
        ratio: retraining's seconds over the run's, above 0.
        series: the same in samples under `samples`, which readings of earlier versions lack; and under `operations`.
        words: of the language.
    """
    samples, operations = series.get("samples"), series.get("operations")
    if not samples:
        return words.OF_ITS_TIME.format(_share(ratio))
    if operations:
        return words.OF_ITS_TIME_SAMPLES_AND_OPERATIONS.format(_share(ratio), _share(samples), _share(operations))
    return words.OF_ITS_TIME_AND_SAMPLES.format(_share(ratio), _share(samples))


def in_flop(count: int) -> str:
    """Write floating-point operations: 950 FLOP, 12.3 MFLOP, 4.56 GFLOP, 789 TFLOP.

    >>> in_flop(950), in_flop(12_340_000), in_flop(999_700_000)
    ('950 FLOP', '12.3 MFLOP', '1 GFLOP')
    """
    size, prefixes = float(f"{count:.3g}"), ["", "k", "M", "G", "T", "P", "E"]
    while size >= 1000 and len(prefixes) > 1:
        size, prefixes = size / 1000, prefixes[1:]
    return f"{size:.3g} {prefixes[0]}FLOP"


def slowed(total: Mapping[str, Any], doubts: Sequence[Doubt]) -> Sequence[Doubt]:
    """Return why the seconds of a run do not compare with others': its operations, or a retraining's, were counted.

    Args:
        total: of `cost.json`.
        doubts: of the reading that holds the run beside a retraining; none where there is no such reading.
    """
    return doubts or ([Doubt("slowed_by_counting")] if total.get("operations") is not None else [])


def filled(template: str, *values: str) -> Markup:
    """Fill a string of the page with values; marked text is kept, other text is escaped."""
    return escape(template).format(*(value if isinstance(value, Markup) else clean(value) for value in values))


def _share(ratio: float) -> str:
    """Return one part in `ratio` as a percentage of two digits, as exact as times are: 242%, 53%, 8%, 0.36%."""
    percent = 100 / ratio
    return f"{percent:,.0f}%" if percent >= 10 else f"{percent:.2g}%"


def _value(raw: Any, file: str) -> Any:
    if isinstance(raw, list | tuple):
        return [_value(item, file) for item in raw]
    return read_doubt(raw, file) if isinstance(raw, Mapping) else raw


def _plain_value(value: Any, words: Words) -> Any:
    """Return a value as text: doubts as sentences, several names as a list; numbers unchanged."""
    match value:
        case Doubt():
            return plain(value, words)
        case [Doubt(), *_]:
            return words.SEMICOLON.join(str(_plain_value(item, words)) for item in value)
        case [*_]:
            return words.LISTED.join(map(str, value))
        case _:
            return value


def _marked_value(value: Any, words: Words) -> Any:
    """Return a value as HTML for the page, as `_plain_value` does as text."""
    match value:
        case Doubt():
            return marked(value, words)
        case [Doubt(), *_]:
            return joined([escape(_marked_value(item, words)) for item in value], words)
        case int() | float():
            return value
        case _:
            return clean(str(_plain_value(value, words)))


def _filled(template: str | None, values: Mapping[str, Any]) -> str | None:
    """Fill in the sentence; None where the language has none, or where it needs other values."""
    if template is None:
        return None
    try:
        return template.format(**values)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


def _bare(doubt: Doubt) -> str:
    """Return the code with its values, for a doubt without a sentence."""
    values = ", ".join(f"{name} {value}" for name, value in doubt.values.items())
    return doubt.code.replace("_", " ") + (f" ({values})" if values else "")


def _english(text: str) -> Markup:
    return Markup('<span lang="{}">{}</span>').format(ENGLISH.LANG, text)
