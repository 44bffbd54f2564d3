"""Defines Reading, one measured value with interval, target and doubts, and Audit, all readings with the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from unlearnkit.audit.doubts import Doubt

Target = Literal["higher", "lower", "match_retrain", "none"]
SCHEMA = (
    3  # of audit.json: 1 held sentences in English, 2 doubts and reasons as codes, 3 null for an open end of a band
)
Work = Literal["outputs", "return", "relearning", "few_shots", "features", "readings"]  # the parts of an audit's work
Band = tuple[float | None, float | None]  # lower and upper end; None: that side is open
ModelName = Literal["original", "unlearned", "retrained"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One measured value, with its unit, interval, target and doubts.

    Args:
        metric: name in the registry, with a suffix where a metric gives several values.
        model: which model it is about.
        replicate: which of several retrained models, from 0.
        part: part of the data, or None.
        value: None where it could not be measured; `doubts` says why.
        unit: `fraction`, `distance`, `L2`, `nats`, `steps`, `ratio`, `log-odds` or `seconds`.
        interval: (low, high): 95 % for a proportion, the bracket of the measurement for steps.
        target: what good means; in unlearning it is mostly the retrained model's value.
        series: the value's parts, by class, layer or step.
        band: of a primary reading, the values between which it passes; an end is None where that side is open.
        verdict: of a primary reading, what became of it.
        gap: of a primary reading, its distance from the retrained models in bands: above 1 it fails.
        samples: number of samples behind it, the smaller side's where two are compared; None where that means nothing.
        doubts: reasons not to trust it blindly.
    """

    metric: str
    model: ModelName
    value: float | None
    unit: str
    target: Target
    part: str | None = None
    replicate: int = 0
    interval: tuple[float, float] | None = None
    series: Mapping[str, float] | None = None
    band: Band | None = None
    verdict: Literal["pass", "fail", "unknown"] | None = None
    gap: float | None = None
    samples: int | None = None
    doubts: tuple[Doubt, ...] = ()

    @property
    def censored(self) -> bool:
        """Whether the measurement was cut off, so that the true value lies beyond the measured one."""
        return any(doubt.code == "censored" for doubt in self.doubts)


@dataclass(frozen=True)
class Spent:
    """What a part of an audit cost.

    Args:
        seconds: by the clock, without the decoding of images.
        samples_forward, samples_backward: images that went through a model in either direction.

    >>> Spent(1.0, 200) + Spent(0.5, 100, 100)
    Spent(seconds=1.5, samples_forward=300, samples_backward=100)
    """

    seconds: float
    samples_forward: int = 0
    samples_backward: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.seconds + other.seconds,
            self.samples_forward + other.samples_forward,
            self.samples_backward + other.samples_backward,
        )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the unlearned model can be told from a retrained one.

    Args:
        status: pass, fail, or unknown.
        why: the reasons.
        families_passed: families of readings in which all that are resolved pass.
        worst: the primary reading farthest from the retrained models.
        worst_gap: how far, in bands: above 1 it fails.
    """

    status: Literal["pass", "fail", "unknown"]
    why: tuple[Doubt, ...]
    families_passed: tuple[str, ...] = ()
    worst: str | None = None
    worst_gap: float | None = None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """All readings and the verdict; `as_dict` gives the content of `audit.json`.

    Args:
        readings: all of them.
        verdict: what they come to.
        tier: what there was of the forgotten classes: training samples (E3), held-out samples (E2), stand-ins of
            another origin (E1), or their ids alone (E0).
        notices: why the model plainly did not forget, where it did not; see `remaining`.
        votes: keys of the readings that the verdict rests on, measured or not: `metric/part`, or `metric`.
        spent: what each part of the work cost. Two audits that differ in nothing else are equal.
    """

    readings: tuple[Reading, ...]
    verdict: Verdict
    tier: Literal["E3", "E2", "E1", "E0"]
    votes: tuple[str, ...] = ()
    notices: tuple[Doubt, ...] = ()
    spent: Mapping[Work, Spent] = field(default_factory=dict, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the audit in a form that JSON can hold."""
        return {
            "schema": SCHEMA,
            "readings": [_plain(asdict(r)) for r in self.readings],
            "verdict": _plain(asdict(self.verdict)),
            "tier": self.tier,
            "votes": list(self.votes),
            "notices": [_plain(asdict(notice)) for notice in self.notices],
            "spent": {work: asdict(spent) for work, spent in self.spent.items()},
        }

    def value(self, metric: str, model: ModelName, part: str | None = None, replicate: int = 0) -> float | None:
        """Return the value of one reading; None where it was not measured.

        Raises:
            KeyError: there is no such reading.
        """
        for r in self.readings:
            if (r.metric, r.model, r.part, r.replicate) == (metric, model, part, replicate):
                return r.value
        raise KeyError((metric, model, part, replicate))


def wilson(successes: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion, in [0, 1].

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n). Source: E. B. Wilson, JASA 22, 1927.
    """
    p = successes / n
    centre = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == n else (centre + spread) / scale
    return low, high


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    return {key: list(v) if isinstance(v, tuple) else v for key, v in value.items()}
