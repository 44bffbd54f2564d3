"""Tries a method's settings on a model under a budget of trials, and returns the best with everything tried.

What may be read is what the method may read, the retained validation samples, and, for a method that reads no
forgotten sample, not one more of those: see `scoring.Signal`. Test parts are never read.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from unlearnkit.data.access import AccessLog
from unlearnkit.data.images import ImageData
from unlearnkit.data.view import DataView
from unlearnkit.errors import ConfigError, DataError, NonFiniteLossError, RequestError
from unlearnkit.methods.harness import unlearn
from unlearnkit.methods.method import ConfiguredMethod
from unlearnkit.methods.parts import check_parts
from unlearnkit.methods.space import Space
from unlearnkit.models import check_model
from unlearnkit.request import CLASSES, ForgetRequest
from unlearnkit.runtime.cost import Cost
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.runtime.randomness import check_seed
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part, Split, split_for
from unlearnkit.training.losses import Criterion
from unlearnkit.tuning.optimise import Values, check_optuna, optimise
from unlearnkit.tuning.scoring import Judge, Judged, Signal

FAILED = -3.0  # what the sampler is told of a run that failed: below every score, which is -2 at the least


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of the method with one choice of settings, and its score.

    Args:
        settings: what was changed, as `with_settings` takes it; nothing in the first trial.
        judged: what the judge found, or None where the run failed.
        score: see `scoring.Judge`; None where the run failed.
        cost: of the run, as in `cost.json`; None where it failed, as a run that is stopped hands nothing back.
        failure: what stopped the run.
    """

    settings: tuple[str, ...]
    judged: Judged | None = None
    score: float | None = None
    cost: Cost | None = None
    failure: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The result of a search, with every trial.

    Args:
        method: with the best settings.
        beforehand: `NAME=VALUE` settings that all trials had in common besides what was given: see
            `ConfiguredMethod.for_tuning`.
        best: number of the best trial.
        trials: all of them, in order.
        before: the original, judged.
        signal: what forgetting was judged by.
        space: the settings that were searched, with their bounds.
        split: the parts that were used.
        access: what all runs, also those that failed, and the judge have read, counted together as the method's.
        cost: `cost.json`, with a stage for the runs that did not fail and the stages of the judge.
    """

    method: ConfiguredMethod
    beforehand: tuple[str, ...]
    best: int
    trials: tuple[Trial, ...]
    before: Judged
    signal: Signal
    space: Space
    split: Split
    access: AccessLog
    cost: dict[str, Any]


def tune(
    model: nn.Module,
    method: ConfiguredMethod,
    data: ImageData,
    request: ForgetRequest,
    *,
    seed: int,
    trials: int = 20,
    fixed: Sequence[str] = (),
    look_at_forgotten: bool = False,
    runtime: Runtime | None = None,
    factory: Callable[[], nn.Module] | None = None,
    progress: Progress | None = None,
    criterion: Criterion | None = None,
) -> Tuned:
    """Search settings within `method.space()` by the score of `Judge`; of equal ones, the cheapest wins.

    The first trial is the method as it is given, but for a search of its own, which is switched off unless it is named
    in `fixed`; what is returned never scores lower than that. Every trial starts from the original with the same seed:
    two that differ, differ by their settings, and the best one's run can be repeated. The budget is the number of
    trials, equal for every method; what the trials passed through a model is reported beside it, as settings such as
    the epochs change it.

    The retained validation samples are few and are looked at in every trial, so the best score is somewhat too good.

    Args:
        model: the trained classifier; it is not changed.
        method: with the settings that the search starts from.
        data: images and labels under the model's class list.
        request: the classes to forget, and those forgotten earlier.
        seed: of every run and of the search.
        trials: runs of the method.
        fixed: names of settings that stay as they are.
        look_at_forgotten: judge by training samples of the classes to forget, though the method reads none.
        runtime, factory, criterion: see `unlearn`.
        progress: where the trials are shown; default: nowhere.

    Raises:
        ConfigError: there is nothing to tune, a name in `fixed` is no setting, optuna is not installed, or a number is
            out of its range.
        DataError: there are no retained validation samples, or none of those to be looked at.
        RequestError, ModelError: the input cannot be used.
        NonFiniteLossError: every trial ended in one.
    """
    check_optuna()
    check_seed(seed)
    space = _space(method, fixed, trials)
    fixed_groups = {name.partition(".")[0] for name in fixed}
    beforehand = tuple(setting for setting in method.for_tuning() if setting.partition("=")[0] not in fixed_groups)
    method = method.with_settings(beforehand)
    split = split_for(request, data)
    check_tunable(method, split)
    signal = Signal.SAMPLES if look_at_forgotten or Part.FORGET_TRAIN in method.needs else Signal.INVERTED
    for part in sorted(signal.parts):
        if not len(split[part]):
            raise DataError(f"Expected samples in {part} to tune by, but the data has none; give data that holds them.")
    data.fix_shape(int(split[Part.RETAIN_TRAIN][0]))
    check_model(model, classes=len(data.classes), shape=data.shape)
    runtime, progress = (runtime or Runtime()).fitted(model, data.shape), progress or Silent()
    access, log = AccessLog(data), RunLog(runtime, decode_seconds=lambda: data.decode_seconds)
    view = DataView(data, split, signal.parts, reader="method", log=access, device=runtime.device)
    done: list[Trial] = []

    original = log.meter.attach(runtime.weights(copy.deepcopy(model)))
    judge = Judge(original, view, split.request, signal=signal, seed=seed, runtime=runtime, log=log)

    def run(values: Values) -> float:
        settings = tuple(f"{name}={value}" for name, value in values.items())
        try:
            result = unlearn(
                model,
                method.with_settings(settings),
                data,
                request,
                seed=seed,
                runtime=runtime,
                factory=factory,
                criterion=criterion,
                access=access,
                tolerance=None,
            )
            judged = judge.judge(log.meter.attach(runtime.weights(result.model)))
        except NonFiniteLossError as error:
            done.append(Trial(settings=settings, failure=str(error)))
            progress.advance("failed")
            return FAILED
        score = judged.score(judge.before.retained)
        done.append(Trial(settings=settings, judged=judged, score=score, cost=Cost(**result.cost["total"])))
        progress.advance(f"score {score:.3f}")
        return score

    progress.start("tune", trials)
    try:
        run({})
        optimise(run, space, trials=trials - 1, seed=seed)
    finally:
        progress.finish()
    best = _best(done)
    runs = sum((trial.cost for trial in done if trial.cost), Cost())
    cost = log.cost(log.total() + runs)
    return Tuned(
        beforehand=beforehand,
        method=method.with_settings(done[best].settings),
        best=best,
        trials=tuple(done),
        before=judge.before,
        signal=signal,
        space=space,
        split=split,
        access=access,
        cost=cost | {"stages": {"trials": runs.as_record(), **cost["stages"]}},
    )


def check_tunable(method: ConfiguredMethod, split: Split) -> None:
    """Refuse a search that could not be scored, and a method that cannot serve the request.

    For rows and subclasses there is no score: what is right for them is what a retrained model does, and neither such
    a model nor test data may steer a search. Validation samples could stand in only where the rows are a fair draw
    from the same images, which no request of a person is.

    Raises:
        RequestError: the request has rows or subclasses, or see `check_parts`.
        DataError: see `check_parts`.
    """
    asked = split.request.kinds - CLASSES
    if asked:
        raise RequestError(
            f"Expected classes to forget, but got {' and '.join(sorted(asked, reverse=True))}, for which no score is "
            "sound: right is what a retrained model does, and neither that nor test data may steer a search; tune the "
            "method on a class of the same data, and give what is found to `unlearnkit forget` with --set."
        )
    check_parts(method, split, tunable=True)


def _space(method: ConfiguredMethod, fixed: Sequence[str], trials: int) -> Space:
    """Check the demands on a search, and return the settings to tune.

    Raises:
        ConfigError: nothing is left to tune, too few trials, or the method reads test data.
    """
    if trials < 2:
        raise ConfigError(
            f"Expected two trials or more, the method as it is and one to hold against it, but got {trials}; "
            "20 is the default."
        )
    tests = sorted(part for part in method.needs if part.side == "test")
    if tests:
        raise ConfigError(
            f"Expected a method that reads no test data, but it reads {tests[0]}; give one that reads none."
        )
    method.check_names(fixed)
    space = {name: bounds for name, bounds in method.space().items() if name not in fixed}
    if not space:
        why = "all that could be tuned is given" if method.space() else "it has no setting to tune"
        raise ConfigError(
            f"Expected a method with settings to tune, but got {type(method).__name__}, and {why}; "
            "run `unlearnkit forget` with it as it is."
        )
    return space


def _best(trials: Sequence[Trial]) -> int:
    """Return the number of the trial with the highest score; of equal ones, that with the fewest samples.

    Raises:
        NonFiniteLossError: every trial failed.
    """

    def rank(k: int) -> tuple[float, int]:
        score, cost = trials[k].score, trials[k].cost
        if score is None or cost is None:
            return -math.inf, 0
        return score, -cost.samples_forward - cost.samples_backward

    best = max(range(len(trials)), key=rank)
    if trials[best].score is None:
        raise NonFiniteLossError(
            f"Expected one trial to succeed, but all failed; the first one with: {trials[0].failure}"
        )
    return best
