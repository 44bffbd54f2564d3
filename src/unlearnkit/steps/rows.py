"""Defines CaseRows: the rows that a case is to forget, and those forgotten earlier, found and named by content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unlearnkit.data import AccessLog, ImageData
from unlearnkit.data.choosing_rows import NO_CHOICE, RowChoice, choose_rows
from unlearnkit.data.duplicates import Duplicates, find_duplicates
from unlearnkit.data.row_names import NamedRows, located, named_rows
from unlearnkit.errors import OutputError
from unlearnkit.models.checkpoint import Checkpoint
from unlearnkit.request import ForgetRequest, Subclass
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.split import Side, Split

SIDES: tuple[Side, ...] = ("train", "test")


@dataclass(frozen=True, kw_only=True)
class RowRequest:
    """The rows to forget as a command line or an earlier run names them.

    Args:
        choice: as a person names them.
        recorded: single rows that a run folder records, in place of a choice.
        subclasses: those that it records, by name.
        duplicates: look for duplicates of the rows in the retained part.
    """

    choice: RowChoice = NO_CHOICE
    recorded: tuple[NamedRows, ...] = ()
    subclasses: tuple[tuple[str, tuple[NamedRows, ...]], ...] = ()
    duplicates: bool = True

    @classmethod
    def by_hand(
        cls, file: Path | None, where: Sequence[str], subclasses: Sequence[str], *, duplicates: bool = True
    ) -> RowRequest:
        """Return what a command's arguments ask for; see `RowChoice`."""
        choice = RowChoice(file=file, where=tuple(where), subclasses=tuple(subclasses))
        return cls(choice=choice, duplicates=duplicates)

    def places(self) -> list[Path]:
        """Return what it is read from on this machine."""
        return [self.choice.file] if self.choice.file is not None else []

    @classmethod
    def from_record(cls, record: Mapping[str, Any], file: Path) -> RowRequest:
        """Read the rows of a request.json; what a request for classes alone lacks is empty.

        Raises:
            OutputError: they are damaged.
        """
        try:
            return cls(
                recorded=tuple(NamedRows.from_record(each) for each in record.get("rows") or ()),
                subclasses=tuple(
                    (str(each["name"]), tuple(NamedRows.from_record(rows) for rows in each["rows"]))
                    for each in record.get("subclasses") or ()
                ),
                duplicates=False,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise OutputError(
                f"Expected rows with their numbers and hashes in {file}, but they are damaged ({error}); run the step "
                "that made it again."
            ) from error


NO_ROWS = RowRequest()


@dataclass(frozen=True, kw_only=True)
class CaseRows:
    """The rows of a case, by number and content.

    Args:
        single: rows to forget one by one; empty or one entry.
        subclasses: name -> rows of either set.
        earlier: rows forgotten earlier, of either set.
        duplicates: of the rows to forget, in the retained part; None where nobody looked.
    """

    single: tuple[NamedRows, ...] = ()
    subclasses: tuple[tuple[str, tuple[NamedRows, ...]], ...] = ()
    earlier: tuple[NamedRows, ...] = ()
    duplicates: Duplicates | None = None

    def forgotten(self) -> tuple[NamedRows, ...]:
        """Return all rows that the weights must not know afterwards, one entry for each set that has any."""
        everything = [*self.earlier, *self.single, *(rows for _, of_both in self.subclasses for rows in of_both)]
        found: dict[Side, NamedRows] = {}
        for rows in everything:
            if rows.numbers:
                found[rows.side] = rows.joined(found.get(rows.side))
        return tuple(found[side] for side in SIDES if side in found)

    def as_record(self, data: ImageData, split: Split) -> dict[str, Any]:
        """Return what request.json says of rows; nothing where there are none."""
        record: dict[str, Any] = {}
        if self.single or self.subclasses:
            labels = data.labels("train")[list(split.request.train_rows)].tolist()
            record = {
                "rows": [rows.as_record() for rows in self.single],
                "subclasses": [
                    {"name": name, "rows": [rows.as_record() for rows in of_both]} for name, of_both in self.subclasses
                ],
                "classes_of_rows": {data.classes[k]: count for k, count in sorted(Counter(labels).items())},
                "never_learned": len(split.never_learned),
                "duplicates": None if self.duplicates is None else self.duplicates.as_record(),
            }
        if self.earlier:
            record["already_forgotten_rows"] = [rows.as_record() for rows in self.earlier]
        return record


def earlier_rows(
    recorded: Sequence[NamedRows], data: ImageData, log: AccessLog, progress: Progress | None = None
) -> tuple[NamedRows, ...]:
    """Return the rows that weights record as forgotten, with their numbers in this data; see `located`."""
    return tuple(located(rows, data, log, progress, check=False) for rows in recorded)


def found_rows(
    wanted: RowRequest,
    checkpoint: Checkpoint | None,
    data: ImageData,
    log: AccessLog,
    progress: Progress | None = None,
) -> CaseRows:
    """Find the rows of a request by number; those that a person names have no hash yet.

    Args:
        wanted: what is asked for.
        checkpoint: weights whose card may record rows forgotten earlier.
        data: under the model's class list.
        log: where reads are counted.
        progress: where a long pass is shown.

    Raises:
        RequestError: see `choose_rows` and `located`.
    """
    gone = checkpoint.card.forgotten_rows if checkpoint is not None and checkpoint.card is not None else ()
    earlier = earlier_rows(gone, data, log, progress)
    if wanted.choice:
        chosen = choose_rows(wanted.choice, data, log)
        return CaseRows(
            single=(_unread("train", chosen.rows),) if chosen.rows else (),
            subclasses=tuple(
                (each.name, (_unread("train", each.train), _unread("test", each.test))) for each in chosen.subclasses
            ),
            earlier=earlier,
        )
    return CaseRows(
        single=tuple(located(rows, data, log, progress, check=True) for rows in wanted.recorded),
        subclasses=tuple(
            (name, tuple(located(rows, data, log, progress, check=True) for rows in of_both))
            for name, of_both in wanted.subclasses
        ),
        earlier=earlier,
    )


def request_with(rows: CaseRows, request: ForgetRequest) -> ForgetRequest:
    """Return the request with the rows of a case."""
    gone = {side: _numbers(rows.earlier, side) for side in SIDES}
    return replace(
        request,
        rows=_numbers(rows.single, "train"),
        subclasses=tuple(
            Subclass(name=name, train=_numbers(of_both, "train"), test=_numbers(of_both, "test"))
            for name, of_both in rows.subclasses
        ),
        already_forgotten_rows=gone["train"],
        already_forgotten_test_rows=gone["test"],
    )


def named_case(
    rows: CaseRows,
    wanted: RowRequest,
    data: ImageData,
    split: Split,
    log: AccessLog,
    progress: Progress | None = None,
) -> CaseRows:
    """Name by content the rows that a person chose, look for their duplicates, and say what was found.

    Args:
        rows: as `found_rows` gives them, checked against the data.
        wanted: what is asked for.
        data: its shape known.
        split: of the request.
        log: where reads are counted.
        progress: where passes are shown, and what was found is said.
    """
    if not wanted.choice:
        return rows
    say = (progress or Silent()).say

    def named(of: tuple[NamedRows, ...]) -> tuple[NamedRows, ...]:
        return tuple(named_rows(data, each.side, each.numbers, log, progress) for each in of)

    rows = replace(
        rows,
        single=named(rows.single),
        subclasses=tuple((name, named(of_both)) for name, of_both in rows.subclasses),
    )
    if len(split.never_learned):
        say(
            f"note: {len(split.never_learned)} of the rows to forget are held out for validation in every training "
            "here, so a model that `unlearnkit train` made never learned them."
        )
    if wanted.duplicates:
        rows = replace(rows, duplicates=find_duplicates(data, split, log, progress))
        assert rows.duplicates is not None, "it was looked for"
        if rows.duplicates.exact or rows.duplicates.near:
            say(
                f"warning: retained training images show what is to be forgotten: {len(rows.duplicates.exact)} exact "
                f"duplicates and {len(rows.duplicates.near)} near ones (request.json lists them); add their rows to "
                "the request where they should be forgotten too."
            )
    return rows


def _unread(side: Side, numbers: tuple[int, ...]) -> NamedRows:
    """Return rows that have a number and no hash yet."""
    return NamedRows(side=side, numbers=numbers, sha256=(), order="")


def _numbers(rows: Sequence[NamedRows], side: Side) -> tuple[int, ...]:
    return tuple(number for each in rows if each.side == side for number in each.numbers)
