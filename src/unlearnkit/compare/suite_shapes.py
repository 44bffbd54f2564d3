"""Checks the shape and the range of what a suite's file says, and names each place in the file's words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from unlearnkit.compare.suite_checks import nearest
from unlearnkit.config import Config
from unlearnkit.errors import ConfigError

NAME = (str, int)  # what a class is called by
WHOLE = ("a whole number", "write it without quotes or fractions")
ANOTHER = "choose another"
WISHES = {  # what an error of pydantic's wants, by its type, and what to do
    "greater_than_equal": ("at least {ge}", ANOTHER),
    "greater_than": ("more than {gt}", ANOTHER),
    "less_than_equal": ("at most {le}", ANOTHER),
    "less_than": ("less than {lt}", ANOTHER),
    "string_type": ("text", "write it in quotes"),
    "string_too_short": ("text of {min_length} character or more", "write some"),
    "string_too_long": ("text of {max_length} characters at most", "shorten it"),
    "literal_error": ("{expected}", "write one of them"),
    "finite_number": ("finite", ANOTHER),
    **dict.fromkeys(("float_type", "float_parsing"), ("a number", "write it without quotes")),
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), WHOLE),
    **dict.fromkeys(("bool_type", "bool_parsing"), ("true or false", "write it without quotes")),
}
LONGEST = 60  # characters of a text that a message shows


def check_shape(content: object, kind: type[Config], place: str, header: str = "") -> None:
    """Refuse keys that no field has, keys that lack, and values of another shape, here and in the tables inside.

    Args:
        content: a table of the file.
        kind: what is built of it.
        place: what it is called in messages, such as `settings 1`.
        header: what the headers of tables inside begin with, such as `settings.`.

    Raises:
        ConfigError: the first thing that does not fit.
    """
    if not isinstance(content, Mapping):
        return  # a part that is built already
    fields = kind.model_fields
    for key in content:
        if key not in fields:
            raise ConfigError(f"Expected a key of {place}, but got {key!r}, which is unknown; {nearest(key, fields)}")
    for key, field in fields.items():
        if key in content:
            _check_value(content[key], field, key, place, header)
        elif field.is_required():
            written = f"[[{header}{key}]]" if _table_of(field.annotation) else f'{key} = "..."'
            raise ConfigError(f"Expected {key!r} in {place}, but {place} lacks it; write {written}.")


def _check_value(value: object, field: FieldInfo, key: str, place: str, header: str) -> None:
    where, inner = f"{key} of {place}", _table_of(field.annotation)
    if inner is None:
        _check_plain(value, field.annotation, where, f"{key} = ")
        _check_range(value, field, where)
    else:
        written = f"[[{header}{key}]]"
        for number, each in enumerate(_tables(value, where, written), start=1):
            here = f"{key} {number}" if place == "the suite" else f"{key} {number} of {place}"
            if not isinstance(each, Mapping | Config):
                raise ConfigError(f"Expected {here} to be a table, but got {_shown(each)}; write {written}.")
            check_shape(each, inner, here, f"{header}{key}.")
    fewest = next((each.min_length for each in field.metadata if hasattr(each, "min_length")), 0)
    if isinstance(value, list | tuple) and len(value) < fewest:
        advice = f"write {written}" if inner else "write one, or leave the key out"
        raise ConfigError(f"Expected at least {fewest} item in {where}, but got an empty list; {advice}.")


def _tables(value: object, where: str, written: str) -> Sequence[object]:
    if isinstance(value, list | tuple):
        return value
    raise ConfigError(f"Expected {where} to be a list of tables, but got {_shown(value)}; write {written}.")


def _check_plain(value: object, wanted: Any, where: str, key: str = "") -> None:
    """Refuse what is no list where a list is wanted, no name where a name, and no text where text."""
    inside = get_args(wanted)
    if get_origin(wanted) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(
                f"Expected {where} to be a list, but got {_shown(value)}; write {key}{_example(value, wanted)}."
            )
        for number, each in enumerate(value, start=1):
            _check_plain(each, inside[0], f"item {number} of {where}")
    elif inside == NAME:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ConfigError(
                f'Expected {where} to be a name or a whole number, but got {_shown(value)}; write "3" or 3.'
            )
    elif isinstance(value, bool) and _takes_numbers(wanted):
        raise ConfigError(f"Expected {where} to be a number, but got {_shown(value)}; write one.")
    elif wanted is str and not isinstance(value, str):
        raise ConfigError(f"Expected {where} to be text, but got {_shown(value)}; write it in quotes.")


def _check_range(value: object, field: FieldInfo, where: str) -> None:
    """Refuse a number, a choice or a text that the field would refuse, in the file's words."""
    annotated: Any = Annotated[field.annotation, field]
    try:
        TypeAdapter(annotated).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        items = "".join(f"item {part + 1} of " for part in reversed(first["loc"]) if isinstance(part, int))
        if first["type"] not in WISHES:
            return  # the field itself says it in words of its own
        wish, advice = WISHES[first["type"]]
        wish = wish.format(**first.get("ctx", {}))
        raise ConfigError(
            f"Expected {items}{where} to be {wish}, but got {_shown(first['input'])}; {advice}."
        ) from error


def _takes_numbers(wanted: Any) -> bool:
    """Return whether a value is wanted that is a number, or none."""
    kinds = {wanted, *get_args(wanted)}
    return bool(kinds & {int, float}) and not kinds & {bool, str}


def _example(value: object, wanted: Any) -> str:
    """Return a list as it would be written: of the value itself, where that is something for a list of this kind."""
    if get_origin(wanted) is tuple:
        return f"[{_example(value, get_args(wanted)[0])}]"
    kinds = (str,) if wanted is str else NAME if get_args(wanted) == NAME else (int,)
    if isinstance(value, kinds) and not isinstance(value, bool):
        return _shown(value)
    return '"..."' if str in kinds else "0"


def _shown(value: object) -> str:
    """Return a value as TOML writes it, a long one cut off; of a table or a list, that it is one."""
    if isinstance(value, Mapping):
        return "one table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        return json.dumps(value if len(value) <= LONGEST else f"{value[:LONGEST]}...", ensure_ascii=False)
    if isinstance(value, int) and value.bit_length() > 4 * LONGEST:
        return "a number of very many digits"  # Python writes none of thousands
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _table_of(annotation: Any) -> type[Config] | None:
    """Return what the tables of a list are built into; None for all but lists of tables."""
    inner = next((each for each in get_args(annotation) if isinstance(each, type)), None)
    return inner if inner is not None and issubclass(inner, Config) else None
