"""The verdict: can the unlearned model be told from retrained ones, on readings fixed before any result is seen?

For each primary reading, with k retrained models of mean r and standard deviation s on the reading's scale:

    s~^2 = (d0 s0^2 + (k - 1) s^2) / (d0 + k - 1),   s0 from a bank of retrained models of a near setting, d0 = 8
    B    = max(delta, t_{d0 + k - 1, 1 - 0.05 / (2 P)} s~ sqrt(1 + 1/k)),   P = 8

The reading passes where |u - r| <= B (or u - r, or r - u, where only one side is a fault). It stays *unknown* with
fewer than three retrained models, where data are missing, and, the two accuracies apart, where the original lies
within 2 B of the retrained models: a reading that cannot tell the original cannot clear anybody. It also does where the
measurement of a retrained model was cut off and no bank says how far it might have gone: s is then too small.

Proportions and AUC are compared on the logit scale with 1/2 added, log((x n + 1/2) / ((1 - x) n + 1/2)), positive
distances and times on the log scale. delta is a margin in the reading's own unit (for times on the log scale); it is
carried to the scale at r, in the direction of u. With independent normal readings a freshly retrained model passes
all of them about 95 % of the time (tests/test_verdict.py repeats that simulation); the prior keeps a band over three
models from being as wide or as narrow as chance makes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from unlearnkit.audit.reading import Reading, Verdict

Status = Literal["pass", "fail", "unknown"]
PRIOR_MODELS = 8  # d0: degrees of freedom of the bank's standard deviation
LEVEL = 0.05  # share of freshly retrained models that fail at least one reading
FEWEST = 3  # retrained models below which nothing is resolved
FLOOR = 1e-3  # distances below count as this
POWER = 2.0  # bands that the original must lie away from the retrained models


@dataclass(frozen=True, kw_only=True)
class Primary:
    """A reading that is voted on.

    Args:
        metric, part: which reading.
        family: readings of one kind of evidence.
        scale: what kind of number it is, and so the scale on which it is compared.
        delta: margin that is no fault, in the reading's unit; the logarithm of a ratio for times.
        fault: on which side of the retrained models a difference counts.
        powerless: whether it stands although the original passes too.
    """

    metric: str
    part: str | None
    family: Literal["accuracy", "outputs", "membership", "representation", "relearn"]
    scale: Literal["proportion", "distance", "time"]
    delta: float
    fault: Literal["both", "low", "high"] = "both"
    powerless: bool = False

    @property
    def key(self) -> str:
        """Name in a bank and in the audit."""
        return self.metric if self.part is None else f"{self.metric}/{self.part}"


PRIMARY = (
    Primary(
        metric="accuracy",
        part="retain_test",
        family="accuracy",
        scale="proportion",
        delta=0.01,
        fault="low",
        powerless=True,
    ),
    Primary(metric="accuracy", part="forget_test", family="accuracy", scale="proportion", delta=0.01, powerless=True),
    # a model nearer to the retrained ones than they are to each other is no worse than they are
    Primary(metric="prediction_tv", part="forget_test", family="outputs", scale="proportion", delta=0.05, fault="high"),
    Primary(
        metric="activation_distance", part="forget_test", family="outputs", scale="distance", delta=0.05, fault="high"
    ),
    Primary(metric="membership_auc_loss", part=None, family="membership", scale="proportion", delta=0.02),
    Primary(metric="class_membership_auc", part=None, family="membership", scale="proportion", delta=0.02),
    Primary(metric="probe_recovery", part="forget_test", family="representation", scale="proportion", delta=0.02),
    Primary(metric="relearn_steps", part=None, family="relearn", scale="time", delta=0.25),
)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of one primary reading.

    Args:
        primary: which.
        status: pass, fail or unknown.
        gap: |u - r| / B, 0 where the difference is no fault; None where it is unknown for lack of figures.
        band: values between which it passes, in the reading's unit.
        why: the reason for *unknown*, or "".
    """

    primary: Primary
    status: Status
    gap: float | None = None
    band: tuple[float, float] | None = None
    why: str = ""


def judge(
    primary: Primary,
    *,
    unlearned: float | None,
    retrained: Sequence[float],
    original: float | None,
    samples: int | None,
    prior: float | None,
    censored: bool = False,
) -> Judged:
    """Judge one reading.

    Args:
        primary: which reading.
        unlearned, original: its values; None where they are not known.
        retrained: its values for the retrained models.
        samples: number of samples behind a proportion, the smaller side's for an AUC.
        prior: s0, standard deviation over retrained models of a near setting on the reading's scale. None where no
            bank is near: d0 is then 0, and the bands over few models are wide, as they must be.
        censored: whether the measurement of a retrained model was cut off.
    """
    k = len(retrained)
    if unlearned is None or (not retrained and original is None):
        return Judged(primary=primary, status="unknown", why="it could not be measured")
    if k < FEWEST:
        return Judged(primary=primary, status="unknown", why=f"it needs {FEWEST} retrained models, and {k} came")
    if primary.scale == "proportion" and samples is None:
        return Judged(primary=primary, status="unknown", why="the number of samples behind it is not known")
    if censored and prior is None:
        why = "retrained models were cut off, and no bank says how far they spread"
        return Judged(primary=primary, status="unknown", why=why)
    scale = Scale(kind=primary.scale, samples=samples or 0)
    to = scale.to
    points = [to(value) for value in retrained]
    mean = sum(points) / k
    variance = sum((point - mean) ** 2 for point in points) / (k - 1)
    known = 0 if prior is None else PRIOR_MODELS
    pooled = math.sqrt((known * (prior or 0.0) ** 2 + (k - 1) * variance) / (known + k - 1))
    spread = _quantile(known + k - 1) * pooled * math.sqrt(1 + 1 / k)
    below, above = (max(scale.margin(mean, sign * primary.delta), spread) for sign in (-1, 1))
    low = -math.inf if primary.fault == "high" else mean - below
    high = math.inf if primary.fault == "low" else mean + above
    band = (scale.back(low), scale.back(high))
    difference = to(unlearned) - mean
    fault = {"both": abs(difference), "low": max(0.0, -difference), "high": max(0.0, difference)}[primary.fault]
    limit = below if difference < 0 else above
    gap = fault / limit if limit else 0.0  # no room beyond the end of the range, where all retrained models are
    if not primary.powerless:
        if original is None:
            return Judged(primary=primary, status="unknown", gap=gap, band=band, why="the original is not measured")
        away = to(original) - mean
        if abs(away) < POWER * (below if away < 0 else above):
            why = "the original is too near to the retrained models to tell them apart"
            return Judged(primary=primary, status="unknown", gap=gap, band=band, why=why)
    return Judged(primary=primary, status="pass" if gap <= 1 else "fail", gap=gap, band=band)


