"""Searches settings: a seeded sampler proposes values, a function scores them. No other module uses optuna."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from unlearnkit.errors import ConfigError
from unlearnkit.methods.space import Range, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Values = Mapping[str, float]


def check_optuna() -> None:
    """Refuse to tune where optuna is not installed.

    Raises:
        ConfigError: it is not.
    """
    _optuna()


def optimise(score: Callable[[Values], float], space: Space, *, trials: int, seed: int) -> None:
    """Call `score` on `trials` points of `space`; earlier scores guide the choice, and higher is better.

    The same seed and the same scores give the same points. The first ten are drawn at random, the others by the tree
    of Parzen estimators. Values are rounded to four digits before they are scored, so that they can be written down.

    Args:
        score: values -> a finite number.
        space: bounds by name; at least one.
        trials: number of calls.
        seed: of the sampler, which has a generator of its own.

    Raises:
        ConfigError: optuna is not installed.

    Source: J. Bergstra, R. Bardenet, Y. Bengio, B. Kégl, "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011;
    T. Akiba et al., "Optuna", KDD 2019 (arXiv 1907.10902).
    """
    optuna = _optuna()
    distributions = {name: _distribution(optuna, bounds) for name, bounds in space.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        for _ in range(trials):
            trial = study.ask(distributions)
            study.tell(trial, score({name: _rounded(value) for name, value in trial.params.items()}))
    finally:
        optuna.logging.set_verbosity(verbosity)


def _optuna() -> Any:
    try:
        return importlib.import_module("optuna")
    except ImportError as error:
        raise ConfigError(
            "Expected the package optuna for tuning, but it is not installed; pip install 'unlearnkit[tune]'."
        ) from error


def _distribution(optuna: Any, bounds: Range) -> BaseDistribution:
    kind = optuna.distributions.IntDistribution if bounds.whole else optuna.distributions.FloatDistribution
    distribution: BaseDistribution = kind(bounds.low, bounds.high, log=bounds.log)
    return distribution


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else float(f"{value:.4g}")
