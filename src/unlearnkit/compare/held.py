"""Tells which originals and retrained models of a suite the reference bank seems to hold, for the suite's plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unlearnkit.compare.subset import called
from unlearnkit.errors import OutputError
from unlearnkit.run_dir import WEIGHTS, read_json
from unlearnkit.steps.identity import Identity
from unlearnkit.steps.reference_bank import folders_of, read_identity


@dataclass(frozen=True)
class Entry:
    """A model of the bank: what it is, and the data source that it was trained on."""

    identity: Identity
    source: str


def entries_of(bank: Path) -> list[Entry]:
    """Return the models of a bank that can be read; others are trained again when the suite runs.

    Raises:
        OutputError: the bank is there and cannot be read.
    """
    return list(_readable(folders_of(bank)))


def seeds_held(entries: Sequence[Entry], wanted: Identity, source: str, seeds: Iterable[int]) -> int:
    """Return for how many seeds the bank holds a model that is as wanted in all but the content of its images.

    To compare that as well every image would have to be read, which a run does and a plan does not; the name of the
    data source stands for it. So models of the same data under another name do not count here, and are taken all the
    same. Copies of first rows have one name in all folders.

    Args:
        entries: see `entries_of`.
        wanted: the model; its seed and its fingerprint of the data do not matter.
        source: data source of the suite.
        seeds: of the models.
    """
    alike = [each.identity for each in entries if called(each.source) == called(source)]
    fitting = {found.seed for found in alike if replace(wanted, data=found.data).differs_in(found) is None}
    return len(fitting.intersection(seeds))


def _readable(folders: Iterable[Path]) -> Iterable[Entry]:
    for folder in folders:
        try:
            source = read_json(folder, "config.json", "data")["data"]
            if (folder / WEIGHTS).is_file():
                yield Entry(read_identity(folder), str(source))
        except OutputError:
            continue
