"""The step behind `audit`: a run folder, or any pair of checkpoints -> audit.json and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unlearnkit.data import AccessLog, ImageData
from unlearnkit.errors import OutputError
from unlearnkit.models.checkpoint import Checkpoint, read_checkpoint
from unlearnkit.request import ClassRef, ForgetRequest
from unlearnkit.run_dir import MANIFEST, WEIGHTS, add_to_run, check_output, read_json, write_run
from unlearnkit.runtime.progress import Progress
from unlearnkit.runtime.randomness import check_seed
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import split_for
from unlearnkit.steps.auditing import DEFAULT_AUDIT, AuditInputs, AuditOptions, audit_artefacts
from unlearnkit.steps.opening import Preprocessing, load_images, open_model, request_for, retained_shape
from unlearnkit.steps.pictures import Pictures
from unlearnkit.steps.references import cost_beside, open_references
from unlearnkit.steps.report import REPORT, check_language, report_run


def audit_folder(
    folder: Path,
    *,
    options: AuditOptions = DEFAULT_AUDIT,
    model: str | None = None,
    include_images: bool = False,
    seed: int = 0,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    language: str | None = None,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Audit a run folder made by `forget`, and write its audit.json and report.html; returns the audit.

    Pictures of samples that the folder has, and that may not be in it without `include_images`, are deleted. `language`
    is that of the report; None: the one it had before, else English.

    Raises:
        InputError: the folder is no such run, or its original weights are gone or have changed.
    """
    check_seed(seed)
    check_language(language)
    config = read_json(folder, "config.json", "kind")
    if config.get("kind") != "forget":
        raise OutputError(
            f"Expected a run folder made by `forget`, but {folder} was made by `{config.get('kind')}`; "
            "audit weights files with --original and --unlearned instead."
        )
    config = read_json(
        folder, "config.json", "weights", "model", "data", "image_size", "shape", "mean", "std", "method"
    )
    request = read_json(folder, "request.json", "forget", "already_forgotten", "classes")
    original = read_checkpoint(config["weights"])
    recorded = read_json(folder, MANIFEST, "inputs")["inputs"].get(config["weights"])
    if recorded != original.sha256:
        raise OutputError(
            f"Expected the weights that {folder} was made from, but {config['weights']} has changed since; "
            "audit the two files with --original and --unlearned instead."
        )
    name = model or config["model"]
    preprocessing = Preprocessing(
        image_size=config["image_size"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        channels=1 if config["shape"][0] == 1 else 3,
        classes=tuple(request["classes"]),
        crop_pct=config.get("crop_pct"),
        interpolation=config.get("interpolation"),
    )
    inputs = _open(
        name,
        original,
        read_checkpoint(folder / WEIGHTS),
        options,
        load_images(config["data"], preprocessing, original),
        ForgetRequest(classes=tuple(request["forget"]), already_forgotten=tuple(request["already_forgotten"])),
        procedure=config,
    )
    inputs.costs["unlearned", 0] = read_json(folder, "cost.json", "total")["total"]
    runtime = runtime or Runtime()
    artefacts, pictures, result = audit_artefacts(
        inputs,
        seed=seed,
        runtime=runtime,
        progress=progress,
        options=options,
        include_images=include_images,
    )
    artefacts["access.json"] = _merged(
        read_json(folder, "access.json", "parts", "forget_samples_read"), artefacts["access.json"]
    )
    others = (*inputs.retrained, *inputs.shadows)
    step = {
        "command": list(command),
        "seed": seed,
        "device": str(runtime.device),
        "inputs": {str(c.path.absolute()): c.sha256 for c in (original, *(c for c, _ in others))},
    }
    add_audit(folder, artefacts, pictures, step=step, language=language)
    return result.as_dict()


def add_audit(
    folder: Path,
    artefacts: Mapping[str, Any],
    pictures: Pictures,
    *,
    step: Mapping[str, Any] | None = None,
    language: str | None = None,
) -> None:
    """Write an audit and its pictures to a run folder, and the report anew, in a language or the one it had before.

    Drawings that must go take the report with them that shows them, before anything else is done.
    """
    files, drop = pictures.replacing(folder)
    add_to_run(folder, {**artefacts, **files}, step=step, drop=[*drop, REPORT] if drop else ())
    report_run(folder, language=language)


def audit_pair(
    *,
    model: str | None,
    original: Path,
    unlearned: Path,
    data: str,
    forget: Sequence[ClassRef],
    already_forgotten: Sequence[ClassRef] = (),
    out: Path,
    options: AuditOptions = DEFAULT_AUDIT,
    include_images: bool = False,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    language: str | None = None,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Audit any two checkpoints, whatever tool made them, and write a run folder; returns the audit.

    Classes that the original weights record as forgotten are added to `already_forgotten`.

    Raises:
        InputError: something given cannot be used; nothing has been written.
    """
    check_output(out, overwrite=overwrite, inputs=(original, unlearned, *options.retrained, *options.shadows))
    check_seed(seed)
    check_language(language)
    runtime = runtime or Runtime()
    before, after = read_checkpoint(original), read_checkpoint(unlearned)
    images = load_images(data, preprocessing, before, model=model or (before.card.model if before.card else None))
    request = request_for(forget, already_forgotten, before, images.classes)
    inputs = _open(model, before, after, options, images, request)
    artefacts, pictures, result = audit_artefacts(
        inputs,
        seed=seed,
        runtime=runtime,
        progress=progress,
        options=options,
        include_images=include_images,
    )
    artefacts["access.json"] = _without_method(artefacts["access.json"])
    resolved, classes = inputs.split.request, inputs.data.classes
    write_run(
        out,
        {
            "request.json": {
                "forget": list(resolved.forget_names),
                "forget_ids": list(resolved.forget),
                "already_forgotten": [classes[k] for k in resolved.already_forgotten],
                "classes": list(classes),
            },
            "config.json": {
                "kind": "audit",
                "model": model or (before.card.model if before.card else None),
                "weights": str(original.absolute()),
                "unlearned": str(unlearned.absolute()),
                "data": images.source,
                "seed": seed,
                "precision": runtime.precision,
                "image_size": inputs.data.image_size,
                "shape": list(inputs.data.shape),
                "mean": list(inputs.data.mean),
                "std": list(inputs.data.std),
                "crop_pct": inputs.data.crop_pct,
                "interpolation": inputs.data.interpolation,
            },
            **artefacts,
            **pictures.artefacts(),
        },
        overwrite=overwrite,
        manifest={
            "inputs": {str(c.path.absolute()): c.sha256 for c in (before, after)},
            "seed": seed,
            "device": str(runtime.device),
            "command": list(command),
        },
    )
    report_run(out, language=language)
    return result.as_dict()


def _open(
    name: str | None,
    original: Checkpoint,
    unlearned: Checkpoint,
    options: AuditOptions,
    images: ImageData,
    request: ForgetRequest,
    procedure: Mapping[str, Any] | None = None,
) -> AuditInputs:
    split = split_for(request, images)
    retained_shape(images, split, "the audit")
    retrained, shadows = open_references(
        name,
        options.retrained,
        options.shadows,
        images,
        original,
        split.request,
        judged=unlearned,
        procedure=procedure,
    )
    return AuditInputs(
        data=images,
        split=split,
        original=open_model(name, original, images),
        unlearned=open_model(name, unlearned, images),
        retrained=retrained,
        shadows=shadows,
        access=AccessLog(images),
        costs=cost_beside(retrained, original.path),
        model=name or (original.card.model if original.card else None),
    )


def _without_method(access: dict[str, Any]) -> dict[str, Any]:
    """Counts of an audit alone: what the unknown method read is null, not 0."""
    parts = {
        part: {name: counts | {"read_by_method": None} for name, counts in classes.items()}
        for part, classes in access["parts"].items()
    }
    return access | {"forget_samples_read": None, "parts": parts}


def _merged(earlier: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Join the counts of an earlier step with this audit's, for every part and class that either of them saw.

    Of each count the larger one stands: what was read or decoded once has been, also where the data is gone by now.
    """
    parts: dict[str, dict[str, dict[str, int]]] = {}
    for step in (earlier["parts"], now["parts"]):
        for part, classes in step.items():
            for name, counts in classes.items():
                joined = parts.setdefault(part, {}).setdefault(name, dict.fromkeys(counts, 0))
                joined |= {key: max(joined.get(key, 0), count) for key, count in counts.items()}
    forgotten = [counts for part in parts if not part.startswith("retain") for counts in parts[part].values()]
    return {
        "parts": parts,
        "forget_samples_read": earlier["forget_samples_read"],
        "forget_samples_read_by_audit": sum(counts["read_by_audit"] for counts in forgotten),
        "forget_samples_decoded": sum(counts["decoded"] for counts in forgotten),
    }
