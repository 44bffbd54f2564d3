"""Runs the audit of a run folder or of any pair of checkpoints, and writes audit.json and the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlearnkit.audit import Evidence
from unlearnkit.data import AccessLog
from unlearnkit.disk.files import inside
from unlearnkit.errors import OutputError
from unlearnkit.models.checkpoint import Checkpoint, read_checkpoint
from unlearnkit.models.hub import WeightsSource
from unlearnkit.proof.signatures import superseded
from unlearnkit.run_dir import MANIFEST, WEIGHTS, add_to_run, read_json, recorded_hashes, write_run
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.randomness import check_seed
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.auditing import DEFAULT_AUDIT, AuditInputs, AuditOptions, audit_artefacts
from unlearnkit.steps.banked import retrained_for
from unlearnkit.steps.case import Case
from unlearnkit.steps.feeding import feeding_line
from unlearnkit.steps.first_look import FirstLook, first_look
from unlearnkit.steps.ledger import check_ledger, record
from unlearnkit.steps.opening import InputOptions, recorded_data, recorded_model
from unlearnkit.steps.output import Output, holding
from unlearnkit.steps.pictures import Pictures
from unlearnkit.steps.record import audit_config, manifest_record, request_record
from unlearnkit.steps.references import open_references
from unlearnkit.steps.remarks import say_remarks
from unlearnkit.steps.report import REPORT, check_language, report_run
from unlearnkit.steps.rows import RowRequest
from unlearnkit.steps.specs import CaseSpec

READER = "the audit"
COUNTED = ("samples", "read_by_method", "read_by_audit", "decoded")


@holding
def audit_folder(
    output: Output,
    *,
    options: AuditOptions = DEFAULT_AUDIT,
    model: str | None = None,
    data: str | None = None,
    original: Path | None = None,
    trust_inputs: bool = False,
    seed: int = 0,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    earlier: Evidence | None = None,
) -> dict[str, Any]:
    """Audit a run folder made by `forget`, write its audit.json and report.html, and return the audit.

    Pictures of samples that the folder has, and that may not be in it without `output.include_images`, are deleted.

    Args:
        output: the run folder, which is added to.
        options: how to look.
        model: name of the architecture, in place of the recorded one, which is built only where that runs no code and
            fetches nothing.
        data: the data source, in place of the recorded one, which is opened only where the same holds.
        original: the weights before forgetting, where they have been moved.
        trust_inputs: see `CaseSpec`; what the folder was made with is kept.
        seed, runtime, progress: see `forget_run`.
        earlier: see `audit_artefacts`.

    Raises:
        InputError: the folder is no such run, or its original weights are gone or have changed.
    """
    folder = output.folder
    check_seed(seed)
    check_language(output.language)
    check_ledger(output.ledger)
    runtime = runtime or Runtime()
    case, config = _recorded(folder, model, data, original, trust_inputs=trust_inputs)
    unlearned = read_checkpoint(inside(folder, WEIGHTS))
    cost = read_json(folder, "cost.json", "total")["total"]
    inputs = _inputs(case, unlearned, options, progress, procedure=config, unlearned_cost=cost)
    say_remarks(case.data, progress)
    _looked(case, inputs, runtime, progress)
    artefacts, pictures, result = audit_artefacts(
        inputs,
        seed=seed,
        runtime=runtime,
        progress=progress,
        options=options,
        include_images=output.include_images,
        earlier=earlier,
    )
    artefacts["access.json"] = _merged(
        read_json(folder, "access.json", "parts", "forget_samples_read"), artefacts["access.json"]
    )
    references = [checkpoint for checkpoint, _ in (*inputs.retrained, *inputs.shadows)]
    step = manifest_record(replace(output, language=None), [case.checkpoint, *references], seed=seed, runtime=runtime)
    add_audit(folder, artefacts, pictures, step=step, language=output.language)
    record(output.ledger, folder)
    note = superseded(folder)
    if note:
        (progress or Silent()).say(note)
    return result.as_dict()


def add_audit(
    folder: Path,
    artefacts: Mapping[str, Any],
    pictures: Pictures,
    *,
    step: Mapping[str, Any] | None = None,
    language: str | None = None,
) -> None:
    """Add an audit and its pictures to a run folder, and write its report again.

    The report is in `language`, or else in the language that it had before.

    Where pictures are deleted from the folder, the old report, which shows them, is deleted with them before the new
    one is written.
    """
    files, drop = pictures.replacing(folder)
    add_to_run(folder, {**artefacts, **files}, step=step, drop=[*drop, REPORT] if drop else ())
    report_run(folder, language=language)


@holding
def audit_pair(
    spec: CaseSpec,
    unlearned: Path,
    output: Output,
    *,
    options: AuditOptions = DEFAULT_AUDIT,
    seed: int = 0,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Audit any two checkpoints, whatever tool saved them, write a run folder, and return the audit.

    Args:
        spec: the weights before forgetting, the data, and what was to be forgotten.
        unlearned: the weights after.
        output: the run folder.
        options: how to look.
        seed, runtime, progress: see `forget_run`.

    Raises:
        InputError: something given cannot be used; nothing has been written.
    """
    original = Path(spec.weights)
    output.check((original, unlearned, *spec.places(), *options.places()))
    check_seed(seed)
    runtime = runtime or Runtime()
    before, after = (read_checkpoint(path, spec.weights_key) for path in (original, unlearned))
    case = Case.opened(spec, reader=READER, source=WeightsSource(path=original), checkpoint=before, progress=progress)
    say_remarks(case.data, progress)
    inputs = _inputs(case, after, options, progress)
    look = _looked(case, inputs, runtime, progress)
    artefacts, pictures, result = audit_artefacts(
        inputs,
        seed=seed,
        runtime=runtime,
        progress=progress,
        options=options,
        include_images=output.include_images,
    )
    artefacts["access.json"] = _without_method(artefacts["access.json"])
    write_run(
        output.folder,
        {
            "request.json": request_record(case),
            "config.json": audit_config(case, unlearned, look=look, seed=seed, runtime=runtime),
            **artefacts,
            **pictures.artefacts(),
        },
        overwrite=output.overwrite,
        manifest=manifest_record(output, [before, after], seed=seed, runtime=runtime),
    )
    report_run(output.folder, language=output.language)
    record(output.ledger, output.folder)
    return result.as_dict()


