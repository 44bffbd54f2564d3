"""Searches the best settings of a method for a model, data and a request, and writes them to a folder."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from unlearnkit.methods.choice import MethodChoice
from unlearnkit.models.hub import resolve_weights
from unlearnkit.run_dir import write_run
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.steps.case import Case
from unlearnkit.steps.feeding import feeding_line
from unlearnkit.steps.first_look import first_look
from unlearnkit.steps.output import Output, holding
from unlearnkit.steps.record import manifest_record, tune_config
from unlearnkit.steps.remarks import say_remarks
from unlearnkit.steps.specs import DEFAULT_SEARCH, CaseSpec, SearchSpec
from unlearnkit.tuning import Trial, check_tunable, tune
from unlearnkit.tuning.optimise import check_optuna
from unlearnkit.tuning.scoring import as_numbers


@holding
def tune_run(
    spec: CaseSpec,
    choice: MethodChoice,
    output: Output,
    *,
    search: SearchSpec = DEFAULT_SEARCH,
    seed: int = 0,
    runtime: Runtime | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Search settings for a method on a model, write them to a folder, and return a summary.

    The folder holds `settings.json` (what `unlearnkit forget` is to be given), `trials.json`, `config.json`,
    `access.json`, `cost.json` and the manifest. See `tuning.tune` for the search and `tuning.judge` for the score.

    Args:
        spec, output, seed, runtime, progress: see `forget_run`.
        choice: the method; the settings that it names stay as they are.
        search: how to search.

    Raises:
        InputError: something given cannot be used; nothing has been written.
        UnlearnkitError: the work failed; the same holds.
    """
    check_optuna()
    method = choice.make()
    source = resolve_weights(str(spec.weights))
    output.check((source.path, *spec.places()))
    runtime = runtime or Runtime()
    case = Case.opened(spec, reader="tuning", source=source, check=partial(check_tunable, method))
    say_remarks(case.data, progress)
    look = first_look(case, runtime=runtime, progress=progress)
    (progress or Silent()).say(feeding_line(case.data, case.classes_origin))
    tuned = tune(
        case.model,
        method,
        case.data,
        case.request,
        seed=seed,
        trials=search.trials,
        fixed=choice.names_set,
        look_at_forgotten=search.look_at_forgotten,
        runtime=runtime,
        factory=case.fresh,
        progress=progress,
    )
    settings = [*choice.settings, *tuned.beforehand, *tuned.trials[tuned.best].settings]
    found = replace(choice, settings=settings)
    forgetting = _forget_command(spec, found, output.folder, search.forget_options, seed)
    tuned.access.include(look.access)
    access = tuned.access.summary(tuned.split)
    result = {
        "method": choice.name,
        "signal": tuned.signal.value,
        "before": as_numbers(tuned.before),
        "best": tuned.best,
        "trials": [_described(k, trial) for k, trial in enumerate(tuned.trials)],
    }
    chosen = {"method": choice.name, "preset": choice.preset, "settings": settings, "command": forgetting}
    write_run(
        output.folder,
        {
            "settings.json": chosen,
            "trials.json": result,
            "access.json": access,
            "cost.json": tuned.cost,
            "config.json": tune_config(case, choice, method, search, tuned, look=look, seed=seed),
        },
        overwrite=output.overwrite,
        manifest=manifest_record(output, [case.checkpoint], seed=seed, runtime=runtime),
    )
    return {
        "out": str(output.folder),
        **result,
        "settings": settings,
        "command": shlex.join(forgetting),
        "access": access,
        "cost": tuned.cost["total"],
    }


def _forget_command(spec: CaseSpec, choice: MethodChoice, out: Path, options: Sequence[str], seed: int) -> list[str]:
    """Return the words of the `unlearnkit forget` command that uses the found settings, beside the search's folder."""
    return [
        *("unlearnkit", "forget", "--weights", str(spec.weights), "--data", spec.data),
        *(word for value in spec.forget for word in ("--forget", str(value))),
        *(word for value in spec.already_forgotten for word in ("--already-forgotten", str(value))),
        *("--method", choice.name, "--preset", choice.preset),
        *(word for value in choice.settings for word in ("--set", value)),
        *(("--model", spec.model) if spec.model else ()),
        *(("--weights-key", spec.weights_key) if spec.weights_key is not None else ()),
        *("--seed", str(seed)),
        *(["--trust-inputs"] if spec.trust_inputs else []),
        *options,
        *("--out", str(out.with_name(f"{out.name}-forgotten"))),
    ]


def _described(number: int, trial: Trial) -> dict[str, Any]:
    return {
        "trial": number,
        "settings": list(trial.settings),
        "score": trial.score,
        **({"retained": None, "left": None} if trial.judged is None else as_numbers(trial.judged)),
        "cost": None if trial.cost is None else trial.cost.as_record(),
        "failure": trial.failure,
    }
