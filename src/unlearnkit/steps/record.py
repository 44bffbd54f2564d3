"""Builds the records of a run folder besides results: config.json, request.json, and part of the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from unlearnkit.data import ImageData
from unlearnkit.data.preprocessing import Origin
from unlearnkit.data.remarks import remarks_on
from unlearnkit.methods import ConfiguredMethod, Unlearned
from unlearnkit.methods.choice import MethodChoice
from unlearnkit.models.checkpoint import Checkpoint
from unlearnkit.models.metadata import ModelCard
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.case import Case
from unlearnkit.steps.feeding import origins_record
from unlearnkit.steps.first_look import FirstLook
from unlearnkit.steps.opening import InputOptions, classes_origin
from unlearnkit.steps.output import Output
from unlearnkit.steps.special_training import privacy_of_request
from unlearnkit.steps.specs import SearchSpec, TrainSpec
from unlearnkit.training.recipe import Recipe
from unlearnkit.tuning import Tuned


def preprocessing_record(data: ImageData, classes: Origin) -> dict[str, Any]:
    """How images were fed to the model, the same keys in every config.json; `InputOptions.recorded` reads them.

    Args:
        data: the images.
        classes: where the order of the classes came from; `origins` says it of everything.
    """
    fed = data.preprocessing.as_record()
    return {
        "image_size": fed.pop("image_size"),
        "shape": list(data.shape),
        **fed,
        "origins": origins_record(data, classes),
    }


def data_record(data: ImageData, inputs: InputOptions) -> dict[str, Any]:
    """The data in every config.json: the source, the columns that were asked for, and the remarks on it."""
    return {
        "data": data.source,
        "image_column": inputs.image_column,
        "label_column": inputs.label_column,
        "data_remarks": list(remarks_on(data)),
    }


def request_record(case: Case) -> dict[str, Any]:
    """Return the content of request.json: the classes by name and id, the class list, and the rows if there are any."""
    resolved = case.split.request
    return {
        "forget": list(resolved.forget_names),
        "forget_ids": list(resolved.forget),
        "already_forgotten": [case.classes[k] for k in resolved.already_forgotten],
        "classes": list(case.classes),
        **case.rows.as_record(case.data, case.split),
    }


def manifest_record(
    output: Output, inputs: Sequence[Checkpoint], *, seed: int | None = None, runtime: Runtime | None = None
) -> dict[str, Any]:
    """Return what manifest.json says about how a folder was made; also an entry of its `later_steps`.

    Args:
        output: its command, and its language where one is chosen.
        inputs: the weights that were read.
        seed, runtime: of a step that draws and computes.
    """
    return {
        "inputs": {str(checkpoint.path.absolute()): checkpoint.sha256 for checkpoint in inputs},
        **({} if seed is None else {"seed": seed}),
        **({} if runtime is None else {"device": str(runtime.device)}),
        "command": list(output.command),
        **({"language": output.language} if output.language else {}),
    }


def train_config(
    spec: TrainSpec,
    data: ImageData,
    card: ModelCard,
    recipe: Recipe,
    runtime: Runtime,
    *,
    start: Checkpoint | None,
    seed: int,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """config.json of `train`; `start` is what it began with, `facts` are what came of it."""
    return {
        "kind": "train",
        "model": spec.architecture,
        **data_record(data, spec.inputs),
        "exclude": list(card.forgotten),
        "init": str(spec.init) if spec.init else None,
        **({"weights_key": spec.weights_key} if spec.weights_key is not None else {}),
        "pretrained": spec.pretrained,
        "seed": seed,
        "recipe": recipe.model_dump(),
        "precision": runtime.precision,
        "runtime": runtime.described(),
        "waited_for_data_seconds": data.wait_seconds,
        **preprocessing_record(data, classes_origin(start, spec.inputs)),
        **facts,
    }


def forget_config(
    case: Case, choice: MethodChoice, method: ConfiguredMethod, result: Unlearned, *, look: FirstLook, seed: int
) -> dict[str, Any]:
    """Return the config.json of `forget`."""
    return {
        "kind": "forget",
        **_opened(case),
        **choice.as_record(),
        "settings": method.model_dump(),
        "needs": _needs(method),
        "stronger": dict(method.stronger()),
        "seed": seed,
        "precision": result.notes["runtime"]["precision"],
        "runtime": result.notes["runtime"],
        "waited_for_data_seconds": case.data.wait_seconds,
        **_fed(case, look),
        "notes": result.notes,
    }


def tune_config(
    case: Case,
    choice: MethodChoice,
    method: ConfiguredMethod,
    search: SearchSpec,
    tuned: Tuned,
    *,
    look: FirstLook,
    seed: int,
) -> dict[str, Any]:
    """Return the config.json of `tune`."""
    request = request_record(case)
    return {
        "kind": "tune",
        **_opened(case),
        "forget": request["forget"],
        "already_forgotten": request["already_forgotten"],
        **choice.as_record(),
        "needs": _needs(method),
        "space": {key: asdict(bounds) for key, bounds in tuned.space.items()},
        "trials": search.trials,
        "look_at_forgotten": search.look_at_forgotten,
        "signal": tuned.signal.value,
        "seed": seed,
        "optuna": version("optuna"),
        "threads": torch.get_num_threads(),
        **_fed(case, look),
    }


def audit_config(case: Case, unlearned: Path, *, look: FirstLook, seed: int, runtime: Runtime) -> dict[str, Any]:
    """config.json of `audit`, where it makes a folder of its own."""
    return {
        "kind": "audit",
        "model": case.architecture,
        "weights": _absolute(case.checkpoint.path),
        "unlearned": _absolute(unlearned),
        **data_record(case.data, case.spec.inputs),
        "seed": seed,
        "precision": runtime.precision,
        "runtime": runtime.described(),
        **_fed(case, look),
        **(
            {"notes": {"privacy": privacy}} if (privacy := privacy_of_request(case.checkpoint.card, case.split)) else {}
        ),
    }


def export_config(exported: Checkpoint, card: ModelCard, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config.json of `export`: the smaller model's card; `facts` are what was done."""
    return {"kind": "export", "from": _absolute(exported.path), **facts, **card.as_record()}


def _opened(case: Case) -> dict[str, Any]:
    key, note = case.spec.weights_key, case.weights_note
    return {
        "model": case.architecture,
        "weights": _absolute(case.checkpoint.path),
        **({"weights_key": key} if key is not None else {}),
        **({"weights_note": note} if note else {}),
        **data_record(case.data, case.spec.inputs),
    }


def _fed(case: Case, look: FirstLook) -> dict[str, Any]:
    """How images were fed, and what the first look found; `first_look` is null where there was no need of one."""
    return {
        **preprocessing_record(case.data, case.classes_origin),
        "trust_inputs": case.spec.trust_inputs,
        "first_look": look.as_record(case.classes),
    }


def _needs(method: ConfiguredMethod) -> list[str]:
    return sorted(part.value for part in method.needs)


def _absolute(path: Path) -> str:
    return str(path.absolute())
