"""The step behind `forget`: weights, data and a request -> a run folder; then the audit and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearnkit.errors import UnlearnkitError
from unlearnkit.methods import ConfiguredMethod, Unlearned, unlearn
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import checkpoint_bytes, read_checkpoint
from unlearnkit.request import ClassRef
from unlearnkit.run_dir import WEIGHTS, add_to_run, check_output, write_run
from unlearnkit.runlog import Progress
from unlearnkit.runtime import Runtime
from unlearnkit.split import split_for
from unlearnkit.steps.audit import AuditInputs, audit_artefacts, cost_beside
from unlearnkit.steps.common import (
    Preprocessing,
    card_for,
    load_images,
    model_name,
    open_model,
    open_retrained,
    request_for,
    retained_shape,
)
from unlearnkit.steps.report import report_run


def forget_run(
    *,
    weights: Path,
    data: str,
    forget: Sequence[ClassRef],
    method: ConfiguredMethod,
    method_name: str,
    preset: str = "default",
    overrides: Sequence[str] = (),
    out: Path,
    model: str | None = None,
    already_forgotten: Sequence[ClassRef] = (),
    retrained: Sequence[Path] = (),
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    with_audit: bool = True,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Forget classes, write the run folder, and go on to the audit and the report; returns a summary.

    Classes that the weights record as forgotten are added to `already_forgotten`. The folder with the new weights is
    written before the audit begins, so a failing audit loses no work.

    Raises:
        InputError: something given cannot be used; nothing has been written, unless the audit found it, whose message
            then says where the new weights are.
        UnlearnkitError: the work failed; the same holds.
    """
    check_output(out, overwrite=overwrite, inputs=(weights, *retrained))
    runtime = runtime or Runtime()
    checkpoint = read_checkpoint(weights)
    name = model_name(model, checkpoint)
    images = load_images(data, preprocessing, checkpoint)
    request = request_for(forget, already_forgotten, checkpoint, images.classes)
    split = split_for(request, images)
    retained_shape(images, split)
    original = open_model(name, checkpoint, images)
    references = open_retrained(model, retrained, images, checkpoint, split.request) if with_audit else []
    result = unlearn(
        original,
        method,
        images,
        request,
        seed=seed,
        runtime=runtime,
        progress=progress,
        factory=lambda: build_model(name, num_classes=len(images.classes), in_channels=images.shape[0]),
    )
    resolved = result.split.request
    card = card_for(name, images, forgotten=(*resolved.already_forgotten, *resolved.forget))
    config = {
        "kind": "forget",
        "model": name,
        "weights": str(weights.absolute()),
        "data": images.source,
        "method": method_name,
        "preset": preset,
        "overrides": list(overrides),
        "settings": method.model_dump(),
        "needs": sorted(part.value for part in method.needs),
        "seed": seed,
        "precision": runtime.precision,
        "image_size": images.image_size,
        "shape": list(images.shape),
        "mean": list(images.mean),
        "std": list(images.std),
        "notes": result.notes,
    }
    write_run(
        out,
        {
            WEIGHTS: checkpoint_bytes(result.model, card),
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
        },
        overwrite=overwrite,
        manifest={
            "inputs": {str(weights.absolute()): checkpoint.sha256},
            "seed": seed,
            "device": str(runtime.device),
            "command": list(command),
        },
    )
    summary = _summary(result, out, method_name)
    if with_audit:
        inputs = AuditInputs(
            data=images,
            split=result.split,
            original=original,
            unlearned=result.model,
            retrained=references,
            access=result.access,
            costs=cost_beside(references, weights, unlearned=result.cost["total"]),
        )
        try:
            artefacts, audit = audit_artefacts(inputs, seed=seed, runtime=runtime, progress=progress)
            add_to_run(out, artefacts)
            report_run(out)
        except UnlearnkitError as error:
            where = f"The new weights are in {out}; mend this and run `unlearnkit audit {out}`."
            raise type(error)(f"{error} {where}") from error
        summary |= {"audit": audit.as_dict(), "access": artefacts["access.json"]}
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
