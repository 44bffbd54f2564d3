"""Makes a model forget classes and writes a run folder; then audits it and writes the report."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from unlearnkit.data import AccessLog
from unlearnkit.data.sources.registry import is_local
from unlearnkit.errors import RetainedAccuracyError, UnlearnkitError
from unlearnkit.methods import Unlearned, unlearn
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.methods.parts import check_parts
from unlearnkit.methods.safeguard import LOST, TOLERANCE
from unlearnkit.methods.sisa import SISA
from unlearnkit.models import is_trusted_name
from unlearnkit.models.checkpoint import checkpoint_bytes, transformers_files
from unlearnkit.models.hub import resolve_weights
from unlearnkit.models.metadata import Account
from unlearnkit.models.readme import readme
from unlearnkit.report.sentences import plain, read_doubt
from unlearnkit.report.words import ENGLISH
from unlearnkit.run_dir import README, WEIGHTS, write_run
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.runtime.tracking import tracking, tracking_folder
from unlearnkit.steps.audit import add_audit
from unlearnkit.steps.auditing import DEFAULT_AUDIT, AuditInputs, AuditOptions, audit_artefacts
from unlearnkit.steps.banked import retrained_for
from unlearnkit.steps.case import Case
from unlearnkit.steps.feeding import feeding_line
from unlearnkit.steps.first_look import first_look
from unlearnkit.steps.ledger import record
from unlearnkit.steps.opening import card_for
from unlearnkit.steps.output import Output, holding
from unlearnkit.steps.pictures import NOISE, Pictures, noise
from unlearnkit.steps.record import forget_config, manifest_record, request_record
from unlearnkit.steps.references import open_references
from unlearnkit.steps.remarks import say_remarks
from unlearnkit.steps.special_training import privacy_of_request, with_weights
from unlearnkit.steps.specs import CaseSpec


@holding
def forget_run(
    spec: CaseSpec,
    choice: MethodChoice,
    output: Output,
    *,
    audit: AuditOptions | None = DEFAULT_AUDIT,
    seed: int = 0,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    tracker: str | None = None,
    tolerance: float = TOLERANCE,
    strict: bool = False,
) -> dict[str, Any]:
    """Forget classes, write the run folder, audit and report; return a summary.

    The folder with the new weights is written before the audit begins, so a failing audit loses no work. Pictures of
    samples, and of noise, are drawn where the data shows no people, or `output.include_images` asks for them.

    Args:
        spec: weights, data, and what is to be forgotten.
        choice: the method.
        output: the run folder.
        audit: how to look at the result; None: not at all.
        seed: of every random draw.
        runtime: device, precision, processes.
        progress: where progress is shown.
        tracker: name of an experiment tracker.
        tolerance: retained validation accuracy that may be lost, as a fraction.
        strict: write nothing where more is lost.

    Raises:
        RetainedAccuracyError: more was lost, and `strict`.
        InputError: something given cannot be used; nothing has been written, unless the audit found it, whose message
            then says where the new weights are.
        UnlearnkitError: the work failed; the same holds.
    """
    method = choice.make()
    source = resolve_weights(str(spec.weights))
    output.check((source.path, *spec.places(), *(audit.places() if audit else ())))
    runtime = runtime or Runtime()
    case = Case.opened(
        spec,
        reader=None if audit is None else "the audit (--no-audit leaves it out)",
        source=source,
        check=partial(check_parts, method),
        progress=progress,
    )
    method = with_weights(method, case.checkpoint.path, case.architecture)
    procedure = {"method": choice.name, "settings": method.model_dump(mode="json")}
    bank_access = AccessLog(case.data)
    retrained = retrained_for(case, audit, access=bank_access, progress=progress) if audit else ()
    references = open_references(case, retrained, audit.shadows if audit else (), procedure=procedure)
    say_remarks(case.data, progress)
    look = first_look(case, retrained=references[0], runtime=runtime, progress=progress)
    look.access.include(bank_access)
    look.access.include(case.access)
    out, images = output.folder, case.data
    parameters = method.model_dump() | {"model": case.architecture}
    with tracking(tracker, tracking_folder(out), parameters, runtime) as track:
        (progress or Silent()).say(feeding_line(images, case.classes_origin))
        result = unlearn(
            case.model,
            method,
            images,
            case.request,
            seed=seed,
            runtime=runtime,
            progress=progress,
            factory=case.fresh,
            track=track,
            access=look.access,
            tolerance=tolerance,
            account=case.checkpoint.card.account if case.checkpoint.card else None,
        )
    if strict:
        _refuse_harm(result)
    resolved = result.split.request
    gone = (*resolved.already_forgotten, *resolved.forget)
    known = case.checkpoint.card
    left = result.notes.get("account")
    card = replace(
        card_for(
            case.architecture,
            images,
            forgotten=gone,
            rows=case.rows.forgotten(),
            account=Account(**left) if left else None,
        ),
        sharded=known.sharded if known and isinstance(method, SISA) else None,
    )
    if (privacy := privacy_of_request(known, result.split)) is not None:
        result.notes["privacy"] = privacy
    summary = _summary(result, out, choice.name)
    summary |= {"weights_note": case.weights_note, "stronger": dict(method.stronger())}
    runtime.processes.leave()
    if not runtime.processes.is_main:
        return summary
    figures = {NOISE: partial(noise, result.images[NOISE], images.classes)} if NOISE in result.images else {}
    pictures = Pictures.drawn(personal=images.personal, include_images=output.include_images, figures=figures)
    write_run(
        out,
        {
            WEIGHTS: checkpoint_bytes(result.model, card),
            **transformers_files(result.model, card),
            README: readme(card, kind="forget", method=choice.name, seed=seed, accuracy=None),
            "request.json": request_record(case),
            "config.json": forget_config(case, choice, method, result, look=look, seed=seed),
            "access.json": result.access.summary(result.split),
            "cost.json": result.cost,
            "history.json": dict(result.history),
            **result.files,
            **pictures.artefacts(),
        },
        overwrite=output.overwrite,
        manifest=manifest_record(output, [case.checkpoint], seed=seed, runtime=runtime),
    )
    record(output.ledger, out)
    if audit is not None:
        inputs = AuditInputs.of(
            case, result.model, references, access=result.access, unlearned_cost=result.cost["total"]
        )
        try:
            # fp64 is for comparing weights; the audit then runs in the precision of the weights that were written
            auditing = replace(runtime, precision="auto") if runtime.precision == "fp64" else runtime
            artefacts, drawn, judged = audit_artefacts(
                inputs,
                seed=seed,
                runtime=auditing,
                progress=progress,
                options=audit,
                include_images=output.include_images,
            )
            add_audit(out, artefacts, drawn)
        except UnlearnkitError as error:
            where = f"The new weights are in {out}; mend this and run `{_again(case, out)}`."
            raise type(error)(f"{error} {where}") from error
        record(output.ledger, out)
        summary |= {"audit": judged.as_dict(), "access": artefacts["access.json"]}
    return summary


def _refuse_harm(result: Unlearned) -> None:
    kept = result.notes.get("safeguard")
    if kept is not None and kept["code"] == LOST:
        raise RetainedAccuracyError(
            f"Expected to lose at most {kept['values']['tolerance']:.1%} of the retained accuracy, but "
            f"{plain(read_doubt(kept, 'the run'), ENGLISH)}; nothing was written. Let the method do less, raise "
            "--tolerance, or leave out --strict."
        )


def _again(case: Case, out: Path) -> str:
    """Return the command that audits the run folder again, with what it may not take from the folder alone."""
    model = [] if is_trusted_name(case.architecture) else ["--model", case.architecture]
    data = [] if is_local(case.data.source) else ["--data", case.data.source]
    return shlex.join(["unlearnkit", "audit", str(out), *model, *data])


def _summary(result: Unlearned, out: Path, method: str) -> dict[str, Any]:
    return {
        "out": str(out),
        "method": method,
        "forget": list(result.split.request.forget_names),
        "forget_rows": len(result.split.request.train_rows),
        "cost": result.cost["total"],
        "access": result.access.summary(result.split),
        "notes": result.notes,
    }
