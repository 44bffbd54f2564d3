"""Finds the models of a reference bank that fit an audit: trained as the original was, without the classes."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

from unlearnkit.class_names import listed
from unlearnkit.data import AccessLog
from unlearnkit.data.choosing_rows import RowChoice
from unlearnkit.errors import ModelError, OutputError
from unlearnkit.models import is_trusted_name
from unlearnkit.run_dir import WEIGHTS
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.steps.auditing import AuditOptions
from unlearnkit.steps.case import Case
from unlearnkit.steps.identity import Identity, data_fingerprint, identity_of
from unlearnkit.steps.recorded_training import RecordedTraining, recorded_training
from unlearnkit.steps.reference_bank import damage, default_bank, folders_of, read_identity

DAMAGED = "unfinished or damaged"
WHY = {  # what differs -> what is said of the entries that differ in it
    "classes": "of other classes",
    "excluded": "without other classes",
    "rows": "without other rows",
    "model": "of another architecture",
    "structure": "of another version of the architecture",
    "fed": "of another preprocessing",
    "start": "begun with other weights",
    "recipe": "trained by another recipe",
    "data": "trained on other data",
}


def retrained_for(case: Case, options: AuditOptions, *, access: AccessLog, progress: Progress | None) -> list[Path]:
    """Return the retrained models that an audit was given, and behind them those of the reference bank that it names.

    See `banked_references` for what is raised.
    """
    given = list(options.retrained)
    if options.references is None:
        return given
    banked = banked_references(case, options.references, access=access, progress=progress)
    already = {path.resolve() for path in given}
    return [*given, *(path for path in banked if path.resolve() not in already)]


def banked_references(case: Case, bank: Path, *, access: AccessLog, progress: Progress | None = None) -> list[Path]:
    """Return the weights of the entries that fit, every file of them as it was written, in the order of their seeds.

    Where an entry fits in everything else, all retained training samples are read once, for their fingerprint.

    Args:
        case: the original, its data, and what was to be forgotten.
        bank: folder of the reference bank.
        access: where reads are counted.
        progress: where the reading is shown.

    Raises:
        ModelError: nothing records how the original was trained, or no entry fits.
        OutputError: the bank, or the original's run folder, cannot be read.
    """
    recorded = recorded_training(case.checkpoint.path)
    why: Counter[str] = Counter()
    fitting: list[tuple[int, Path]] = []
    expected: str | None = None
    for folder in folders_of(bank):
        try:
            found = read_identity(folder)
        except OutputError:
            why[DAMAGED] += 1
            continue
        difference = found.differs_in(_wanted(case, recorded, like=found))
        if difference is None and expected is None:
            expected = data_fingerprint(
                case.data, case.split, reader="audit", log=access, progress=progress or Silent()
            )
        if difference is None and found.data != expected:
            difference = "data"
        if difference is not None:
            why[WHY[difference]] += 1
        elif damage(folder) is not None:
            why[DAMAGED] += 1
        else:
            fitting.append((found.seed, folder / WEIGHTS))
    if not fitting:
        raise _none(case, recorded, bank, why)
    if why[DAMAGED]:
        (progress or Silent()).say(f"note: {why[DAMAGED]} of the models in {bank} are {DAMAGED}, and are not used.")
    return [path for _, path in sorted(fitting)]


def _wanted(case: Case, recorded: RecordedTraining, *, like: Identity) -> Identity:
    """Return the identity that an entry with this fingerprint and this seed must have."""
    return identity_of(
        recorded,
        case.data,
        case.split,
        case.model,
        model=case.architecture,
        data=like.data,
        seed=like.seed,
        rows=case.rows.forgotten(),
    )


def _none(case: Case, recorded: RecordedTraining, bank: Path, why: Counter[str]) -> ModelError:
    names = [case.classes[k] for k in (*case.split.request.forget, *case.split.request.already_forgotten)]
    rows = sum(len(each.numbers) for each in case.rows.forgotten())
    command = ["unlearnkit", "retrain", "--of", str(recorded.folder)]
    command += [word for name in names for word in ("--exclude", name)]
    command += _rows_to_exclude(case.spec.rows.choice) if rows else []
    command += [] if bank == default_bank() else ["--bank", str(bank)]
    command += [] if is_trusted_name(case.architecture) else ["--model", case.architecture]
    held = ", ".join(f"{count} {reason}" for reason, count in why.items()) or "nothing"
    without = " and ".join(
        [*([listed(names)] if names else []), *([f"{rows} row{'s' if rows > 1 else ''}"] if rows else [])]
    )
    return ModelError(
        f"Expected models retrained without {without} in the reference bank {bank}, but none fits (it holds: "
        f"{held}); make them with `{shlex.join(command)}`."
    )


def _rows_to_exclude(choice: RowChoice) -> list[str]:
    """Return the options that leave rows out as a person named them; a run folder's rows stand in a file of theirs."""
    options = ["--exclude-rows", str(choice.file or "FILE")] if choice.file or not choice else []
    options += [word for condition in choice.where for word in ("--exclude-where", condition)]
    return [*options, *(word for name in choice.subclasses for word in ("--exclude-subclass", name))]
