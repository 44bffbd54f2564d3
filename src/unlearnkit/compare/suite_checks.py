"""Checks what a suite says of models, data, methods, metrics and requests, and names the nearest to a wrong word."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from unlearnkit.audit.metrics.registry import METRICS
from unlearnkit.compare.suite_parts import SuiteMethod, SuiteRequest, SuiteSetting
from unlearnkit.data.sources.registry import PLUGINS as SOURCE_PLUGINS
from unlearnkit.data.sources.registry import SOURCES, is_local
from unlearnkit.errors import ConfigError
from unlearnkit.methods import METHODS
from unlearnkit.methods.parts import kinds_of
from unlearnkit.methods.registry import CONDITIONAL
from unlearnkit.methods.registry import PLUGINS as METHOD_PLUGINS
from unlearnkit.models import BUILTIN, is_trusted_name
from unlearnkit.models import PLUGINS as MODEL_PLUGINS
from unlearnkit.request import CLASSES

READINGS = [name for metric in METRICS.values() for name in metric.readings if not name.startswith("cost")]
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]{0,60}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a question for the nearest known name, or the list of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}."


def check_model(name: str) -> None:
    """Refuse a model that a file may not name, and a built-in one that there is not."""
    if not is_trusted_name(name):
        raise ConfigError(
            f"Expected a model without code or files of its own, as a suite may come from a stranger, but got "
            f"{name!r}; use a built-in one, timm:NAME, torchvision:NAME, or one that an installed package declares."
        )
    plain = name.partition(",")[0]
    if ":" not in plain:
        check_known(plain, [*BUILTIN, *MODEL_PLUGINS.names()], "models", advice="or write timm:NAME, torchvision:NAME")


def check_data(setting: SuiteSetting) -> None:
    """Refuse data that there is not, that a network would give or code of others read, and parts of what has none."""
    source = setting.data
    kind = source.partition(":")[0]
    if kind not in (*SOURCES, *SOURCE_PLUGINS.names()):
        advice = "or load others once, and write parquet:DIR or imagefolder:DIR"
        check_known(kind, filter(is_local, SOURCES), "data sources that a suite may name", advice=advice)
    if not is_local(source):
        raise ConfigError(
            f"Expected data of this machine, as a suite may come from a stranger, but got {source!r}; load it once and "
            "write parquet:DIR or imagefolder:DIR."
        )
    if setting.samples is not None and not source.startswith("parquet:"):
        raise ConfigError(
            f"Expected samples with parquet:DIR alone, whose first rows can be taken, but the data is {source!r}; "
            "leave them out."
        )


def check_method(method: SuiteMethod) -> None:
    """Refuse a method that there is not, its settings, labels that no file can have, and a search of nothing."""
    check_known(method.name, [*METHODS, *CONDITIONAL, *METHOD_PLUGINS.names()], "methods")
    if LABEL.fullmatch(method.shown) is None:
        raise ConfigError(
            f"Expected a label of letters, digits, '.', '_', '+' and '-', but got {method.label!r}; choose another."
        )
    made = method.choice().make()
    if method.trials and not made.space():
        raise ConfigError(f"Expected no trials for {method.name}, which has nothing to search; leave them out.")


def check_serves(method: SuiteMethod, request: SuiteRequest) -> None:
    """Refuse a method beside a request that it cannot serve, or whose settings nothing could score."""
    served = kinds_of(method.choice().make())
    if method.trials and not request.kinds <= CLASSES:
        raise ConfigError(
            f"Expected no trials for {method.shown} beside a request for {', '.join(request.named)}, as nothing but "
            "retrained models and test data could score them; leave the trials out."
        )
    if request.kinds <= served:
        return
    serving = ", ".join(name for name, kind in METHODS.items() if request.kinds <= kind.kinds)
    raise ConfigError(
        f"Expected methods that serve every request of the suite, but {method.shown} cannot forget "
        f"{' and '.join(sorted(request.kinds - served))}; those that can are {serving}."
    )


def check_known(name: str, known: Iterable[str], what: str, *, advice: str = "") -> None:
    """Refuse a name that is not among the known ones, and name the nearest."""
    names = list(known)
    if name not in names:
        more = f" {advice[0].upper()}{advice[1:]}." if advice else ""
        raise ConfigError(f"Expected one of the {what}, but got {name!r}; {nearest(name, names)}{more}")


def check_metric(key: str) -> None:
    """Refuse a reading that no metric gives, and a part that its metric does not look at."""
    name, divided, part = key.partition("/")
    check_known(name, READINGS, "metrics")
    parts = sorted(p.value for metric in METRICS.values() if name in metric.readings for p in metric.parts)
    if divided and not parts:
        raise ConfigError(
            f"Expected {name} without a part, as it is read of the whole model, but got {key!r}; write {name}."
        )
    if divided:
        check_known(part, parts, f"parts that {name} is read on")


def check_requests(settings: Sequence[SuiteSetting]) -> None:
    """Refuse the same request twice on the same setting, in whatever order its names stand."""
    seen: set[tuple[str, str]] = set()
    for setting in settings:
        trained = setting.model_dump_json(exclude={"requests"})
        for request in setting.requests:
            key = (trained, _sorted(request))
            if key in seen:
                raise ConfigError(
                    f"Expected each request of a setting once, but got {', '.join(request.named)} twice for "
                    f"{setting.model} on {setting.data}; leave one out."
                )
            seen.add(key)


def _sorted(request: SuiteRequest) -> str:
    """Return what a request asks for, whatever the order in which it names it."""
    record = request.model_dump(mode="json")
    lists = {key: sorted(map(str, value)) for key, value in record.items() if isinstance(value, list)}
    earlier = [sorted(map(str, names)) for names in request.after]
    return json.dumps({**record, **lists, "after": earlier}, sort_keys=True)


def check_distinct(what: str, values: Iterable[Any]) -> None:
    """Refuse a value that stands twice."""
    seen = list(values)
    twice = next((value for value in seen if seen.count(value) > 1), None)
    if twice is not None:
        raise ConfigError(f"Expected each of the {what} once, but got {twice!r} twice; leave one out, or label it.")
