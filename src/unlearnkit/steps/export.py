"""Writes the model of a run folder without the outputs of the forgotten classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from unlearnkit.disk.files import inside
from unlearnkit.errors import WeightsError
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import checkpoint_bytes, read_checkpoint
from unlearnkit.models.head import without_outputs
from unlearnkit.request import resolve_classes
from unlearnkit.run_dir import WEIGHTS, write_run
from unlearnkit.steps.opening import model_name
from unlearnkit.steps.output import Output, holding
from unlearnkit.steps.record import export_config, manifest_record


@holding
def export_run(
    folder: Path,
    output: Output,
    *,
    model: str | None = None,
    head: str | None = None,
) -> dict[str, Any]:
    """Remove the forgotten classes' outputs from the model of a run folder, and return a summary.

    The remaining logits stay as they were, which is checked. The new model is built with one output per remaining
    class: `build_model(name, num_classes=...)` loads it, and so does the architecture's own constructor.

    Raises:
        WeightsError: the weights name no forgotten class.
        ModelError: the head is not found, or the remaining logits would change.
    """
    output.check((folder,))
    checkpoint = read_checkpoint(inside(folder, WEIGHTS) if folder.is_dir() else folder)
    card = checkpoint.card
    if card is None or not card.forgotten:
        raise WeightsError(
            f"Expected weights that have forgotten a class, but {checkpoint.path} records none; run `forget` first."
        )
    network = build_model(model_name(model, checkpoint), num_classes=len(card.classes), in_channels=card.shape[0])
    checkpoint.load_into(network)
    forgotten_ids = resolve_classes(card.forgotten, card.classes)
    smaller = without_outputs(network, forgotten_ids, num_classes=len(card.classes), shape=card.shape, name=head)
    kept = tuple(name for k, name in enumerate(card.classes) if k not in forgotten_ids)
    new_card = replace(card, classes=kept, forgotten=(), sharded=None, account=None)
    summary = {"out": str(output.folder), "classes": list(kept), "removed": list(card.forgotten)}
    write_run(
        output.folder,
        {
            WEIGHTS: checkpoint_bytes(smaller, new_card),
            "config.json": export_config(checkpoint, new_card, summary),
        },
        overwrite=output.overwrite,
        manifest=manifest_record(output, [checkpoint]),
    )
    return summary