def verdict(judged: Sequence[Judged], *, forgotten_data: bool = True) -> Verdict:
    """Join the judgements.

    *fail* if any reading fails; *pass* if all that are resolved pass, and representation and one of outputs and
    membership are among them; else *unknown*. Without any data of the forgotten classes nothing is ever passed.

    Args:
        judged: one for each primary reading.
        forgotten_data: whether there are samples of the forgotten classes (evidence above E0).
    """
    failed = [j.primary.key for j in judged if j.status == "fail"]
    passed = {j.primary.family for j in judged if j.status == "pass"} - {
        j.primary.family for j in judged if j.status == "fail"
    }
    worst = max(
        (j for j in judged if j.status != "unknown" and j.gap is not None), key=lambda j: j.gap or 0.0, default=None
    )

    def said(status: Status, why: str) -> Verdict:
        return Verdict(
            status=status,
            why=why,
            families_passed=tuple(sorted(passed)),
            worst=None if worst is None else worst.primary.key,
            worst_gap=None if worst is None else worst.gap,
        )

    if failed:
        return said("fail", f"outside the band of the retrained models: {', '.join(failed)}")
    resolved = {j.primary.family for j in judged if j.status == "pass"}
    reasons = []
    if not forgotten_data:
        reasons.append("there is no data of the forgotten classes")
    if "representation" not in resolved:
        reasons.append(_open(judged, "representation"))
    if not resolved & {"outputs", "membership"}:
        reasons.append(_open(judged, "outputs", "membership"))
    if reasons:
        return said("unknown", "; ".join(dict.fromkeys(reasons)))
    left = [j.primary.key for j in judged if j.status == "unknown"]
    why = "inside the band of the retrained models" + (f"; not resolved: {', '.join(left)}" if left else "")
    return said("pass", why)


def judge_all(readings: Sequence[Reading], priors: Mapping[str, float] | None) -> list[Judged]:
    """Judge every primary reading of an audit.

    Args:
        readings: all readings of the audit.
        priors: s0 of every primary reading, by its key; None where there is no bank of a near setting.
    """
    judged = []
    for primary in PRIMARY:
        group = [r for r in readings if r.metric == primary.metric and r.part == primary.part]
        values = {name: [r for r in group if r.model == name] for name in ("original", "unlearned", "retrained")}
        counts = [r.samples for r in group if r.samples is not None]
        missing = any(r.value is None for r in values["retrained"])
        judged.append(
            judge(
                primary,
                unlearned=next((r.value for r in values["unlearned"]), None),
                retrained=[] if missing else [r.value for r in values["retrained"] if r.value is not None],
                original=next((r.value for r in values["original"]), None),
                samples=min(counts) if counts else None,
                prior=priors[primary.key] if priors is not None else None,
                censored=any(r.censored for r in values["retrained"]),
            )
        )
    return judged


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Where readings of one kind are compared, and the way there and back.

    Args:
        kind: proportion (and AUC), distance or time.
        samples: number behind a proportion.
    """

    kind: Literal["proportion", "distance", "time"]
    samples: int

    def to(self, value: float) -> float:
        """Carry a value to the scale."""
        if self.kind == "proportion":
            return math.log((value * self.samples + 0.5) / ((1 - value) * self.samples + 0.5))
        return math.log(max(value, FLOOR))

    def back(self, point: float) -> float:
        """Carry a point of the scale back, into the range of the values."""
        if self.kind != "proportion":
            return math.exp(point) if point > -math.inf else 0.0
        share = 1 / (1 + math.exp(-point)) if point > -700 else 0.0
        value = min(1.0, max(0.0, (share * (self.samples + 1) - 0.5) / self.samples))
        return round(value, 12)  # there and back, 0 is 0 and not 1e-18

    def margin(self, mean: float, delta: float) -> float:
        """`delta` away from the value at `mean`, on the scale; what would leave the range stops at its end."""
        if self.kind == "time":
            return abs(delta)
        moved = max(0.0, self.back(mean) + delta)
        return abs(self.to(min(1.0, moved) if self.kind == "proportion" else moved) - mean)


@cache
def _quantile(degrees: int) -> float:
    """Quantile of Student's t for one of the primary readings, all of them together at `LEVEL`."""
    from scipy.stats import t

    return float(t.ppf(1 - LEVEL / (2 * len(PRIMARY)), degrees))


def _open(judged: Sequence[Judged], *families: str) -> str:
    """Say why no reading of these families was resolved."""
    reasons = [f"{j.primary.key}: {j.why}" for j in judged if j.primary.family in families and j.why]
    return f"{' and '.join(families)} not resolved ({'; '.join(reasons) or 'not measured'})"
