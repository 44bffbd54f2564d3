"""Measures the cost of forgetting, and its ratio to the cost of retraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metric import EVERY_KIND, Metric
from unlearnkit.audit.reading import Reading

COUNTS = {
    "samples_forward": ("samples_forward",),
    "samples_backward": ("samples_backward",),
    "samples": ("samples_forward", "samples_backward"),
    "operations": ("operations",),
}


def cost(evidence: Evidence) -> list[Reading]:
    """Return the seconds of work, and how many times cheaper than retraining that is.

    `cost_seconds` is wall time without decoding and evaluation. `cost_ratio` is the retrained model's over the
    unlearned model's: in seconds, which means something where both ran on the same kind of device, and in samples
    passed (forward, backward, and both together) in its series, which does not depend on the machine; in floating-point
    operations too, where they were counted in all of these runs. Counting slows a run, so seconds of such a one are
    doubted.

        cost_ratio = mean over the retrained models of their seconds / seconds of the unlearned model

    Range: 0 and up; above 1 forgetting was cheaper. Source: `cost.json` of the runs.

    >>> from unlearnkit.audit.evidence import Evidence, Subject
    >>> spent = [{"seconds": s, "samples_forward": 100 * s, "samples_backward": 50 * s} for s in (2.0, 40.0)]
    >>> models = [Subject(name=n, cost=c) for n, c in zip(("unlearned", "retrained"), spent)]
    >>> readings = cost(Evidence.of(*models, classes=["cat", "dog"], forget=["dog"]))
    >>> [(r.metric, r.model, r.value) for r in readings]
    [('cost_seconds', 'unlearned', 2.0), ('cost_seconds', 'retrained', 40.0), ('cost_ratio', 'unlearned', 20.0)]
    """
    readings = []
    for subject in evidence.subjects:
        if subject.cost is not None:
            readings.append(
                Reading(
                    metric="cost_seconds",
                    model=subject.name,
                    replicate=subject.replicate,
                    value=subject.cost["seconds"],
                    unit="seconds",
                    target="lower",
                    doubts=_slowed([subject.cost]),
                )
            )
    retrained = [s.cost for s in evidence.named("retrained") if s.cost is not None]
    for subject in evidence.named("unlearned"):
        if subject.cost is None or not retrained:
            continue
        own_cost = subject.cost
        series = {
            name: sum(_sum(r, keys) for r in retrained) / len(retrained) / max(1, _sum(own_cost, keys))
            for name, keys in COUNTS.items()
            if all(key in spent for key in keys for spent in (own_cost, *retrained))
        }
        readings.append(
            Reading(
                metric="cost_ratio",
                model="unlearned",
                value=sum(r["seconds"] for r in retrained) / len(retrained) / max(1e-9, own_cost["seconds"]),
                unit="ratio",
                target="higher",
                series=series,
                doubts=_slowed([own_cost, *retrained]),
            )
        )
    return readings


def _sum(spent: Mapping[str, float], keys: Sequence[str]) -> float:
    return sum(spent[key] for key in keys)


def _slowed(costs: Sequence[Mapping[str, float]]) -> tuple[Doubt, ...]:
    """Return the doubt about seconds of runs of which some counted their operations."""
    counted = ["operations" in spent for spent in costs]
    if not any(counted):
        return ()
    return (Doubt("slowed_by_counting" if all(counted) else "counted_on_one_side"),)


COST = Metric(fn=cost, readings=("cost_seconds", "cost_ratio"), wants=frozenset({"cost"}), kinds=EVERY_KIND)
