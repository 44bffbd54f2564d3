"""Reads a run folder: its JSON files, and its readings as plain rows that can be looked up."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnkit.errors import OutputError
from unlearnkit.report.sentences import Doubt, read_doubt
from unlearnkit.report.words import Words, of_pictures
from unlearnkit.run_dir import read_json

KINDS = ("forget", "audit")
SCHEMAS = (2, 3)  # of audit.json: 3 is what `unlearnkit.audit` writes; in 2 an open end of a band was a number
OPTIONAL = ("cost.json", "audit.json", "history.json", "pictures.json")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One reading of audit.json."""

    metric: str
    model: str
    replicate: int
    part: str | None
    value: float | None
    unit: str
    target: str
    interval: tuple[float, float] | None
    series: Mapping[str, float]
    band: tuple[float | None, float | None] | None
    verdict: str
    gap: float | None
    doubts: tuple[Doubt, ...]

    @property
    def points(self) -> list[tuple[float, float]]:
        """The series over numbers, ascending.

        Raises:
            OutputError: it is over something else.
        """
        try:
            return sorted((float(x), value) for x, value in self.series.items())
        except ValueError as error:
            raise OutputError(
                f"Expected numbers as the names of the series of {self.metric} in audit.json, but got others "
                f"({error}); run the audit again."
            ) from error

    @property
    def censored(self) -> bool:
        """Whether the measurement was cut off, so that the true value lies beyond the measured one."""
        return any(doubt.code == "censored" for doubt in self.doubts)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The content of a run folder, and the strings of the report's language.

    `audit`, `cost`, `history` and `pictures` are None where it has none.
    """

    folder: Path
    kind: str
    request: Mapping[str, Any]
    config: Mapping[str, Any]
    access: Mapping[str, Any]
    manifest: Mapping[str, Any]
    audit: Mapping[str, Any] | None
    cost: Mapping[str, Any] | None
    history: Mapping[str, Sequence[float]] | None
    rows: tuple[Row, ...]
    words: Words
    pictures: Mapping[str, Any] | None = None

    @property
    def forgotten(self) -> list[str]:
        """Names of the classes to forget."""
        return [str(name) for name in self.request.get("forget") or ()]

    @property
    def classes_of_rows(self) -> dict[str, int]:
        """How many single pictures of each class are to be forgotten, those of subclasses among them; none: {}."""
        return {str(name): int(count) for name, count in (self.request.get("classes_of_rows") or {}).items()}

    @property
    def shown_part(self) -> str:
        """The part that says what a model knows of what is to be forgotten: held-out samples of classes, else rows."""
        return "forget_train" if self.classes_of_rows else "forget_test"

    @property
    def subclasses(self) -> list[str]:
        """Names of the parts of classes to forget."""
        return [str(each["name"]) for each in self.request.get("subclasses") or ()]

    @property
    def earlier(self) -> list[str]:
        """Names of the classes forgotten by earlier requests."""
        return [str(name) for name in self.request.get("already_forgotten") or ()]

    @property
    def votes(self) -> list[str]:
        """Keys of the readings that have a vote, measured or not."""
        return [str(key) for key in (self.audit or {}).get("votes") or ()]

    @property
    def replicates(self) -> list[int]:
        """Numbers of the retrained models that were measured."""
        return sorted({row.replicate for row in self.rows if row.model == "retrained"})

    def find(self, metric: str, model: str, part: str | None = None) -> list[Row]:
        """Return the readings of one metric, model and part; several where there are several retrained models."""
        return [r for r in self.rows if (r.metric, r.model, r.part) == (metric, model, part)]

    def value(self, metric: str, model: str, part: str | None = None) -> float | None:
        """Return the first such reading's value; None where it is unknown or was not made."""
        found = self.find(metric, model, part)
        return found[0].value if found else None


def load(folder: Path, words: Words) -> Run:
    """Read a run folder, for a report in the language of these strings.

    Raises:
        OutputError: it is no run of `forget` or `audit`, or a file in it is missing, damaged or of another schema.
    """
    config = read_json(folder, "config.json")
    kind = config.get("kind")
    if kind not in KINDS:
        origin = f"made by `{kind}`" if isinstance(kind, str) else "of an unknown kind"
        raise OutputError(
            f"Expected a run folder made by `forget` or `audit`, but {folder} is {origin}; name the folder that "
            "`unlearnkit forget --out` or `unlearnkit audit --out` wrote."
        )
    found = {name: read_json(folder, name) if (folder / name).is_file() else None for name in OPTIONAL}
    audit = found["audit.json"]
    if audit is not None and audit.get("schema") not in SCHEMAS:
        raise OutputError(
            f"Expected an audit.json of schema {SCHEMAS[-1]} in {folder}, but got {_schema(audit)}; "
            f"run `unlearnkit audit {shlex.quote(str(folder))}` again."
        )
    request = read_json(folder, "request.json")
    if request.get("classes_of_rows"):
        words = of_pictures(words)
    return Run(
        folder=folder,
        kind=kind,
        request=request,
        config=config,
        access=read_json(folder, "access.json"),
        manifest=read_json(folder, "manifest.json"),
        audit=audit,
        cost=found["cost.json"],
        history=found["history.json"],
        pictures=found["pictures.json"],
        rows=tuple(_row(raw, folder) for raw in audit.get("readings") or ()) if audit is not None else (),
        words=words,
    )


def weights_file(run: Run, key: str = "weights") -> tuple[str, str | None]:
    """Return file name and sha256 of the weights that the run started from, or of those under another key."""
    path = str(run.config.get(key) or "")
    inputs: Mapping[str, str] = run.manifest.get("inputs") or {}
    return Path(path).name or run.words.NO_NAME, inputs.get(path)


def label_of(row: Row, run: Run) -> str:
    """Return a model's name, with a number where there are several retrained models."""
    name = run.words.NAMES.get(row.model, row.model)
    several = row.model == "retrained" and len(run.replicates) > 1
    return run.words.NUMBERED.format(name, row.replicate + 1) if several else name


def _schema(audit: Mapping[str, Any]) -> str:
    """Name the schema of a file; the first schema had no number, and held doubts as sentences."""
    return f"schema {audit['schema']!r}" if "schema" in audit else "one of an earlier version, without a number"


def _row(raw: Any, folder: Path) -> Row:
    if not isinstance(raw, dict) or not {"metric", "model", "value"} <= raw.keys():
        raise OutputError(
            f"Expected readings with metric, model and value in {folder / 'audit.json'}, but got {str(raw)[:60]!r}; "
            "run the audit again."
        )
    interval, band = raw.get("interval"), raw.get("band")
    return Row(
        metric=str(raw["metric"]),
        model=str(raw["model"]),
        replicate=int(raw.get("replicate") or 0),
        part=raw.get("part"),
        value=raw["value"],
        unit=str(raw.get("unit") or ""),
        target=str(raw.get("target") or "none"),
        interval=(interval[0], interval[1]) if interval is not None else None,
        series=raw.get("series") or {},
        band=(band[0], band[1]) if band is not None else None,
        verdict=str(raw.get("verdict") or ""),
        gap=raw.get("gap"),
        doubts=tuple(read_doubt(doubt, "audit.json") for doubt in raw.get("doubts") or ()),
    )
