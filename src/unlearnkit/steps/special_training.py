"""Runs the trainings that promise something of single samples: in shards (SISA), or with differential privacy.

Both are recorded with the weights, so that a later request can be served, or be told what was promised.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from unlearnkit.data import DataView, ImageData
from unlearnkit.disk.files import inside
from unlearnkit.errors import ConfigError, WeightsError
from unlearnkit.methods.choice import RECOMMENDED
from unlearnkit.methods.method import ConfiguredMethod
from unlearnkit.methods.sisa import SISA, SLICES, assembled, slice_name
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import file_sha256, read_card
from unlearnkit.models.ensemble import check_ensemble
from unlearnkit.models.metadata import ModelCard
from unlearnkit.models.names import shards_of
from unlearnkit.run_dir import MANIFEST, read_json
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part, Split
from unlearnkit.steps.specs import TrainSpec
from unlearnkit.training.group_privacy import for_request
from unlearnkit.training.private import PrivateTraining, train_private
from unlearnkit.training.recipe import Recipe
from unlearnkit.training.sharding import ShardedTraining, ShardTrainer, check_sharding


@dataclass(frozen=True, kw_only=True)
class Special:
    """What came of such a training.

    Args:
        model: the trained model.
        sharded, private: the record of the training, for the model's card.
        files: further files of the run folder.
    """

    model: nn.Module
    sharded: dict[str, Any] | None = None
    private: dict[str, Any] | None = None
    files: dict[str, bytes] = field(default_factory=dict)


def check_special(spec: TrainSpec, *, resume: bool) -> None:
    """Refuse options that such a training does not have.

    Raises:
        ConfigError: one is given.
    """
    if shards_of(spec.model) is not None:
        raise ConfigError(
            f"Expected the architecture of one network, but got {spec.model!r}; write --model "
            f"{(shards_of(spec.model) or (0, ''))[1]} and --shards."
        )
    if spec.sharding is None and spec.privacy is None:
        return
    option = "--shards" if spec.sharding is not None else "--dp-epsilon"
    if spec.sharding is not None and spec.privacy is not None:
        raise ConfigError("Expected --shards or --dp-epsilon, but got both; leave one of them out.")
    if resume:
        raise ConfigError(f"Expected no --resume with {option}, whose trainings cannot be resumed; begin it anew.")
    if spec.init or (spec.pretrained and spec.sharding):
        given = "--init" if spec.init else "--pretrained"
        raise ConfigError(
            f"Expected fresh networks for {option}, as weights to start from may know the training samples, but got "
            f"{given}; leave it out."
        )


def train_special(
    spec: TrainSpec,
    view: DataView,
    images: ImageData,
    network: nn.Module,
    recipe: Recipe,
    runtime: Runtime,
    log: RunLog,
    *,
    generator: torch.Generator,
    seed: int,
) -> Special:
    """Train in shards, or with differential privacy.

    Args:
        spec: asks for one of them.
        view: allows `retain_train`.
        images: the data.
        network: of the architecture, fresh, on the run's device.
        recipe, runtime, log: of the run.
        generator: of the private training's draws.
        seed: of the run.

    Raises:
        ConfigError, ModelError: the data, the architecture or the recipe does not suit.
        NonFiniteLossError: a loss became NaN or infinite.
    """
    if spec.privacy is not None:
        samples = view.part(Part.RETAIN_TRAIN)
        statement = train_private(
            network, samples, recipe, spec.privacy, stage="train", generator=generator, runtime=runtime, log=log
        )
        return Special(model=network, private=statement.model_dump())
    assert spec.sharding is not None
    if runtime.processes.count > 1:
        raise ConfigError("Expected one process for --shards, but a launcher started several; start it without.")
    width = len(images.classes)
    check_ensemble(network, num_classes=width, shape=images.shape)
    plan = ShardedTraining.planned(spec.sharding, rows=len(images.labels("train")), seed=seed, recipe=recipe)
    rows = view.split[Part.RETAIN_TRAIN]
    for sentence in check_sharding(plan, rows, images.labels("train")[rows], images.classes):
        log.progress.say(f"note: {sentence}, as samples are drawn without a look at their classes")
    build = partial(build_model, spec.model, num_classes=width, in_channels=images.shape[0])
    trainer = ShardTrainer(plan=plan, view=view, build=build, runtime=runtime, log=log)
    states = [trainer.train(shard) for shard in range(plan.shards)]
    files = {
        slice_name(shard, number): save(state)
        for shard, after_slices in enumerate(states)
        for number, state in enumerate(after_slices)
    }
    log.notes["sharded"] = {
        "slice_epochs": plan.slice_epochs,
        "passes": plan.passes(rows),
        "aggregation": "mean logits",
    }
    model = assembled(build(), [after_slices[-1] for after_slices in states], width)
    return Special(model=runtime.weights(model), sharded=plan.model_dump(mode="json"), files=files)


def default_method(weights: str) -> str:
    """Return the method that `forget` uses where none is named: SISA for a model trained in shards."""
    card = read_card(Path(weights)) if Path(weights).is_file() else None
    return RECOMMENDED if card is None or card.sharded is None else SISA.name


def with_weights(method: ConfiguredMethod, weights: Path, architecture: str) -> ConfiguredMethod:
    """Tell SISA where its states lie; every other method stays as it is.

    Raises:
        WeightsError: a state has changed since the run folder was written.
    """
    if not isinstance(method, SISA):
        return method
    folder = weights.parent
    recorded = read_json(folder, MANIFEST, "artefacts")["artefacts"] if (folder / MANIFEST).is_file() else {}
    for name, digest in recorded.items():
        path = inside(folder, name)
        if name.startswith(f"{SLICES}/") and path.is_file() and file_sha256(path) != digest:
            raise WeightsError(f"Expected the state in {path} as it was written, but it has changed since; train anew.")
    known = {"weights": method.weights or str(weights.absolute()), "model": method.model or architecture}
    return method.model_copy(update=known)


def privacy_of_request(card: ModelCard | None, split: Split) -> dict[str, Any] | None:
    """Return what the differential privacy of the original's training says of a request; None: it had none."""
    if card is None or card.private is None:
        return None
    statement = PrivateTraining(**card.private)
    rows = len(split[Part.FORGET_TRAIN]) - len(split.never_learned)
    asked = for_request(statement.epsilon, statement.delta, rows)
    code = "request_privacy_vacuous" if asked.vacuous else "request_privacy"
    return {"code": code, "values": {"one": statement.epsilon, "one_delta": statement.delta, **asked.as_record()}}
