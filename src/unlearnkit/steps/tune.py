"""The step behind `tune`: weights, data, a request and a method -> a folder with its best settings for this model."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unlearnkit.methods import ConfiguredMethod
from unlearnkit.methods.parts import check_parts
from unlearnkit.models import build_model
from unlearnkit.models.checkpoint import read_checkpoint
from unlearnkit.models.hub import resolve_weights
from unlearnkit.request import ClassRef
from unlearnkit.run_dir import check_output, write_run
from unlearnkit.runtime.progress import Progress
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import split_for
from unlearnkit.steps.opening import Preprocessing, load_images, model_name, open_model, request_for, retained_shape
from unlearnkit.tuning import Trial, tune
from unlearnkit.tuning.optimise import check_optuna
from unlearnkit.tuning.scoring import as_numbers


def tune_run(
    *,
    weights: str | Path,
    data: str,
    forget: Sequence[ClassRef],
    method: ConfiguredMethod,
    method_name: str,
    preset: str = "default",
    overrides: Sequence[str] = (),
    out: Path,
    trials: int = 20,
    look_at_forgotten: bool = False,
    model: str | None = None,
    already_forgotten: Sequence[ClassRef] = (),
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    options: Sequence[str] = (),
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Search settings for a method on a model, and write what was found to a folder; returns a summary.

    The folder holds `settings.json` (what `unlearnkit forget` is to be given), `trials.json`, `config.json`,
    `access.json`, `cost.json` and the manifest. See `tuning.tune` for the search and `tuning.judge` for the score.

    Args:
        overrides: `NAME=VALUE` settings that `method` was built with; they stay as they are.
        options: options that the `forget` command is to be given besides.
        look_at_forgotten: judge by forgotten training samples, though the method reads none.
        weights, data, forget, method, method_name, preset, out, model, already_forgotten, seed: see `forget_run`.
        preprocessing, runtime, progress, overwrite, command: see `forget_run`.
        trials: runs of the method.

    Raises:
        InputError: something given cannot be used; nothing has been written.
        UnlearnkitError: the work failed; the same holds.
    """
    check_optuna()
    found = resolve_weights(str(weights))
    check_output(out, overwrite=overwrite, inputs=(found.path,))
    runtime = runtime or Runtime()
    checkpoint = read_checkpoint(found.path)
    name = model_name(model or found.model, checkpoint)
    images = load_images(data, preprocessing, checkpoint, model=name, hub=found)
    request = request_for(forget, already_forgotten, checkpoint, images.classes)
    split = split_for(request, images)
    check_parts(method, split, tunable=True)
    retained_shape(images, split, "tuning")
    tuned = tune(
        open_model(name, checkpoint, images),
        method,
        images,
        request,
        seed=seed,
        trials=trials,
        fixed=[setting.partition("=")[0].strip() for setting in overrides],
        look_at_forgotten=look_at_forgotten,
        runtime=runtime,
        factory=lambda: build_model(name, num_classes=len(images.classes), in_channels=images.shape[0]),
        progress=progress,
    )
    settings = [*overrides, *tuned.beforehand, *tuned.trials[tuned.best].settings]
    forgetting = [
        *("unlearnkit", "forget", "--weights", str(weights), "--data", data),
        *(word for each in forget for word in ("--forget", str(each))),
        *(word for each in already_forgotten for word in ("--already-forgotten", str(each))),
        *("--method", method_name, "--preset", preset),
        *(word for each in settings for word in ("--set", each)),
        *(("--model", model) if model else ()),
        *("--seed", str(seed)),
        *options,
        *("--out", str(out.with_name(f"{out.name}-forgotten"))),
    ]
    access = tuned.access.summary(tuned.split)
    result = {
        "method": method_name,
        "signal": tuned.signal.value,
        "before": as_numbers(tuned.before),
        "best": tuned.best,
        "trials": [_described(k, trial) for k, trial in enumerate(tuned.trials)],
    }
    chosen = {"method": method_name, "preset": preset, "settings": settings, "command": forgetting}
    write_run(
        out,
        {
            "settings.json": chosen,
            "trials.json": result,
            "access.json": access,
            "cost.json": tuned.cost,
            "config.json": {
                "kind": "tune",
                "model": name,
                "weights": str(found.path.absolute()),
                "data": images.source,
                "forget": list(tuned.split.request.forget_names),
                "already_forgotten": [images.classes[k] for k in tuned.split.request.already_forgotten],
                "method": method_name,
                "preset": preset,
                "overrides": list(overrides),
                "needs": sorted(part.value for part in method.needs),
                "space": {key: asdict(bounds) for key, bounds in tuned.space.items()},
                "trials": trials,
                "look_at_forgotten": look_at_forgotten,
                "signal": tuned.signal.value,
                "seed": seed,
                "optuna": version("optuna"),
            },
        },
        overwrite=overwrite,
        manifest={
            "inputs": {str(found.path.absolute()): checkpoint.sha256},
            "seed": seed,
            "device": str(runtime.device),
            "command": list(command),
        },
    )
    return {
        "out": str(out),
        **result,
        "settings": settings,
        "command": shlex.join(forgetting),
        "access": access,
        "cost": tuned.cost["total"],
    }


def _described(number: int, trial: Trial) -> dict[str, Any]:
    return {
        "trial": number,
        "settings": list(trial.settings),
        "score": trial.score,
        **({"retained": None, "left": None} if trial.judged is None else as_numbers(trial.judged)),
        "cost": None if trial.cost is None else asdict(trial.cost),
        "failure": trial.failure,
    }
