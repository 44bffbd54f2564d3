"""Holds measured rows against reported ones, and what an article states against what a suite shows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from pydantic import Field

from unlearnkit.compare.groups import forgotten_part, timed
from unlearnkit.compare.suite import Suite, read_suite
from unlearnkit.compare.suite_checks import nearest
from unlearnkit.compare.suite_parts import Name, SuiteSetting
from unlearnkit.compare.wording import counted
from unlearnkit.config import Config
from unlearnkit.disk.json_text import parse_json
from unlearnkit.errors import ConfigError

REPORTED = resources.files("unlearnkit.compare") / "reported"
HELD, NOT_HELD, UNTOLD, UNMEASURED = "held", "not held", "tells nothing", "not measured"
Group = dict[str, Any]
Rows = Sequence[dict[str, Any]]


class ReportedRow(Config):
    """A figure that somebody published, its setting, and how far a measurement may lie from it."""

    id: str = Field(description="what --row names")
    source: str = Field(description="where it stands")
    suite: str = Field(description="shipped suite that has its setting")
    data: str = Field(description="data source of the setting, as the suite writes it")
    model: str = Field(description="model of the setting")
    forget: tuple[Name, ...] = Field(description="classes of the request")
    method: str = Field(description="label of the method in the suite")
    reading: str = Field(description="reading that votes, and that it is a value of")
    reported: float = Field(description="the published value")
    tolerance: float = Field(gt=0, description="largest difference that counts as the same")
    note: str = Field(default="", description="in what our setting differs")


class Statement(Config):
    """Something that an article says in words, and which figures decide whether a suite bears it out."""

    id: str = Field(description="its name")
    source: str = Field(description="where it stands")
    text: str = Field(description="what it says")
    check: Literal["cost_alike", "repair_better", "weights_alike", "relearn_long", "spread", "faster", "faster_than"]
    method: str = Field(default="unsir", description="label of the method that it is about")
    other: str = Field(default="", description="label of the method that it is compared with")
    limit: float = Field(default=1.0, gt=0, description="see the checks")


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A reported figure beside the measured ones."""

    id: str
    source: str
    note: str
    reading: str
    reported: float
    tolerance: float
    measured: tuple[float, ...]

    @property
    def shown(self) -> str:
        """The median of what was measured, and the number of runs."""
        if not self.measured:
            return UNMEASURED
        return f"{statistics.median(self.measured):.4g} ({counted(len(self.measured), 'run')})"

    @property
    def holds(self) -> str:
        """Whether the median lies within the tolerance."""
        if not self.measured:
            return UNMEASURED
        near = abs(statistics.median(self.measured) - self.reported) <= self.tolerance
        return "yes" if near else "no"


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A statement and what a suite says to it."""

    id: str
    text: str
    source: str
    outcome: str
    figures: str


@cache
def reported_rows() -> dict[str, ReportedRow]:
    """Return all reported rows by their ids."""
    return {row.id: row for row in (ReportedRow(**each) for each in _content("rows"))}


def named_row(name: str) -> ReportedRow:
    """Return a reported row.

    Raises:
        ConfigError: there is none of this name.
    """
    rows = reported_rows()
    if name not in rows:
        raise ConfigError(f"Expected the id of a reported row, but got {name!r}; {nearest(name, rows)}")
    return rows[name]


def only(suite: Suite, row: ReportedRow) -> Suite:
    """Return a suite with the one setting, request and method of a reported row.

    Raises:
        ConfigError: the suite does not have them.
    """
    settings = [
        setting.model_copy(update={"requests": (request,)})
        for setting in suite.settings
        if (setting.data, setting.model) == (row.data, row.model)
        for request in setting.requests
        if not request.after and sorted(map(str, request.forget)) == sorted(map(str, row.forget))
    ]
    methods = [method for method in suite.methods if method.shown == row.method]
    if not settings or not methods:
        raise ConfigError(
            f"Expected the setting of the reported row {row.id} in its suite {row.suite}, but it has none; choose "
            "another row."
        )
    return suite.model_copy(update={"settings": tuple(settings), "methods": tuple(methods)})


def beside(results: dict[str, Any]) -> list[Beside]:
    """Return the reported rows whose setting and method a suite has, each with what was measured of it."""
    found = []
    labels = {each["label"] or each["name"] for each in results["suite"]["methods"]}
    for row in (row for row in reported_rows().values() if row.method in labels):
        meant = only(_shipped(row.suite), row)
        for group in results["groups"]:
            if _is_setting(group, results["suite"], meant, row):
                done = _done(group, row.method) if _is_method(results["suite"], meant) else []
                values = [each["primary"].get(row.reading, {}).get("value") for each in done]
                found.append(
                    Beside(
                        id=row.id,
                        source=row.source,
                        note=row.note,
                        reading=row.reading,
                        reported=row.reported,
                        tolerance=row.tolerance,
                        measured=tuple(value for value in values if value is not None),
                    )
                )
    return found


def statements(results: dict[str, Any]) -> list[Stated]:
    """Return what the article states, each with what a suite says to it: held where it holds in every setting.

    Empty where the suite says nothing to any of it, as one of rows does.
    """
    found = []
    for each in _content("statements"):
        statement = Statement(**each)
        checks = ((name, CHECKS[statement.check](statement, groups)) for name, groups in _settings(results))
        checked = [(name, found_here) for name, found_here in checks if found_here is not None]
        told = [held for _, (held, _) in checked if held is not None]
        outcome = UNTOLD if checked else UNMEASURED
        if told:
            outcome = HELD if all(told) else NOT_HELD
        figures = "; ".join(f"{name}: {figure}" for name, (_, figure) in checked)
        found.append(
            Stated(id=statement.id, text=statement.text, source=statement.source, outcome=outcome, figures=figures)
        )
    return found if any(each.outcome in (HELD, NOT_HELD) for each in found) else []


def _is_setting(group: Group, suite: dict[str, Any], meant: Suite, row: ReportedRow) -> bool:
    """Return whether a group was trained and asked as the suite of a reported row does it, in everything."""
    if group["after"] or sorted(group["forget"]) != sorted(map(str, row.forget)):
        return False
    (asked,) = meant.settings
    recorded = [_trained(setting) for setting in suite["settings"]]  # groups of earlier versions keep less of it
    mine = [each for each in recorded if all(group[key] == each[key] for key in each if key in group)]
    return _trained(asked.model_dump(mode="json")) in mine


def _is_method(suite: dict[str, Any], meant: Suite) -> bool:
    """Return whether a suite calls by the label of a reported row what the row's own suite calls so."""
    (asked,) = meant.methods
    called = (each for each in suite["methods"] if (each["label"] or each["name"]) == asked.shown)
    return any(each | {"label": asked.label} == asked.model_dump(mode="json") for each in called)


