"""Loads the languages of the report: each is one file of strings, with the names and the types of `Words`.

A translation is one file beside `en.py` and a line in `LANGUAGES`, or a module of another package that its entry point
in the group `unlearnkit.languages` names. mypy finds a name that is missing in it, and tests/report/test_words.py what
mypy cannot see: the keys of dictionaries, the placeholders, and that every code of `unlearnkit.audit.doubts` has its
sentence.

`{}` is filled in by the page; a translation that wants another order numbers them: `{1}` before `{0}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Protocol, cast

from unlearnkit.errors import ConfigError
from unlearnkit.plugins import Plugins
from unlearnkit.report.words import en, zh

Months = tuple[str, str, str, str, str, str, str, str, str, str, str, str]
Names = dict[str, str]
Pairs = dict[str, tuple[str, str]]
Figures = dict[str, tuple[str, str, str]]  # heading, how to read it, what a bad result looks like


class Words(Protocol):
    """The strings that a language must have; comments in the English file say what each is for."""

    LANG: str
    UNKNOWN: str
    NOT_RECORDED: str
    NONE: str
    YES: str
    NO: str
    COMMA: str
    SEMICOLON: str
    COLON: str
    LISTED: str
    BRACKETS: tuple[str, str]
    LAST: str
    QUOTED: str
    MILLISECONDS: str
    SECONDS: str
    MINUTES: str
    HOURS: str
    STEPS: tuple[str, str]
    STEP_SPAN: str
    POINTS: str
    UNITS: Names
    MONTHS: Months
    DATE: str
    NO_DATE: str
    REPORT: str
    SKIP: str
    HEADLINE: str
    HEADLINE_ONE: str
    HEADLINE_SOME: str
    HEADLINE_MANY: str
    HEADLINE_PICTURES: str
    PICTURES: tuple[str, str]
    CLASSES: tuple[str, str]
    PICTURES_OF_ONE: str
    PICTURES_OF: str
    NONE_SHOWN: str
    FORGET: str
    CLASS_ID: str
    OF_CLASSES: str
    EARLIER: str
    METHOD: str
    STATEMENT: str
    PRESET: str
    CHANGED_SETTINGS: str
    SETTINGS: str
    NO_METHOD: str
    MODEL: str
    NO_ARCHITECTURE: str
    NO_NAME: str
    COMPARED: str
    DATA: str
    SUMMARY: str
    VERDICT: str
    STATUSES: Names
    WHY: str
    EVIDENCE: str
    CARDS: Names
    THEN: str
    NO_AUDIT: str
    CHANGE: str
    INTERVAL_AFTER: str
    RETRAINED: str
    RETRAINED_MEAN: str
    NO_MODEL: str
    MEAN_SPAN: str
    AGAINST_RETRAINING: str
    OF_ITS_TIME: str
    OF_ITS_TIME_AND_SAMPLES: str
    OF_ITS_TIME_SAMPLES_AND_OPERATIONS: str
    COST_MORE: str
    COST_UNKNOWN: str
    RETRAINING_TOOK: str
    PASSED_BACKWARD: str
    OPERATIONS: str
    READS: str
    RUN_AUDIT: str
    RUN_RETRAINED: str
    COMMANDS: str
    CONTENTS: str
    CHANGED: str
    NOTHING_MEASURED: str
    MEAN_BESIDE: str
    HOW_TO_READ: str
    BAD_RESULT: str
    AS_TABLE: str
    TABLE_OF: str
    READINGS: str
    READINGS_LEAD: str
    READING_COLUMNS: tuple[str, str, str, str, str, str]
    ORIGIN: str
    COMMAND: str
    WHO_READ: str
    READ_PER_PART: str
    PART: str
    READ_COLUMNS: tuple[str, str, str, str]
    PER_CLASS: str
    READ_PER_CLASS: str
    CLASS_COLUMN: str
    COSTS: str
    COST_PER_STAGE: str
    COST_COLUMNS: tuple[str, str, str, str, str]
    AUDIT_COST: str
    AUDIT_PART: str
    WORK: Names
    HASHES: str
    FOOTER: str
    SECTIONS: Names
    FACTS: Names
    FILES: Names
    NAMES: Names
    HEADS: Names
    NUMBERED: str
    AXIS: str
    SCALE_OF: str
    COLUMNS_OF: str
    RANGE: str
    AT_END: str
    AT: str
    CURVE_AT: str
    STEPS_FROM_TO: str
    TITLE_PART: str
    LOST_MOST: str
    LOST_NONE: str
    OTHER_CLASSES: tuple[str, str]
    DIFFERENCE: str
    DOUBTED: str
    STILL: str
    MORE: str
    COUNT_OF: str
    NOTES: str
    NOT_AVAILABLE: str
    UNMEASURED: str
    FOUND: tuple[str, str]
    METRICS: Pairs
    PARTS: Names
    MODELS: Names
    TARGETS: Names
    VERDICTS: Pairs
    TIERS: Names
    READ_BY_METHOD_NONE: str
    READ_BY_METHOD_SOME: str
    READ_BY_METHOD_UNKNOWN: str
    READ_BY_AUDIT: str
    READ_BY_AUDIT_NONE: str
    DECODED_NONE: str
    DECODED: str
    NO_RETRAINED: str
    SEARCH_FAILED: str
    LOST_ACCURACY: str  # by how much
    MAY_REMAIN: str  # why
    REQUEST_PRIVACY: str  # what it says of this request
    NO_SAMPLES_OF: str  # names
    NOT_FORGOTTEN: str  # why, what to turn
    TURN_UP: str  # where no setting of the method is known
    TURN: Names
    TURN_SETTINGS: str  # method, settings with the way to turn each
    PRIMARY: Names
    STATUS: Names
    BAND_COLUMNS: tuple[str, str, str]
    GAP: str
    FARTHEST: str
    NO_BANDS: str
    NO_CURVE: str
    NOT_MEASURED: str
    NOT_JUDGED: str
    ALL_PRIMARY: str
    UNRESOLVED: str
    RESOLVED: str
    FIGURES: Figures
    STAGES: Names
    FORGOTTEN: str
    FORGOTTEN_EARLIER: str
    STEP: str
    SHOTS: str
    FALSE_POSITIVES: str
    AGAINST: str
    AREA: str
    HISTOGRAMS: Names
    MEAN_OF: str
    AND_MORE: str
    BIN: str
    LEFT_OUT: Names
    GROUPS: Names
    PLANE_OF: str
    EXPLAINED: str
    STAND_INS: str
    IMAGE: str
    SAMPLE_OF: Names
    SPEAKS_FOR: str
    TWO_ROWS: str
    RIVAL: str
    ATTENTION_LAYER: str
    NOISE_OF: str
    NOISE_SCALE: str
    MORE_CLASSES: str
    FILTER: str
    SHOWN: str
    DOWNLOAD: str
    TOTAL: str
    TRAINING: str
    ATTEMPTS: str
    MEANS: str
    NOTED: Names  # what a method notes, by its code
    SENTENCES: Names  # doubts and reasons of the audit, by their codes; the placeholders are named as the values are
    FOR_PICTURES: Mapping[str, object]  # by the names above, whole or in part


def of_pictures(words: Words) -> Words:
    """Return a language's strings as they are for a request for single pictures or parts of classes."""
    found: dict[str, object] = {name: getattr(words, name) for name in Words.__annotations__}
    for name, given in words.FOR_PICTURES.items():
        base = found[name]
        found[name] = {**base, **given} if isinstance(base, dict) and isinstance(given, dict) else given
    return cast(Words, SimpleNamespace(**found))


ENGLISH: Words = en
CHINESE: Words = zh
LANGUAGES = {"en": ENGLISH, "zh": CHINESE}


def _checked(found: object, place: str) -> Words:
    """Return what a package adds as a language, if it has every string."""
    missing = [name for name in Words.__annotations__ if not hasattr(found, name)]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ConfigError(
            f"Expected every string of the report at {place}, but {', '.join(missing[:5])}{more} are missing; "
            "add what unlearnkit.report.words.en has."
        )
    return cast(Words, found)


PLUGINS: Plugins[Words] = Plugins(
    group="unlearnkit.languages", what="language", builtin=LANGUAGES, error=ConfigError, check=_checked
)


def speaking(language: str) -> Words:
    """Return the strings of a language.

    Args:
        language: one of `LANGUAGES`, or one that an installed package adds.

    Raises:
        ConfigError: there is no such language, or the package's cannot be used.
    """
    if language in LANGUAGES:
        return LANGUAGES[language]
    foreign = PLUGINS.names()
    if language not in foreign:
        raise ConfigError(
            f"Expected one of the report's languages ({', '.join([*LANGUAGES, *foreign])}), but got {language!r}; "
            "choose one with --language."
        )
    return PLUGINS.load(language)
