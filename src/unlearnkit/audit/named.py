"""Lists the metrics that an audit applies: the built-in ones, and those that installed packages add."""

from __future__ import annotations

from dataclasses import replace

from unlearnkit.audit.metric import TRAINING, Metric
from unlearnkit.audit.metrics.registry import METRICS
from unlearnkit.errors import ConfigError
from unlearnkit.plugins import Plugins


def _checked(found: object, place: str) -> Metric:
    """Return what a package adds as a metric, if it is one."""
    if not isinstance(found, Metric):
        raise ConfigError(
            f"Expected a metric at {place}, but got {type(found).__name__}; name an unlearnkit.audit.Metric there."
        )
    return found


PLUGINS: Plugins[Metric] = Plugins(
    group="unlearnkit.metrics", what="metric", builtin=METRICS, error=ConfigError, check=_checked
)


def named_metrics(*, quick: bool = False) -> tuple[dict[str, Metric], list[str]]:
    """Return every metric by its name, and a sentence for each metric of another package that cannot be used.

    Metrics of other packages are shown and have no vote here, so that a verdict means the same wherever it is made.
    From Python, `audit` counts the votes of every metric that it is given.

    Args:
        quick: leave out those that train a copy of every model.
    """
    foreign, broken = PLUGINS.load_all()
    metrics = METRICS | {name: replace(metric, votes=()) for name, metric in foreign.items()}
    return {name: metric for name, metric in metrics.items() if not (quick and metric.wants & TRAINING)}, broken
