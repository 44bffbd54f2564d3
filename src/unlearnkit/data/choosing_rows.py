"""Finds the rows that a person names: by a file of keys, by a column's value, as a part of a class, or by chance."""

from __future__ import annotations

import csv
import difflib
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from unlearnkit.class_names import in_one_form, listed
from unlearnkit.data.access import AccessLog
from unlearnkit.data.images import ImageData
from unlearnkit.data.row_names import rows_by_content
from unlearnkit.data.row_table import RowTable
from unlearnkit.disk.files import read_regular
from unlearnkit.errors import RequestError, reason
from unlearnkit.request import ResolvedRequest, Subclass, resolve_class
from unlearnkit.split import Part, Side, split_resolved

ROW, FILE_NAME, SHA256 = "row", "file_name", "sha256"  # columns of a file of keys that mean the same for all data
KEYS = (ROW, FILE_NAME, SHA256)
COMPARED = 20_000  # names that are compared to find the nearest


@dataclass(frozen=True, kw_only=True)
class RowChoice:
    """The rows to forget as a person names them.

    Args:
        file: CSV or Parquet with one column: `row` (training rows from 0), `file_name`, `sha256` (of decoded pixels),
            or a column of the data's metadata, whose values then name rows.
        where: conditions `column=value`; rows that meet one of them.
        subclasses: parts of classes, `COARSE:FINE`.
        numbers: training rows, from 0.
        share, seed: a share of the training rows to draw at random, and the seed of the draw. Rows that every training
            here holds out for validation are not drawn, as nothing is learned of them.
    """

    file: Path | None = None
    where: Sequence[str] = ()
    subclasses: Sequence[str] = ()
    numbers: tuple[int, ...] = ()
    share: float = 0.0
    seed: int = 0

    def __bool__(self) -> bool:
        named = bool(self.where) or bool(self.subclasses) or bool(self.numbers)
        return self.file is not None or named or self.share > 0


NO_CHOICE = RowChoice()


@dataclass(frozen=True, kw_only=True)
class ChosenRows:
    """What was found: single training rows, and subclasses."""

    rows: tuple[int, ...] = ()
    subclasses: tuple[Subclass, ...] = ()


def choose_rows(choice: RowChoice, data: ImageData, log: AccessLog) -> ChosenRows:
    """Return the rows that are named; no picture is read, but all of them where a file names rows by `sha256`.

    Args:
        choice: what a person named.
        data: opened under the model's class list.
        log: where reads are counted.

    Raises:
        RequestError: a key, a column or a class is not there, is named twice or means a row of the test data alone, or
            nothing is named.
    """
    rows: set[int] = {*choice.numbers}
    if choice.share:
        rows |= drawn_rows(data, choice.share, seed=choice.seed)
    if choice.file is not None:
        rows |= _of_file(choice.file, data, log)
    for condition in choice.where:
        column, mark, value = condition.partition("=")
        if not mark:
            raise RequestError(f"Expected column=value, but got {condition!r}; write it as --forget-where person=17.")
        rows |= _having(column, [value], data, "--forget-where")
    return ChosenRows(rows=tuple(sorted(rows)), subclasses=tuple(_subclass(text, data) for text in choice.subclasses))


def drawn_rows(data: ImageData, share: float, *, seed: int) -> set[int]:
    """Return a share of the training rows, drawn from those that a training here learns.

    Raises:
        RequestError: the share is less than one row, or leaves nothing.
    """
    nothing = ResolvedRequest(forget=(), already_forgotten=(), classes=data.classes)
    learned = split_resolved(nothing, data)[Part.RETAIN_TRAIN]
    count = round(share * len(data.labels("train")))
    if not 0 < count < len(learned):
        raise RequestError(
            f"Expected a share of the {len(learned)} training rows that is at least one row and leaves one, but "
            f"{share:g} of all is {count}; name another share."
        )
    order = torch.randperm(len(learned), generator=torch.Generator().manual_seed(seed))
    return set(learned[order[:count]].tolist())