def _trained(setting: dict[str, Any]) -> dict[str, Any]:
    """Return a setting as its record has it, without requests, and with the keys that a lean record leaves out."""
    return {key: setting.get(key) for key in SuiteSetting.model_fields if key != "requests"}


@cache
def _shipped(name: str) -> Suite:
    return read_suite(name)[1]


Outcome = tuple[bool | None, str] | None  # whether it holds (None: these figures cannot say), and the figures


def _cost_alike(statement: Statement, groups: Sequence[Group]) -> Outcome:
    """Most classes against fewest: the samples passed differ by less than the factor `limit`.

    Seconds are told beside them: cells that run side by side slow each other.
    """
    ends = _ends(statement, groups)
    if ends is None:
        return None
    few, many = (_samples(_done(group, statement.method)) for group in ends)
    if not few or not many:
        return None
    sizes = " and ".join(str(len(group["forget"])) for group in ends)
    seconds = " and ".join(f"{_seconds(_done(group, statement.method)):.3g}" for group in ends)
    figures = f"{few:,.0f} and {many:,.0f} samples, {seconds} s for {sizes}"
    return many / few <= statement.limit and few / many <= statement.limit, figures


def _repair_better(statement: Statement, groups: Sequence[Group]) -> Outcome:
    """Most classes against fewest: at most `limit` points more of retained accuracy are lost."""
    ends = _ends(statement, groups)
    if ends is None:
        return None
    few, many = (_lost(_done(group, statement.method)) for group in ends)
    sizes = " and ".join(str(len(group["forget"])) for group in ends)
    return 100 * (many - few) <= statement.limit, f"{100 * few:.1f} and {100 * many:.1f} points lost for {sizes}"


def _weights_alike(statement: Statement, groups: Sequence[Group]) -> Outcome:
    """The distance to the original lies within the factor `limit` of the retrained models'."""
    found = _triples(statement, groups, "weight_distance")
    ratios = [value / statistics.median(retrained) for value, retrained, _ in found if statistics.median(retrained) > 0]
    if not ratios:
        return None
    ratio = statistics.median(ratios)
    return 1 / statement.limit <= ratio <= statement.limit, f"{ratio:.2f} of the retrained models' distance"


def _relearn_long(statement: Statement, groups: Sequence[Group]) -> Outcome:
    """Relearning takes no fewer steps than `limit` times what the quickest retrained model takes.

    Where the original takes as many as that, steps tell nothing.
    """
    found = _triples(statement, groups, "relearn_steps")
    ratios = [value / min(retrained) for value, retrained, original in found if original < min(retrained)]
    if not found:
        return None
    if not ratios:
        original = statistics.median(steps for _, _, steps in found)
        retrained = statistics.median(min(steps) for _, steps, _ in found)
        return None, f"the original takes {original:g} steps, the quickest retrained model {retrained:g}"
    ratio = statistics.median(ratios)
    return ratio >= statement.limit, f"{ratio:.2f} of the quickest retrained model's steps"


