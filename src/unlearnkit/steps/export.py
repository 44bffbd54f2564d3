"""The step behind `export`: a run folder -> a smaller model without the forgotten outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from unlearnkit.errors import WeightsError
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import checkpoint_bytes, read_checkpoint
from unlearnkit.models.head import without_outputs
from unlearnkit.request import resolve_classes
from unlearnkit.run_dir import WEIGHTS, check_output, write_run
from unlearnkit.steps.opening import model_name


def export_run(
    folder: Path,
    *,
    out: Path,
    model: str | None = None,
    head: str | None = None,
    overwrite: bool = False,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Cut the forgotten classes' outputs off the model of a run folder; returns a summary.

    The remaining logits stay as they were, which is checked. The new model is built with one output per remaining
    class: `build_model(name, num_classes=...)` loads it, and so does the architecture's own constructor.

    Raises:
        WeightsError: the weights name no forgotten class.
        ModelError: the head is not found, or the remaining logits would change.
    """
    check_output(out, overwrite=overwrite, inputs=(folder,))
    checkpoint = read_checkpoint(folder / WEIGHTS if folder.is_dir() else folder)
    card = checkpoint.card
    if card is None or not card.forgotten:
        raise WeightsError(
            f"Expected weights that have forgotten a class, but {checkpoint.path} records none; run `forget` first."
        )
    network = build_model(model_name(model, checkpoint), num_classes=len(card.classes), in_channels=card.shape[0])
    checkpoint.load_into(network)
    gone = resolve_classes(card.forgotten, card.classes)
    smaller = without_outputs(network, gone, num_classes=len(card.classes), shape=card.shape, name=head)
    kept = tuple(name for k, name in enumerate(card.classes) if k not in gone)
    new_card = replace(card, classes=kept, forgotten=())
    summary = {"out": str(out), "classes": list(kept), "removed": list(card.forgotten)}
    write_run(
        out,
        {
            WEIGHTS: checkpoint_bytes(smaller, new_card),
            "config.json": {"kind": "export", "from": str(checkpoint.path.absolute()), **summary, **asdict(new_card)},
        },
        overwrite=overwrite,
        manifest={"inputs": {str(checkpoint.path.absolute()): checkpoint.sha256}, "command": list(command)},
    )
    return summary