def _recorded(
    folder: Path, model: str | None, data: str | None, weights: Path | None, *, trust_inputs: bool
) -> tuple[Case, dict[str, Any]]:
    """Open the case that a run folder of `forget` was made from, as it records it; also returns its config.json.

    What is given stands in place of what is recorded.

    Raises:
        InputError: the folder is no such run, its original weights are gone or have changed, or it names code or what
            is not on this machine.
    """
    config = read_json(folder, "config.json", "kind")
    if config.get("kind") != "forget":
        raise OutputError(
            f"Expected a run folder made by `forget`, but {folder} was made by `{config.get('kind')}`; "
            "audit weights files with --original and --unlearned instead."
        )
    config = read_json(
        folder, "config.json", "weights", "model", "data", "image_size", "shape", "mean", "std", "method"
    )
    file = folder / "config.json"
    model = model or recorded_model(config["model"], file)
    data = data or recorded_data(config["data"], file)
    request = read_json(folder, "request.json", "forget", "already_forgotten", "classes")
    manifest = read_json(folder, MANIFEST, "artefacts", "inputs")
    recorded_hashes(folder, manifest)
    key = config.get("weights_key")
    original = read_checkpoint(weights or config["weights"], key)
    if manifest["inputs"].get(config["weights"]) != original.sha256:
        raise OutputError(
            f"Expected the weights that {folder} was made from, but {original.path} has changed since; "
            "audit the two files with --original and --unlearned instead."
        )
    spec = CaseSpec(
        weights=original.path,
        data=data,
        forget=request["forget"],
        already_forgotten=request["already_forgotten"],
        model=model,
        inputs=InputOptions.recorded(config, request["classes"]),
        weights_key=key,
        trust_inputs=trust_inputs or config.get("trust_inputs") is True,
        rows=RowRequest.from_record(request, folder / "request.json"),
    )
    source = WeightsSource(path=original.path)
    return Case.opened(spec, reader=READER, source=source, checkpoint=original), config


def _inputs(
    case: Case,
    unlearned: Checkpoint,
    options: AuditOptions,
    progress: Progress | None,
    *,
    procedure: Mapping[str, Any] | None = None,
    unlearned_cost: Mapping[str, Any] | None = None,
) -> AuditInputs:
    access = AccessLog(case.data)
    access.include(case.access)
    retrained = retrained_for(case, options, access=access, progress=progress)
    references = open_references(case, retrained, options.shadows, judged=unlearned, procedure=procedure)
    return AuditInputs.of(
        case,
        case.with_weights(unlearned),
        references,
        access=access,
        unlearned_cost=unlearned_cost,
    )


def _looked(case: Case, inputs: AuditInputs, runtime: Runtime, progress: Progress | None) -> FirstLook:
    """Take the first look, count it with the audit's reads, and say how images are fed."""
    look = first_look(case, retrained=inputs.retrained, runtime=runtime, progress=progress)
    inputs.access.include(look.access)
    (progress or Silent()).say(feeding_line(case.data, case.classes_origin))
    return look


def _without_method(access: dict[str, Any]) -> dict[str, Any]:
    """Return the counts of an audit whose method is unknown: what the method read is null, not 0."""
    parts = {
        part: {name: counts | {"read_by_method": None} for name, counts in classes.items()}
        for part, classes in access["parts"].items()
    }
    return access | {"forget_samples_read": None, "parts": parts}


def _merged(earlier: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Join the counts of an earlier step with this audit's, for every part and class in either of them.

    Of each count the larger one stands: what was read or decoded once has been, also where the data is gone by now.
    """
    parts: dict[str, dict[str, dict[str, int]]] = {}
    for step in (earlier["parts"], now["parts"]):
        for part, classes in step.items():
            for name, counts in classes.items():
                joined = parts.setdefault(part, {}).setdefault(name, dict.fromkeys(COUNTED, 0))
                joined |= {key: max(joined.get(key, 0), count or 0) for key, count in counts.items()}
    besides = [f"forget_samples_read_by_{reader}" for reader in ("first_look", "naming")]
    forgotten = [counts for part in parts if not part.startswith("retain") for counts in parts[part].values()]
    return {
        "parts": parts,
        "forget_samples_read": earlier["forget_samples_read"],
        "forget_samples_read_by_audit": sum(counts["read_by_audit"] for counts in forgotten),
        "forget_samples_decoded": sum(counts["decoded"] for counts in forgotten),
        **{key: max(step.get(key) or 0 for step in (earlier, now)) for key in besides if key in {*earlier, *now}},
    }