def _of_file(path: Path, data: ImageData, log: AccessLog) -> set[int]:
    column, keys = read_keys(path)
    if column == ROW:
        wrong = next((key for key in keys if not (key.isascii() and key.isdigit() and len(key) < 19)), None)
        if wrong is not None:
            raise RequestError(
                f"Expected numbers of training rows, from 0, in column {ROW!r} of {path}, but got {wrong!r}; write "
                f"whole numbers, or file names under {FILE_NAME!r}."
            )
        numbers = Counter(map(int, keys))
        twice = next((number for number, count in numbers.items() if count > 1), None)
        if twice is not None:
            raise RequestError(f"Expected each row once in {path}, but row {twice} is named twice; name it once.")
        return set(numbers)
    twice_key = next((key for key, count in Counter(keys).items() if count > 1), None)
    if twice_key is not None:
        raise RequestError(f"Expected each row once in {path}, but {twice_key!r} is named twice; name it once.")
    if column == FILE_NAME:
        return _called(keys, data)
    if column == SHA256:
        found = rows_by_content(data, "train", keys, log)
        missing = sorted({*keys} - {*found.values()})
        if missing:
            raise RequestError(
                f"Expected hashes of training images of {data.source}, but none has {missing[0]!r}; they are of the "
                "decoded pixels in the model's size."
            )
        return set(found)
    return _having(column, keys, data, str(path))


