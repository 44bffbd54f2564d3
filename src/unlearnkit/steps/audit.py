"""The step behind `audit`: models and data -> audit.json, for a run folder or for any pair of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from torch import nn

from unlearnkit.audit import METRICS, QUICK, Audit, audit, gather
from unlearnkit.audit.bank import bank_for
from unlearnkit.audit.embedding import embedding
from unlearnkit.audit.gather import IMAGES
from unlearnkit.audit.reading import ModelName
from unlearnkit.audit.sampling import StandIns
from unlearnkit.data import AccessLog, DataView, ImageData
from unlearnkit.errors import ConfigError, OutputError
from unlearnkit.models.checkpoint import Checkpoint, read_checkpoint
from unlearnkit.request import ClassRef, ForgetRequest
from unlearnkit.run_dir import MANIFEST, WEIGHTS, add_to_run, check_output, read_json, write_run
from unlearnkit.runlog import Progress
from unlearnkit.runtime import Runtime, check_seed
from unlearnkit.split import Part, Split, split_for
from unlearnkit.steps.common import (
    Preprocessing,
    load_images,
    open_model,
    open_retrained,
    request_for,
    retained_shape,
    stand_ins_for,
)
from unlearnkit.steps.pictures import ATTENTION, EMBEDDING, Pictures, attention, plane
from unlearnkit.steps.report import REPORT, check_language, report_run

Costs = dict[tuple[ModelName, int], Mapping[str, Any]]
QUICK_IMAGES = 2_000


class Depth(StrEnum):
    """How thoroughly to look."""

    QUICK = "quick"  # 2,000 images, and nothing that trains
    DEFAULT = "default"  # 10,000 images
    FULL = "full"  # all images

    @classmethod
    def chosen(cls, *, quick: bool, full: bool) -> Depth:
        """Return the depth that the options --quick and --full ask for."""
        if quick and full:
            raise ConfigError("Expected --quick or --full, but got both; choose one, or neither for the default.")
        return cls.QUICK if quick else cls.FULL if full else cls.DEFAULT


@dataclass(frozen=True, kw_only=True)
class AuditInputs:
    """The models to compare, and the data to compare them on."""

    data: ImageData
    split: Split
    original: nn.Module
    unlearned: nn.Module
    retrained: Sequence[tuple[Checkpoint, nn.Module]]
    access: AccessLog
    costs: Costs
    model: str | None  # name of the architecture, where it is known


def audit_artefacts(
    inputs: AuditInputs,
    *,
    seed: int,
    runtime: Runtime,
    progress: Progress | None,
    head: str | None = None,
    depth: Depth = Depth.DEFAULT,
    audit_data: str | None = None,
    include_images: bool = False,
) -> tuple[dict[str, dict[str, Any]], Pictures, Audit]:
    """Gather the evidence, apply every metric, and draw what may be drawn.

    Returns:
        the artefacts (audit.json, access.json), the pictures, and the audit.
    """
    stand_ins = stand_ins_for(inputs.data, audit_data) if audit_data else None
    metrics = QUICK if depth is Depth.QUICK else METRICS
    evidence = gather(
        {
            "original": inputs.original,
            "unlearned": inputs.unlearned,
            "retrained": [model for _, model in inputs.retrained],
        },
        inputs.data,
        inputs.split,
        metrics=metrics.values(),
        seed=seed,
        runtime=runtime,
        access=inputs.access,
        costs=inputs.costs,
        progress=progress,
        images={Depth.QUICK: QUICK_IMAGES, Depth.DEFAULT: IMAGES, Depth.FULL: None}[depth],
        stand_ins=stand_ins,
        head=head,
    )
    bank = bank_for(inputs.data.source, inputs.data.classes, inputs.model or "", inputs.split.request.forget_names)
    result = audit(evidence, metrics, priors=bank.priors if bank else None, progress=progress)
    content = result.as_dict() | {
        "bank": bank.name if bank else None,
        "retrained": [{"path": str(c.path.absolute()), "sha256": c.sha256} for c, _ in inputs.retrained],
        "seed": seed,
        "depth": depth.value,
        "stand_ins": stand_ins.source if stand_ins else None,
    }
    shown = {"original": inputs.original, "unlearned": inputs.unlearned}
    if inputs.retrained:
        shown["retrained"] = inputs.retrained[0][1]
    pictures = Pictures.drawn(
        personal=inputs.data.personal or (stand_ins is not None and stand_ins.personal),
        include_images=include_images,
        figures={
            EMBEDDING: lambda: plane(embedding(evidence)),
            ATTENTION: lambda: attention(
                shown, _view(inputs, stand_ins, runtime), runtime=runtime, quick=depth is Depth.QUICK
            ),
        },
    )
    return {"audit.json": content, "access.json": inputs.access.summary(inputs.split)}, pictures, result


def _view(inputs: AuditInputs, stand_ins: ImageData | None, runtime: Runtime) -> DataView:
    view = DataView(
        inputs.data, inputs.split, frozenset(Part), reader="audit", log=inputs.access, device=runtime.device
    )
    return view if stand_ins is None else StandIns(view, stand_ins)


def audit_folder(
    folder: Path,
    *,
    retrained: Sequence[Path] = (),
    model: str | None = None,
    head: str | None = None,
    depth: Depth = Depth.DEFAULT,
    audit_data: str | None = None,
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
    config = read_json(folder, "config.json", "weights", "model", "data", "image_size", "shape", "mean", "std")
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
        retrained,
        load_images(config["data"], preprocessing, original),
        ForgetRequest(classes=tuple(request["forget"]), already_forgotten=tuple(request["already_forgotten"])),
    )
    inputs.costs["unlearned", 0] = read_json(folder, "cost.json", "total")["total"]
    runtime = runtime or Runtime()
    artefacts, pictures, result = audit_artefacts(
        inputs,
        seed=seed,
        runtime=runtime,
        progress=progress,
        head=head,
        depth=depth,
        audit_data=audit_data,
        include_images=include_images,
    )
    artefacts["access.json"] = _merged(
        read_json(folder, "access.json", "parts", "forget_samples_read"), artefacts["access.json"]
    )
    step = {
        "command": list(command),
        "seed": seed,
        "device": str(runtime.device),
        "inputs": {str(c.path.absolute()): c.sha256 for c in (original, *(c for c, _ in inputs.retrained))},
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
    retrained: Sequence[Path] = (),
    head: str | None = None,
    depth: Depth = Depth.DEFAULT,
    audit_data: str | None = None,
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
    check_output(out, overwrite=overwrite, inputs=(original, unlearned, *retrained))
    check_seed(seed)
    check_language(language)
    runtime = runtime or Runtime()
    before, after = read_checkpoint(original), read_checkpoint(unlearned)
    images = load_images(data, preprocessing, before, model=model or (before.card.model if before.card else None))
    request = request_for(forget, already_forgotten, before, images.classes)
    inputs = _open(model, before, after, retrained, images, request)
    artefacts, pictures, result = audit_artefacts(
        inputs,
        seed=seed,
        runtime=runtime,
        progress=progress,
        head=head,
        depth=depth,
        audit_data=audit_data,
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


def cost_beside(
    retrained: Sequence[tuple[Checkpoint, nn.Module]], original: Path, *, unlearned: Mapping[str, Any] | None = None
) -> Costs:
    """Costs recorded beside the weights of the original and the retrained models, and the unlearned model's own."""
    costs: Costs = {} if unlearned is None else {("unlearned", 0): unlearned}
    places: list[tuple[ModelName, int, Path]] = [("original", 0, original)]
    places += [("retrained", i, checkpoint.path) for i, (checkpoint, _) in enumerate(retrained)]
    for name, replicate, path in places:
        if not (path.parent / MANIFEST).is_file() or not (path.parent / "cost.json").is_file():
            continue  # weights of another tool; a cost.json of theirs means something else
        costs[name, replicate] = read_json(path.parent, "cost.json", "total")["total"]
    return costs


def _open(
    name: str | None,
    original: Checkpoint,
    unlearned: Checkpoint,
    retrained: Sequence[Path],
    images: ImageData,
    request: ForgetRequest,
) -> AuditInputs:
    split = split_for(request, images)
    retained_shape(images, split)
    references = open_retrained(name, retrained, images, original, split.request, judged=unlearned)
    return AuditInputs(
        data=images,
        split=split,
        original=open_model(name, original, images),
        unlearned=open_model(name, unlearned, images),
        retrained=references,
        access=AccessLog(images),
        costs=cost_beside(references, original.path),
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
