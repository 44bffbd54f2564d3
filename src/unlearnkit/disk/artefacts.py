"""Says what every JSON artefact of a run folder looks like; whoever reads one gets it checked.

A person may have edited the file, or a stranger made it. Everything that our own code reads of an artefact is here with
its type; what else stands there is kept. Versions before may lack what has a default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from unlearnkit.errors import OutputError

LARGEST = 8192  # side of an image in pixels, as `data.preprocessing` has it


class Artefact(BaseModel):
    """Base of all: types are taken as they stand, and keys that are not named here are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


OF_AUDITS = ("audit.json", "pictures.json")  # `unlearnkit audit FOLDER` writes them anew
Number = Annotated[float, Field(ge=-1e100, le=1e100, allow_inf_nan=False)]  # sums and squares of it are finite too
Count = Annotated[int, Field(ge=0, le=2**63)]
Pair = Annotated[list[Number], Len(2, 2)]
Band = Annotated[list[Number | None], Len(2, 2)]  # null: that side is open
Hashes = dict[str, str]
Values = list[Number]
Doubts = list[Any]  # `report.sentences.read_doubt` reads each


class StepRecord(Artefact):
    """A command that was run on the folder later."""

    inputs: Hashes | None = None


class ManifestRecord(Artefact):
    """manifest.json: the sha256 of every file, and how the folder was made."""

    artefacts: Hashes
    inputs: Hashes | None = None
    later_steps: list[StepRecord] | None = None
    created: str | None = None
    versions: dict[str, str] | None = None
    command: list[str] | None = None
    device: str | None = None
    seed: int | None = None
    language: str | None = None


class StatementRecord(Artefact):
    """What was signed: a manifest, and when."""

    manifest: ManifestRecord
    signed: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$")]  # shown as it is


class SignatureRecord(Artefact):
    """A signature, the public key that checks it, and what it is of."""

    key: Annotated[str, Field(pattern="^[A-Za-z0-9+/]{43}=$")]
    signature: Annotated[str, Field(pattern="^[A-Za-z0-9+/]{86}==$")]
    statement: StatementRecord


class SignaturesRecord(Artefact):
    """signature.json: who vouches for the manifest; no manifest lists this file."""

    signatures: Annotated[list[SignatureRecord], Field(max_length=100)]


class AttemptRecord(Artefact):
    """One of the rates that a method tried."""

    accuracy: Number | None = None


class SearchRecord(Artefact):
    """What a method's search for rates did."""

    attempts: list[AttemptRecord] | None = None
    accepted: bool | None = None


class ChoiceRecord(Artefact):
    """Which method the method `auto` kept."""

    kept: str | None = None


class NotesRecord(Artefact):
    """What a method notes of its run."""

    search: SearchRecord | None = None
    auto: ChoiceRecord | None = None
    safeguard: dict[str, Any] | None = None
    doubt: dict[str, Any] | None = None
    privacy: dict[str, Any] | None = None
    statement: dict[str, Any] | None = None


class ConfigurationRecord(Artefact):
    """config.json: what a command was asked for, and how images were fed."""

    kind: Any = None  # whoever needs one kind says so
    model: str | None = None
    weights: str | None = None
    weights_key: str | None = None
    unlearned: str | None = None
    exclude: list[str] | None = None
    init: str | None = None
    data: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    method: str | None = None
    settings: dict[str, Any] | None = None
    needs: list[str] | None = None
    notes: NotesRecord | None = None
    seed: int | None = None
    precision: str | None = None
    recipe: dict[str, Any] | None = None
    image_size: Annotated[int, Field(ge=1, le=LARGEST)] | None = None
    shape: Annotated[list[Annotated[int, Field(ge=1, le=LARGEST)]], Len(3, 3)] | None = None
    mean: Values | None = None
    std: Values | None = None
    crop_pct: Number | None = None
    interpolation: str | None = None
    trust_inputs: bool | None = None


class NamedRowsRecord(Artefact):
    """Rows of one stored set, by number and by the hash of their pixels."""

    side: str
    numbers: list[Count]
    sha256: list[str]
    order: str


class SubclassRecord(Artefact):
    """A part of a class, with its rows."""

    name: str
    rows: list[NamedRowsRecord]


class DuplicatesRecord(Artefact):
    """Retained images that show what is to be forgotten."""

    distance: Count
    brightness: Number | None = None  # of records since there is one
    looked_at: Count
    exact: Count
    near: Count


class RequestRecord(Artefact):
    """request.json: the classes and rows to forget, and the class list."""

    forget: list[str | int] | None = None
    forget_ids: list[int] | None = None
    already_forgotten: list[str | int] | None = None
    classes: list[str] | None = None
    rows: list[NamedRowsRecord] | None = None
    subclasses: list[SubclassRecord] | None = None
    classes_of_rows: dict[str, Count] | None = None
    never_learned: Count | None = None
    duplicates: DuplicatesRecord | None = None
    already_forgotten_rows: list[NamedRowsRecord] | None = None


class CountsRecord(Artefact):
    """How many samples of a class there are, were read and were decoded; null where nobody knows."""

    __pydantic_extra__: dict[str, Count | None]
    samples: Count | None = None
    read_by_method: Count | None = None
    read_by_audit: Count | None = None
    decoded: Count | None = None


