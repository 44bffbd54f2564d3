"""Names rows by number and by content, and finds them again in data whose rows were reordered.

Reads are counted under the reader `naming`: whoever is to name a row by its content must look at it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from unlearnkit.data.access import AccessLog
from unlearnkit.data.images import ImageData
from unlearnkit.errors import DataError, RequestError
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.split import Side

BATCH = 256  # rows decoded at once


@dataclass(frozen=True, kw_only=True)
class NamedRows:
    """Rows of one stored set, by number and by content.

    Args:
        side: the set.
        numbers: from 0, ascending.
        sha256: of the decoded pixels of each row, in the model's size.
        order: of the set that the numbers mean something in, see `order_of`.
    """

    side: Side
    numbers: tuple[int, ...]
    sha256: tuple[str, ...]
    order: str

    def as_record(self) -> dict[str, Any]:
        """Return the rows as JSON holds them."""
        return {
            "side": self.side,
            "numbers": list(self.numbers),
            "sha256": list(self.sha256),
            "order": self.order,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Read what `as_record` wrote.

        Raises:
            KeyError, TypeError: a value is missing or cannot be read.
            ValueError: the values contradict each other.
        """
        rows = cls(
            side=record["side"],
            numbers=tuple(record["numbers"]),
            sha256=tuple(record["sha256"]),
            order=record["order"],
        )
        numbers_fit = all(type(number) is int and number >= 0 for number in rows.numbers)
        texts = [rows.order, *rows.sha256]
        texts_fit = all(isinstance(text, str) and len(text) == 64 for text in texts)
        if rows.side not in ("train", "test") or not numbers_fit or not texts_fit:
            raise ValueError(f"rows are {str(record)[:60]}")
        if len(rows.numbers) != len(rows.sha256) or len(set(rows.numbers)) != len(rows.numbers):
            raise ValueError(f"{len(rows.numbers)} rows with {len(rows.sha256)} hashes")
        return rows

    def joined(self, other: NamedRows | None) -> NamedRows:
        """Return these rows and those of another request for the same data."""
        if other is None:
            return self
        pairs = sorted({**dict(zip(other.numbers, other.sha256, strict=True)), **self.by_number}.items())
        return NamedRows(
            side=self.side,
            numbers=tuple(number for number, _ in pairs),
            sha256=tuple(digest for _, digest in pairs),
            order=self.order,
        )

    @property
    def by_number(self) -> dict[int, str]:
        """The hash of each row by its number."""
        return dict(zip(self.numbers, self.sha256, strict=True))


def order_of(data: ImageData, side: Side) -> str:
    """Return a fingerprint of a set's order: SHA-256 of its labels and file names. No picture is read.

    Where the source has no file names, rows of one class that changed places look alike to it.
    """
    digest = hashlib.sha256(data.labels(side).numpy().astype("<i8").tobytes())
    if side in data.tables:
        for name in data.tables[side].file_names():
            digest.update(b"\0" + (name or "").encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def content_hash(image: Tensor) -> str:
    """Return the SHA-256 of an image's type, shape and pixels, in hexadecimal."""
    head = f"{image.dtype}{tuple(image.shape)}".encode()
    return hashlib.sha256(head + image.contiguous().numpy().tobytes()).hexdigest()


def hashes_of(
    data: ImageData, side: Side, rows: Sequence[int], log: AccessLog, progress: Progress | None = None
) -> list[str]:
    """Return the SHA-256 of each row's decoded pixels, in hexadecimal.

    Args:
        data: whose preprocessing says in which size and which colours the pixels are decoded.
        side: the set.
        rows: numbers in it.
        log: where the reads are counted.
        progress: where a long pass is shown.

    Raises:
        DataError: reads of this data are drawn at random, so that its pixels are no name.
    """
    if data.set(side).random:
        raise DataError(
            f"Expected images that are the same at each read, as rows are named by their pixels, but {data.source} "
            "draws them at random; take its random transforms out."
        )
    if not rows:
        return []
    data.fix_shape(int(rows[0]), side)
    progress, found = progress or Silent(), []
    batches = torch.tensor(rows, dtype=torch.int64).split(BATCH)
    progress.start("naming rows by content", len(batches))
    for batch in batches:
        log.mark("naming", side, batch)
        found += [content_hash(image) for image in data.set(side).images(batch, torch.device("cpu"))]
        progress.advance()
    progress.finish()
    return found


def named_rows(
    data: ImageData, side: Side, rows: Sequence[int], log: AccessLog, progress: Progress | None = None
) -> NamedRows:
    """Name rows by number and by content; see `hashes_of`."""
    numbers = tuple(sorted(rows))
    hashes = hashes_of(data, side, numbers, log, progress)
    return NamedRows(side=side, numbers=numbers, sha256=tuple(hashes), order=order_of(data, side))


def rows_by_content(
    data: ImageData, side: Side, hashes: Sequence[str], log: AccessLog, progress: Progress | None = None
) -> dict[int, str]:
    """Return the numbers of the rows that have one of these hashes, with their hashes; all rows of the set are read.

    A hash that is asked for n times gives the first n rows that have it.
    """
    everything = hashes_of(data, side, range(len(data.labels(side))), log, progress)
    places: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(everything):
        places[digest].append(row)
    found: dict[int, str] = {}
    for digest in hashes:
        if places[digest]:
            found[places[digest].pop(0)] = digest
    return dict(sorted(found.items()))


def located(
    named: NamedRows, data: ImageData, log: AccessLog, progress: Progress | None = None, *, check: bool
) -> NamedRows:
    """Return the same rows with the numbers that they have in this data; rows that are gone from it are left out.

    Where the order is as it was, the numbers hold. Else all rows of the set are read, and found by content.

    Args:
        named: as an earlier run recorded them.
        data: opened now, with the same preprocessing.
        log: where reads are counted.
        progress: where a long pass is shown.
        check: read the rows at these numbers, and look for all by content where they are others: for rows that may be
            read. Those that were forgotten earlier are not read while the order is as it was.

    Raises:
        RequestError: none of the rows is there any more.
    """
    order = order_of(data, named.side)
    same = order == named.order and all(number < len(data.labels(named.side)) for number in named.numbers)
    if same and check:
        same = tuple(hashes_of(data, named.side, named.numbers, log)) == named.sha256
    if same:
        return named
    found = rows_by_content(data, named.side, named.sha256, log, progress)
    if check and named.numbers and not found:
        raise RequestError(
            f"Expected the {len(named.numbers)} rows of the request in {data.source}, but none of its images has the "
            "content of one; give the data that the request was made for, with the same preprocessing."
        )
    return NamedRows(side=named.side, numbers=tuple(found), sha256=tuple(found.values()), order=order)
