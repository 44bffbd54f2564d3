"""The step behind `forget`: weights, data and a request -> a run folder; then the audit and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from unlearnkit.errors import UnlearnkitError
from unlearnkit.methods import ConfiguredMethod, Unlearned, unlearn
from unlearnkit.methods.parts import check_parts
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import checkpoint_bytes, read_checkpoint
from unlearnkit.models.hub import resolve_weights
from unlearnkit.models.readme import readme
from unlearnkit.request import ClassRef
from unlearnkit.run_dir import README, WEIGHTS, check_output, write_run
from unlearnkit.runtime.progress import Progress
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.runtime.tracking import tracking, tracking_folder
from unlearnkit.split import split_for
from unlearnkit.steps.audit import add_audit
from unlearnkit.steps.auditing import DEFAULT_AUDIT, AuditInputs, AuditOptions, audit_artefacts
from unlearnkit.steps.opening import (
    Preprocessing,
    card_for,
    load_images,
    model_name,
    open_model,
    request_for,
    retained_shape,
)
from unlearnkit.steps.pictures import NOISE, Pictures, noise
from unlearnkit.steps.references import cost_beside, open_references
from unlearnkit.steps.report import check_language


def forget_run(
    *,
    weights: str | Path,
    data: str,
    forget: Sequence[ClassRef],
    method: ConfiguredMethod,
    method_name: str,
    preset: str = "default",
    overrides: Sequence[str] = (),
    out: Path,
    model: str | None = None,
    already_forgotten: Sequence[ClassRef] = (),
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    tracker: str | None = None,
    overwrite: bool = False,
    audit: AuditOptions | None = DEFAULT_AUDIT,
    include_images: bool = False,
    language: str | None = None,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Forget classes, write the run folder, and go on to the audit and the report; returns a summary.

    `weights` is a safetensors or state_dict file, or `hf-hub:ORG/NAME`. Classes that the weights record as forgotten
    are added to `already_forgotten`. `audit` says how to look at the result; None: not at all. The folder with the new
    weights is written before the audit begins, so a failing audit loses no work. Pictures of samples, and of noise, are
    drawn where the data shows no people, or `include_images` asks for them. `language` is that of the report, now and
    when it is written anew.

    Raises:
        InputError: something given cannot be used; nothing has been written, unless the audit found it, whose message
            then says where the new weights are.
        UnlearnkitError: the work failed; the same holds.
    """
    given = (audit.retrained, audit.shadows) if audit else ((), ())
    found = resolve_weights(str(weights))
    check_output(out, overwrite=overwrite, inputs=(found.path, *chain(*given)))
    check_language(language)
    runtime = runtime or Runtime()
    checkpoint = read_checkpoint(found.path)
    name = model_name(model or found.model, checkpoint)
    images = load_images(data, preprocessing, checkpoint, model=name, hub=found)
    request = request_for(forget, already_forgotten, checkpoint, images.classes)
    split = split_for(request, images)
    check_parts(method, split)
    if audit is None:
        images.fix_shape_for(split)
    else:
        retained_shape(images, split, "the audit (--no-audit leaves it out)")
    original = open_model(name, checkpoint, images)
    procedure = {"method": method_name, "settings": method.model_dump(mode="json")}
    retrained, shadows = open_references(name, *given, images, checkpoint, split.request, procedure=procedure)
    with tracking(tracker, tracking_folder(out), method.model_dump() | {"model": name}, runtime) as track:
        result = unlearn(
            original,
            method,
            images,
            request,
            seed=seed,
            runtime=runtime,
            progress=progress,
            factory=lambda: build_model(name, num_classes=len(images.classes), in_channels=images.shape[0]),
            track=track,
        )
    resolved = result.split.request
    card = card_for(name, images, forgotten=(*resolved.already_forgotten, *resolved.forget))
    summary = _summary(result, out, method_name)
    runtime.processes.leave()
    if not runtime.processes.is_main:
        return summary
    config = {
        "kind": "forget",
        "model": name,
        "weights": str(found.path.absolute()),
        "data": images.source,
        "method": method_name,
        "preset": preset,
        "overrides": list(overrides),
        "settings": method.model_dump(),
        "needs": sorted(part.value for part in method.needs),
        "seed": seed,
        "precision": result.notes["runtime"]["precision"],
        "runtime": result.notes["runtime"],
        "waited_for_data_seconds": images.wait_seconds,
        "image_size": images.image_size,
        "shape": list(images.shape),
        "mean": list(images.mean),
        "std": list(images.std),
        "crop_pct": images.crop_pct,
        "interpolation": images.interpolation,
        "notes": result.notes,
    }
    made = {NOISE: partial(noise, result.images[NOISE], images.classes)} if NOISE in result.images else {}
    pictures = Pictures.drawn(personal=images.personal, include_images=include_images, figures=made)
    write_run(
        out,
        {
            WEIGHTS: checkpoint_bytes(result.model, card),
            README: readme(card, kind="forget", method=method_name, seed=seed, accuracy=None),
            "request.json": {
                "forget": list(resolved.forget_names),
                "forget_ids": list(resolved.forget),
                "already_forgotten": [images.classes[k] for k in resolved.already_forgotten],
                "classes": list(images.classes),
            },
            "config.json": config,
            "access.json": result.access.summary(result.split),
            "cost.json": result.cost,
            "history.json": dict(result.history),
            **pictures.artefacts(),
        },
        overwrite=overwrite,
        manifest={
            "inputs": {str(found.path.absolute()): checkpoint.sha256},
            "seed": seed,
            "device": str(runtime.device),
            "command": list(command),
            **({"language": language} if language else {}),
        },
    )
    if audit is not None:
        inputs = AuditInputs(
            data=images,
            split=result.split,
            original=original,
            unlearned=result.model,
            retrained=retrained,
            shadows=shadows,
            access=result.access,
            costs=cost_beside(retrained, found.path, unlearned=result.cost["total"]),
            model=name,
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
                include_images=include_images,
            )
            add_audit(out, artefacts, drawn)
        except UnlearnkitError as error:
            where = f"The new weights are in {out}; mend this and run `unlearnkit audit {out}`."
            raise type(error)(f"{error} {where}") from error
        summary |= {"audit": judged.as_dict(), "access": artefacts["access.json"]}
    return summary


def _summary(result: Unlearned, out: Path, method: str) -> dict[str, Any]:
    return {
        "out": str(out),
        "method": method,
        "forget": list(result.split.request.forget_names),
        "cost": result.cost["total"],
        "access": result.access.summary(result.split),
        "notes": result.notes,
    }