class AccessRecord(Artefact):
    """access.json: what was read, by part of the data and by class."""

    parts: dict[str, dict[str, CountsRecord]] | None = None
    forget_samples_read: Count | None = None
    forget_samples_read_by_audit: Count | None = None
    forget_samples_decoded: Count | None = None
    forget_samples_read_by_first_look: Count | None = None


class SpentRecord(Artefact):
    """What a stage took."""

    seconds: Number | None = None
    samples_forward: Count = 0
    samples_backward: Count = 0
    peak_memory_bytes: Number | None = None
    operations: Count = 0  # the key is there where somebody counted


class CostRecord(Artefact):
    """cost.json: what each stage took, and all together."""

    stages: dict[str, SpentRecord] | None = None
    total: SpentRecord | None = None


class HistoryRecord(Artefact):
    """history.json: the losses of each stage."""

    __pydantic_extra__: dict[str, Values]


class ReadingRecord(Artefact):
    """One reading of an audit."""

    metric: str
    model: str
    value: Number | None
    replicate: Annotated[int, Field(ge=0, le=10_000)] | None = None
    part: str | None = None
    unit: str | None = None
    target: str | None = None
    interval: Pair | None = None
    series: dict[str, Number] | None = None
    band: Band | None = None
    verdict: str | None = None
    gap: Number | None = None
    doubts: Doubts | None = None


class JudgementRecord(Artefact):
    """The verdict of an audit."""

    status: str
    why: Doubts | None = None
    worst: str | None = None
    worst_gap: Number | None = None


class ReferenceRecord(Artefact):
    """A model that an audit compared with."""

    path: str
    sha256: str


class AuditRecord(Artefact):
    """audit.json: readings, verdict, and what they rest on. One of another schema is refused by its number alone."""

    readings: list[ReadingRecord] | None = None
    verdict: JudgementRecord | None = None
    notices: Doubts | None = None
    votes: list[str] | None = None
    tier: str | None = None
    bank: str | None = None
    retrained: list[ReferenceRecord] | None = None
    shadows: list[ReferenceRecord] | None = None
    seed: int | None = None
    stand_ins: str | None = None
    depth: str | None = None
    spent: dict[str, SpentRecord] | None = None


class IdentityRecord(Artefact):
    """reference.json: what the key of an entry of the reference bank is made of."""

    data: str
    classes: list[str]
    excluded: list[str]
    model: str
    structure: str
    fed: dict[str, Any]
    start: str | None
    recipe: dict[str, Any]
    seed: int


class PictureRecord(Artefact):
    """A picture of a figure."""

    file: str
    label: str | None = None
    model: str | None = None
    forgotten: bool | None = None
    explained: Values | None = None
    rivals: dict[str, str] | None = None


class FigureRecord(Artefact):
    """A figure of pictures, or why it is missing."""

    missing: Any = None  # a word, or a doubt
    pictures: list[PictureRecord] | None = None
    limit: Number | None = None
    classes: Count | None = None
    forgotten: Count | None = None
    retained: Count | None = None
    layer: str | None = None
    models: list[str] | None = None

    @model_validator(mode="after")
    def _shows_or_says_why(self) -> Self:
        if self.missing is None and not self.pictures:
            raise ValueError("a figure with pictures, or with the reason why they are missing")
        return self


class PicturesRecord(Artefact):
    """pictures.json: the figures, and whether they may be shown."""

    personal: bool | None = None
    include_images: bool | None = None
    figures: dict[str, FigureRecord] | None = None


SCHEMAS: dict[str, type[Artefact]] = {
    "manifest.json": ManifestRecord,
    "signature.json": SignaturesRecord,
    "config.json": ConfigurationRecord,
    "request.json": RequestRecord,
    "access.json": AccessRecord,
    "cost.json": CostRecord,
    "history.json": HistoryRecord,
    "audit.json": AuditRecord,
    "pictures.json": PicturesRecord,
    "reference.json": IdentityRecord,
}


def check_artefact(folder: Path, name: str, content: object, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return the content of an artefact if it is one of this name.

    Args:
        folder: the run folder, for messages.
        name: of the file.
        content: what its JSON says.
        keys: which must be there.

    Raises:
        OutputError: a key is missing, or a value is of the wrong kind or out of its range.
    """
    path = folder / name
    if not isinstance(content, dict):
        raise OutputError(f"Expected a JSON object in {path}, but got a {type(content).__name__}; make it again.")
    missing = [key for key in keys if key not in content]
    if missing:
        raise OutputError(
            f"Expected {missing[0]!r} in {path}, but it is not there; run the step that made the file again."
        )
    if name in SCHEMAS:
        try:
            SCHEMAS[name].model_validate(content)
        except ValidationError as error:
            again = "the audit" if name in OF_AUDITS else "the step that made the file"
            raise OutputError(f"{_sentence(path, error)}; run {again} again.") from error
    return content


def _sentence(path: Path, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    wanted = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ").replace(" valid ", " ")
    if first["type"] == "missing":
        return f"Expected {place!r} in {path}, but it is not there"
    return f"Expected {place!r} in {path} to be {wanted}, but got {repr(first['input'])[:60]}"