def read_keys(path: Path) -> tuple[str, list[str]]:
    """Return the name of the only column of a CSV or Parquet file, and its values as text.

    Raises:
        RequestError: it cannot be read, has several columns, or no values.
    """
    try:
        raw = read_regular(path)
        if raw[:4] == b"PAR1":
            table = pq.read_table(io.BytesIO(raw))
            header, rows = list(table.column_names), list(zip(*(c.to_pylist() for c in table.columns), strict=True))
        else:
            lines = [line for line in csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")) if line]
            header, rows = lines[0] if lines else [], [tuple(line) for line in lines[1:]]
    except (OSError, UnicodeError, csv.Error, pa.ArrowException) as error:
        raise RequestError(
            f"Expected a CSV or Parquet file of rows at {path}, but it cannot be read ({reason(error)}); write one "
            f"column named {ROW!r} or {FILE_NAME!r}."
        ) from error
    names = [in_one_form(str(name).strip()) for name in header]
    if len(names) > 1 or any(len(row) != len(names) for row in rows):
        raise RequestError(
            f"Expected one kind of key in {path}, but got {len(names)} columns ({listed(names)}) or lines of several "
            "values; keep one column."
        )
    keys = [in_one_form(str(row[0]).strip()) for row in rows if row[0] is not None]
    if not names or not keys:
        raise RequestError(
            f"Expected at least one row in {path}, but got none; write the column's name, {ROW!r} or {FILE_NAME!r}, "
            "into its first line and a row into each line below."
        )
    if names[0].isdigit():
        raise RequestError(
            f"Expected the name of the column in the first line of {path}, but got {names[0]!r}; write {ROW!r} above "
            "the numbers."
        )
    return names[0], keys


def _table(data: ImageData, side: Side, what: str) -> RowTable:
    if side not in data.tables:
        raise RequestError(
            f"Expected data with {what} (parquet:, imagefolder:), but {data.source} has none; name training rows by "
            f"number, in a file with a column {ROW!r}."
        )
    return data.tables[side]


def _called(names: Sequence[str], data: ImageData) -> set[int]:
    """Return the training rows with these file names; the end of a path will do where it is of one row alone."""
    ends: dict[Side, dict[str, list[int]]] = {"train": defaultdict(list), "test": defaultdict(list)}
    for side, known in ends.items():
        for row, name in enumerate(_table(data, side, "file names").file_names()):
            parts = in_one_form(name or "").split("/")
            for i in range(len(parts)):
                known["/".join(parts[i:])].append(row)
    found: set[int] = set()
    for name in names:
        rows = ends["train"].get(name, [])
        if not rows and name in ends["test"]:
            raise _only_in_test(f"the file {name!r}")
        if len(rows) > 1:
            raise RequestError(
                f"Expected the name of one training image, but {name!r} is that of {len(rows)}; give more of its path."
            )
        if not rows:
            raise RequestError(
                f"Expected names of training images of {data.source}, but none is called {name!r}"
                f"{_nearest(name, ends['train'])}; name it as the data does."
            )
        found.add(rows[0])
    return found


def _having(column: str, values: Sequence[str], data: ImageData, asked_by: str) -> set[int]:
    """Return the training rows whose value in a column is one of `values`."""
    sides: tuple[Side, ...] = ("train", "test")  # the training data first, whose column must be there
    found = {side: _values(column, data, side, asked_by) for side in sides}
    rows: set[int] = set()
    for value in map(in_one_form, values):
        of_value = {row for row, known in enumerate(found["train"]) if known == value}
        if not of_value and value in found["test"]:
            raise _only_in_test(f"what has {column}={value}")
        if not of_value:
            known_values = sorted({text for text in found["train"] if text is not None})
            raise RequestError(
                f"Expected a value of column {column!r}, but no training row has {value!r}"
                f"{_nearest(value, known_values)}; name one that is there."
            )
        rows |= of_value
    return rows


def _values(column: str, data: ImageData, side: Side, asked_by: str) -> Sequence[str | None]:
    """Return a column that the training data must have; test data without it has no value in any row."""
    table = _table(data, side, "columns besides pictures and labels")
    if column not in table.columns and side == "test":
        return [None] * len(data.labels("test"))
    if column not in table.columns:
        near = _nearest(column, (*table.columns, *([] if asked_by.startswith("--") else KEYS))) or (
            f"; it has {listed(table.columns)}" if table.columns else ""
        )
        raise RequestError(
            f"Expected a column of {data.source}, as {asked_by} names it, but it has no {column!r}{near}; name one "
            "that is there."
        )
    return table.column(column)


def _subclass(text: str, data: ImageData) -> Subclass:
    """Return the rows of a part of a class, by the column of finer labels that has it."""
    cuts = [i for i, character in enumerate(text) if character == ":"]
    if not cuts:
        raise RequestError(
            f"Expected a class and a part of it, but got {text!r}; write them as COARSE:FINE, such as vehicles:rocket."
        )
    cut = next((i for i in cuts if text[:i] in data.classes), cuts[0])
    coarse, fine = resolve_class(text[:cut], data.classes), in_one_form(text[cut + 1 :])
    columns = _table(data, "train", "finer labels").columns
    inside = torch.nonzero(data.labels("train") == coarse).flatten().tolist()
    found: dict[str, tuple[int, ...]] = {}
    parts: set[str] = set()
    for column in columns:
        values = _values(column, data, "train", "--forget-subclass")
        rows = tuple(row for row in inside if values[row] == fine)
        parts |= {text for row in inside if (text := values[row]) is not None}
        if rows:
            found[column] = rows
    if len(found) != 1:
        known = listed(tuple(found)) if found else ""
        raise RequestError(
            f"Expected one column that parts class {data.classes[coarse]!r}, but "
            + (f"{known} all have" if found else f"none of {listed(columns) or 'the data'} has")
            + f" {fine!r} in it{'' if found else _nearest(fine, sorted(parts))}; "
            + ("use --forget-where." if found else "name a part that is there.")
        )
    ((column, rows),) = found.items()
    held_out = _values(column, data, "test", "--forget-subclass")
    of_class = torch.nonzero(data.labels("test") == coarse).flatten().tolist()
    return Subclass(
        name=f"{data.classes[coarse]}:{fine}",
        train=rows,
        test=tuple(row for row in of_class if held_out[row] == fine),
    )


def _only_in_test(what: str) -> RequestError:
    return RequestError(
        f"Expected rows of the training data, but {what} is in the test data alone, which no model was trained on; "
        "leave it out."
    )


def _nearest(name: str, known: Sequence[str] | dict[str, list[int]]) -> str:
    close = difflib.get_close_matches(name, list(known)[:COMPARED], n=1, cutoff=0.4)
    return f" (did you mean {close[0]!r}?)" if close else ""
