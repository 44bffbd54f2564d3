"""Runs the part that all audits share: from models and data to audit.json, access.json and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from torch import nn

from unlearnkit.audit import Audit, Evidence, audit, gather
from unlearnkit.audit.bank import bank_for, priors_for
from unlearnkit.audit.named import named_metrics
from unlearnkit.audit.observe.embedding import embedding
from unlearnkit.audit.observe.gather import IMAGES
from unlearnkit.audit.observe.sampling import StandIns
from unlearnkit.data import AccessLog, DataView, ImageData
from unlearnkit.data.sources.registry import places_of
from unlearnkit.errors import ConfigError
from unlearnkit.request import CLASSES
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part, Split
from unlearnkit.steps.case import Case
from unlearnkit.steps.opening import stand_ins_for
from unlearnkit.steps.pictures import ATTENTION, EMBEDDING, Pictures, attention, plane
from unlearnkit.steps.references import Costs, Opened, cost_beside

QUICK_IMAGES = 2_000


class Depth(StrEnum):
    """How thorough an audit is."""

    QUICK = "quick"  # 2,000 images, and nothing that trains
    DEFAULT = "default"  # 10,000 images
    FULL = "full"  # all images

    @classmethod
    def chosen(cls, *, quick: bool, full: bool) -> Depth:
        """Return the depth that the options --quick and --full ask for."""
        if quick and full:
            raise ConfigError("Expected --quick or --full, but got both; choose one, or neither for the default.")
        return cls.QUICK if quick else cls.FULL if full else cls.DEFAULT


SAMPLES = {Depth.QUICK: QUICK_IMAGES, Depth.DEFAULT: IMAGES, Depth.FULL: None}


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """Options of an audit that do not depend on what is audited.

    Args:
        retrained: weights of models that were trained without the classes.
        references: folder of a reference bank; its models that fit are used beside `retrained`. None: none is asked.
        shadows: weights from which the same method removed the same classes, each made from an original of its own;
            with them and retrained models, U-LiRA is measured.
        head: name of the classifier head; None: it is found.
        depth: how thoroughly.
        audit_data: a source of images that stand in for forgotten classes that are gone.
    """

    retrained: Sequence[Path] = ()
    references: Path | None = None
    shadows: Sequence[Path] = ()
    head: str | None = None
    depth: Depth = Depth.DEFAULT
    audit_data: str | None = None

    def places(self) -> list[Path]:
        """Return what the audit reads on this machine, besides the two models and their data."""
        banks = [self.references] if self.references else []
        return [*self.retrained, *self.shadows, *banks, *places_of(self.audit_data or "")]


DEFAULT_AUDIT = AuditOptions()


@dataclass(frozen=True, kw_only=True)
class AuditInputs:
    """The models to compare, and the data to compare them on."""

    data: ImageData
    split: Split
    original: nn.Module
    unlearned: nn.Module
    retrained: Opened = ()
    shadows: Opened = ()
    access: AccessLog
    costs: Costs
    model: str | None  # name of the architecture, where it is known

    @classmethod
    def of(
        cls,
        case: Case,
        unlearned: nn.Module,
        references: tuple[Opened, Opened],
        *,
        access: AccessLog,
        unlearned_cost: Mapping[str, Any] | None = None,
    ) -> AuditInputs:
        """Return the inputs for the audit of a case.

        Args:
            case: with the original.
            unlearned: the model to judge.
            references: retrained models and shadows to judge it by, see `open_references`.
            access: where reads are counted.
            unlearned_cost: what the unlearned model cost, where that is known.
        """
        retrained, shadows = references
        return cls(
            data=case.data,
            split=case.split,
            original=case.model,
            unlearned=unlearned,
            retrained=retrained,
            shadows=shadows,
            access=access,
            costs=cost_beside(retrained, case.checkpoint.path, unlearned=unlearned_cost),
            model=case.architecture,
        )


def audit_artefacts(
    inputs: AuditInputs,
    *,
    seed: int,
    runtime: Runtime,
    progress: Progress | None,
    options: AuditOptions,
    include_images: bool = False,
    earlier: Evidence | None = None,
) -> tuple[dict[str, dict[str, Any]], Pictures, Audit]:
    """Gather the evidence, apply every metric, and draw the pictures that are allowed.

    `earlier` is what `reference_evidence` gave for the same original, retrained models, data and options: these are
    not run again.

    Returns:
        the artefacts (audit.json, access.json), the pictures, and the audit.
    """
    depth = options.depth
    stand_ins = stand_ins_for(inputs.data, options.audit_data) if options.audit_data else None
    metrics, broken = named_metrics(quick=depth is Depth.QUICK)
    for sentence in broken:
        (progress or Silent()).say(f"left out of the audit: {sentence}")
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
        images=SAMPLES[depth],
        stand_ins=stand_ins,
        head=options.head,
        earlier=earlier,
        shadows=[model for _, model in inputs.shadows],
    )
    bank = bank_for(inputs.data.source, inputs.data.classes, inputs.model or "", inputs.split.request.forget_names)
    result = audit(evidence, metrics, priors=priors_for(bank), progress=progress)
    content = result.as_dict() | {
        "bank": bank.name if bank else None,
        "retrained": _files(inputs.retrained),
        "shadows": _files(inputs.shadows),
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
        }
        if evidence.request.kinds <= CLASSES  # no picture that somebody asked to be forgotten is shown
        else {},
    )
    return {"audit.json": content, "access.json": inputs.access.summary(inputs.split)}, pictures, result


def reference_evidence(
    case: Case, retrained: Opened, *, seed: int, runtime: Runtime, options: AuditOptions
) -> Evidence:
    """Observe the original and the retrained models alone, for several audits that share them (see `audit_artefacts`).

    Args:
        case: with the original.
        retrained: as `open_references` gives them.
        seed, runtime, options: those of the audits.
    """
    metrics, _ = named_metrics(quick=options.depth is Depth.QUICK)
    return gather(
        {"original": case.model, "retrained": [model for _, model in retrained]},
        case.data,
        case.split,
        metrics=metrics.values(),
        seed=seed,
        runtime=runtime,
        costs=cost_beside(retrained, case.checkpoint.path),
        images=SAMPLES[options.depth],
        head=options.head,
    )


def _view(inputs: AuditInputs, stand_ins: ImageData | None, runtime: Runtime) -> DataView:
    view = DataView(
        inputs.data, inputs.split, frozenset(Part), reader="audit", log=inputs.access, device=runtime.device
    )
    return view if stand_ins is None else StandIns(view, stand_ins)


def _files(opened: Opened) -> list[dict[str, str]]:
    return [{"path": str(checkpoint.path.absolute()), "sha256": checkpoint.sha256} for checkpoint, _ in opened]