def _spread(statement: Statement, groups: Sequence[Group]) -> Outcome:
    """In most runs the predictions on forgotten data are spread as the retrained models' are."""
    found = [
        row["primary"].get("prediction_tv/forget_test") for group in groups for row in _done(group, statement.method)
    ]
    known = [reading for reading in found if reading is not None and reading["status"] in ("pass", "fail")]
    if not known:
        return None
    like = sum(reading["status"] == "pass" for reading in known)
    far = statistics.median(reading["value"] for reading in known)
    return 2 * like > len(known), f"{like} of {len(known)} runs within the band, total variation {far:.2f}"


def _faster(statement: Statement, groups: Sequence[Group]) -> Outcome:
    """Retraining takes at least `limit` times as long; how many times the samples it passes is told beside it."""
    known = [(group["retraining"], _done(group, statement.method)) for group in groups]
    known = [(retraining, rows) for retraining, rows in known if timed(retraining) and _samples(rows)]
    if not known:
        return None
    seconds = [
        statistics.median(cost["seconds"] for cost in timed(retraining)) / _seconds(rows) for retraining, rows in known
    ]
    samples = [statistics.median(map(_passed, retraining)) / _samples(rows) for retraining, rows in known]
    return min(seconds) >= statement.limit, f"{_times(seconds)}, in samples {_times(samples)}"


def _faster_than(statement: Statement, groups: Sequence[Group]) -> Outcome:
    """The other method takes at least `limit` times as long."""
    known = [(_done(group, statement.other), _done(group, statement.method)) for group in groups]
    known = [(theirs, ours) for theirs, ours in known if _samples(theirs) and _samples(ours)]
    if not known:
        return None
    seconds = [_seconds(theirs) / _seconds(ours) for theirs, ours in known]
    samples = [_samples(theirs) / _samples(ours) for theirs, ours in known]
    return min(seconds) >= statement.limit, f"{_times(seconds)}, in samples {_times(samples)}"


def _times(ratios: Sequence[float]) -> str:
    low, high = f"{min(ratios):.1f}", f"{max(ratios):.1f}"
    return f"{low} times" if low == high else f"{low} to {high} times"


CHECKS: dict[str, Callable[[Statement, Sequence[Group]], Outcome]] = {
    "cost_alike": _cost_alike,
    "repair_better": _repair_better,
    "weights_alike": _weights_alike,
    "relearn_long": _relearn_long,
    "spread": _spread,
    "faster": _faster,
    "faster_than": _faster_than,
}


def _settings(results: dict[str, Any]) -> list[tuple[str, list[Group]]]:
    """Return the groups of each model and data, without those that follow an earlier request."""
    found: dict[str, list[Group]] = {}
    for group in results["groups"]:
        if not group["after"] and forgotten_part(group) == "forget_test":  # the article is about classes
            found.setdefault(f"{group['model']} on {group['data']}", []).append(group)
    return list(found.items())


def _ends(statement: Statement, groups: Sequence[Group]) -> tuple[Group, Group] | None:
    """Return the groups with the fewest and with the most classes that have finished runs of the method."""
    ready = sorted((g for g in groups if _done(g, statement.method)), key=lambda g: len(g["forget"]))
    if not ready or len(ready[0]["forget"]) == len(ready[-1]["forget"]):
        return None
    return ready[0], ready[-1]


def _done(group: Group, method: str) -> list[dict[str, Any]]:
    return [row for row in group["rows"] if row["method"] == method and not row["failure"]]


def _seconds(rows: Rows) -> float:
    return statistics.median(row["cost"]["seconds"] for row in rows) if rows else 0.0


def _samples(rows: Rows) -> float:
    return statistics.median(_passed(row["cost"]) for row in rows) if rows else 0.0


def _passed(cost: Mapping[str, Any]) -> int:
    return int(cost["samples_forward"] + cost["samples_backward"])


def _lost(rows: Rows) -> float:
    readings = [row["primary"]["accuracy/retain_test"] for row in rows]
    return float(statistics.median(reading["original"] - reading["value"] for reading in readings))


def _triples(statement: Statement, groups: Sequence[Group], key: str) -> list[tuple[float, list[float], float]]:
    """Return a reading of every run with those of the retrained models, where all are known, and the original's."""
    found = []
    for group in groups:
        for row in _done(group, statement.method):
            reading = row["primary"].get(key) or row["shown"].get(key)
            if reading and reading["value"] is not None and reading["retrained"] and None not in reading["retrained"]:
                found.append((reading["value"], reading["retrained"], reading["original"] or 0.0))
    return found


def _content(part: str) -> list[dict[str, Any]]:
    """Return what the files of reported figures hold, in the order of their names."""
    files = sorted(
        (entry for entry in REPORTED.iterdir() if entry.name.endswith(".json")), key=lambda entry: entry.name
    )
    return [each for file in files for each in parse_json(file.read_bytes()).get(part, [])]
