"""Decides whether the unlearned model can be told from retrained ones, by a rule fixed before its results are seen.

For each primary reading, with k retrained models of mean r and standard deviation s on the reading's scale:

    s~^2 = (d0 s0^2 + (k - 1) s^2) / (d0 + k - 1),   s0 and d0 from a prior (`audit/prior.py`): of a bank of
                                                     retrained models of the setting, d0 = 8, or of all banks, d0 <= 8
    B    = max(delta, t_{d0 + k - 1, 1 - 0.05 / (2 P)} s~ sqrt(1 + 1/k)),   P = number of readings that vote

In this order: the reading *fails* where |u - r| > B (or u - r, or r - u, where only one side is a fault), whatever
else is known; it is *unknown* with fewer than three retrained models, and where the original lies within 2 B of them,
for any reading but the two accuracies: a reading that does not separate the original from retrained models is no
evidence that the unlearned model is like a retrained one; else it *passes*. Before all that it is unknown where data
are missing, or where the measurement of a retrained model was cut off and there is no prior: s is then too small. To
ask for power first would hide failures: a model far outside the band is no less outside because the original lies near
the band's end.

Proportions and AUC are compared on the logit scale with 1/2 added, log((x n + 1/2) / ((1 - x) n + 1/2)), positive
distances and times on the log scale, an excess in log-odds as it is. delta is a margin in the reading's own unit (for
times on the log scale); it is mapped to the scale at r, in the direction of u. Of single rows, for which no bank knows
a spread, it is at least 2.5 / n for a proportion of n rows, since a few models can agree on all of them by chance. With
independent normal readings a newly retrained model passes all of them about 95 % of the time
(tests/audit/test_verdict.py repeats that simulation). The prior s0 steadies the width of the band, as the spread of
three models alone can be far too large or too small by chance. s of a mean distance to the retrained models is
corrected for the pairs that they share (`Vote.pairwise`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.metric import Family, ScaleKind, Vote
from unlearnkit.audit.metrics.registry import PRIMARY
from unlearnkit.audit.prior import Prior
from unlearnkit.audit.reading import Band, Reading, Verdict
from unlearnkit.request import CLASSES

Status = Literal["pass", "fail", "unknown"]
LEVEL = 0.05  # share of freshly retrained models that fail at least one reading
FEWEST = 3  # retrained models below which nothing is resolved
FLOOR = 1e-3  # distances below count as this
TRAINING_FAILED = ("stage_stopped", "loss_infinite", "remark")  # reasons why what trains has no value
NOT_FINITE = ("layer_not_finite", "outputs_not_finite")  # reasons why what only looks has none
POWER = 2.0  # bands that the original must lie away from the retrained models
FEW_ROWS = 2.5  # two rows that a model may answer otherwise where a few others happen to agree, and half for rounding
MOST_ASKED = 20  # retrained models; that more than these would settle a reading is not said


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The judgement of one primary reading.

    Args:
        vote: which.
        status: pass, fail or unknown.
        gap: |u - r| / B, 0 where the difference is no fault; None where it is unknown for lack of figures.
        band: values between which it passes, in the reading's unit; an end is None where that side is open.
        why: the reason for *unknown*, and for *fail* where it cannot be measured on this model alone; else None.
    """

    vote: Vote
    status: Status
    gap: float | None = None
    band: Band | None = None
    why: Doubt | None = None


def judge(
    vote: Vote,
    *,
    unlearned: float | None,
    retrained: Sequence[float],
    original: float | None,
    samples: int | None,
    prior: Prior | None,
    censored: bool = False,
    votes: int = len(PRIMARY),
    models: int = 0,
) -> Judged:
    """Judge one primary reading: pass, fail or unknown.

    Args:
        vote: which reading.
        unlearned, original: its values; None where they are not known.
        retrained: its values for the retrained models.
        samples: number of samples behind a proportion, the smaller side's for an AUC.
        prior: the spread over retrained models of other settings, or of others of this one. None where nothing is
            known: d0 is then 0, and the bands over few models are wide, as they must be.
        censored: whether the measurement of a retrained model was cut off.
        votes: how many readings vote, which share the level of the verdict among them.
        models: how many retrained models there are; a distance among them has no value where there is one.
    """
    k = len(retrained)
    few = None
    if k < FEWEST:
        came = max(k, models)
        few = Doubt("few_retrained", {"needed": FEWEST, "given": came}) if came < FEWEST else Doubt("not_measured")
    if unlearned is None or (not retrained and original is None):
        return Judged(vote=vote, status="unknown", why=Doubt("not_measured"))
    known = 0.0 if prior is None else prior.degrees
    if not retrained or known + k < 2:  # no spread, and so no band
        return Judged(vote=vote, status="unknown", why=few)
    if vote.scale == "proportion" and samples is None:
        return Judged(vote=vote, status="unknown", why=Doubt("samples_unknown"))
    if censored and prior is None:
        return Judged(vote=vote, status="unknown", why=Doubt("cut_off_without_bank"))
    scale = Scale(kind=vote.scale, samples=samples or 0)
    to = scale.to
    points = [to(value) for value in retrained]
    mean = sum(points) / k
    squares = vote.widened(k) ** 2 * sum((point - mean) ** 2 for point in points)
    unit = scale.unit(mean) if prior is not None and prior.relative and vote.counted else 1.0
    known_spread = 0.0 if prior is None else prior.spread * unit
    pooled = math.sqrt((known * known_spread**2 + squares) / (known + k - 1))
    spread = half_width(pooled, known, k, votes)
    delta = _delta(vote, scale)
    below, above = (max(scale.margin(mean, sign * delta), spread) for sign in (-1, 1))
    low = scale.back(-math.inf if vote.fault == "high" else mean - below)
    high = scale.back(math.inf if vote.fault == "low" else mean + above)
    band = (low if low > -math.inf else None, high if high < math.inf else None)
    difference = to(unlearned) - mean
    fault = {"both": abs(difference), "low": max(0.0, -difference), "high": max(0.0, difference)}[vote.fault]
    limit = below if difference < 0 else above
    gap = fault / limit if limit else 0.0  # no room beyond the end of the range, where all retrained models are
    if gap > 1:
        return Judged(vote=vote, status="fail", gap=gap, band=band)
    weak = few
    if weak is None and not vote.powerless:
        if original is None:
            weak = Doubt("original_not_measured")
        else:
            away = to(original) - mean
            if abs(away) < POWER * (below if away < 0 else above):
                margin = scale.margin(mean, math.copysign(delta, away))
                weak = _powerless(k, settling(abs(away), margin, pooled, known, given=k, votes=votes))
    return Judged(vote=vote, status="unknown" if weak else "pass", gap=gap, band=band, why=weak)


def settling(away: float, margin: float, pooled: float, known: float, *, given: int, votes: int) -> int | None:
    """Return the smallest number of retrained models at which the original would lie `POWER` bands away.

    The pooled spread is taken to stay what it is; only its degrees of freedom and the mean become surer. That is an
    expectation and no promise: further models change the spread.

    Args:
        away: distance of the original from the retrained models, on the reading's scale, 0 or more.
        margin: the reading's margin on that side.
        pooled: s~, from the prior and the models given.
        known: d0 of the prior, 0 without one.
        given: how many retrained models there are.
        votes: how many readings vote.

    Returns:
        None where even `MOST_ASKED` would not do.
    """
    for k in range(given + 1, MOST_ASKED + 1):
        if away >= POWER * max(margin, half_width(pooled, known, k, votes)):
            return k
    return None


def verdict(judged: Sequence[Judged], *, forgotten_data: bool = True, rows: bool = False) -> Verdict:
    """Combine the judgements of the primary readings into the verdict.

    *fail* if any reading fails; *pass* if all that are resolved pass, and representation and one of outputs and
    membership are among them; else *unknown*. Without any data of the forgotten classes nothing is ever passed.

    Of rows there is no class to recover: there membership and outputs must both be resolved.

    Args:
        judged: one for each primary reading.
        forgotten_data: whether there are samples of the forgotten classes (evidence above E0).
        rows: whether rows or subclasses were to be forgotten.
    """
    failed = [j.vote.key for j in judged if j.status == "fail"]
    passed = {j.vote.family for j in judged if j.status == "pass"} - {
        j.vote.family for j in judged if j.status == "fail"
    }
    worst = max(
        (j for j in judged if j.status != "unknown" and j.gap is not None), key=lambda j: j.gap or 0.0, default=None
    )

    def said(status: Status, *why: Doubt) -> Verdict:
        return Verdict(
            status=status,
            why=why,
            families_passed=tuple(sorted(passed)),
            worst=None if worst is None else worst.vote.key,
            worst_gap=None if worst is None else worst.gap,
        )

    if failed:
        return said("fail", Doubt("outside_band", {"readings": failed}))
    resolved = {j.vote.family for j in judged if j.status == "pass"}
    reasons = []
    if not forgotten_data:
        reasons.append(Doubt("no_forgotten_data"))
    if rows and not resolved >= {"membership", "outputs"}:
        reasons.append(Doubt("rows_unresolved", {"reasons": _open(judged, "membership", "outputs")}))
    if not rows and "representation" not in resolved:
        reasons.append(Doubt("representation_unresolved", {"reasons": _open(judged, "representation")}))
    if not rows and not resolved & {"outputs", "membership"}:
        open_readings = _open(judged, "outputs", "membership")
        reasons.append(Doubt("outputs_and_membership_unresolved", {"reasons": open_readings}))
    if reasons:
        return said("unknown", *reasons)
    unresolved = [j.vote.key for j in judged if j.status == "unknown"]
    return said(
        "pass", Doubt("inside_band"), *([Doubt("readings_unresolved", {"readings": unresolved})] if unresolved else [])
    )


def judge_all(
    readings: Sequence[Reading], priors: Mapping[str, Prior] | None, votes: Sequence[Vote] = PRIMARY
) -> list[Judged]:
    """Judge every primary reading of an audit.

    Args:
        readings: all readings of the audit.
        priors: of primary readings, by their keys; None: of none. A reading that it lacks has no prior.
        votes: the primary readings.
    """
    judged: list[Judged] = []
    models = len({r.replicate for r in readings if r.model == "retrained"})
    for vote in votes:
        group = [r for r in readings if r.metric == vote.metric and r.part == vote.part]
        values = {name: [r for r in group if r.model == name] for name in ("original", "unlearned", "retrained")}
        counts = [r.samples for r in group if r.samples is not None]
        missing = any(r.value is None for r in values["retrained"])
        if not missing and len(values["retrained"]) >= FEWEST:
            broken = _broken(values["unlearned"], values["original"])
            if broken is not None:
                judged.append(Judged(vote=vote, status="fail", why=broken))
                continue
        judged.append(
            judge(
                vote,
                unlearned=next((r.value for r in values["unlearned"]), None),
                retrained=[] if missing else [r.value for r in values["retrained"] if r.value is not None],
                original=next((r.value for r in values["original"]), None),
                samples=min(counts) if counts else None,
                prior=None if priors is None else priors.get(vote.key),
                censored=any(r.censored for r in values["retrained"]),
                votes=len(votes),
                models=models,
            )
        )
    return judged


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The scale on which readings of one kind are compared, with the maps to it and back.

    Args:
        kind: proportion (and AUC), distance, time or excess.
        samples: number behind a proportion.
    """

    kind: ScaleKind
    samples: int

    def to(self, value: float) -> float:
        """Map a value to the scale."""
        if self.kind == "excess":
            return value
        if self.kind == "proportion":
            return math.log((value * self.samples + 0.5) / ((1 - value) * self.samples + 0.5))
        return math.log(max(value, FLOOR))

    def back(self, point: float) -> float:
        """Map a point of the scale back into the range of the values."""
        if self.kind == "excess":
            return point
        if self.kind != "proportion":
            return math.exp(point)  # of -inf 0, of inf inf
        share = 1 / (1 + math.exp(-point)) if point > -700 else 0.0
        value = min(1.0, max(0.0, (share * (self.samples + 1) - 0.5) / self.samples))
        return round(value, 12)  # there and back, 0 is 0 and not 1e-18

    def unit(self, mean: float) -> float:
        """Return the unit in which spreads of different settings are comparable, at a point of the scale.

        Of a proportion a of n samples it is the binomial standard deviation of its logit,
        sqrt(1 / (a n + 1/2) + 1 / ((1 - a) n + 1/2)); of an excess in log-odds the same at a = 1/2; else 1. Models that
        are seen on the same samples differ by less than that, by a share that is alike in different settings: with few
        samples, or near 0 or 1, every model of one seed lies far from that of another on the logit scale.
        """
        if self.kind not in ("proportion", "excess"):
            return 1.0
        share = self.back(mean) if self.kind == "proportion" else 0.5
        return math.sqrt(1 / (share * self.samples + 0.5) + 1 / ((1 - share) * self.samples + 0.5))

    def margin(self, mean: float, delta: float) -> float:
        """Return how far a step of `delta` from the value at `mean` leads on the scale; it ends with the range."""
        if self.kind in ("time", "excess"):
            return abs(delta)
        moved = max(0.0, self.back(mean) + delta)
        return abs(self.to(min(1.0, moved) if self.kind == "proportion" else moved) - mean)


def _delta(vote: Vote, scale: Scale) -> float:
    """Return the vote's margin; of a proportion of few rows, for which no bank knows a spread, `FEW_ROWS` of them."""
    if scale.kind != "proportion" or vote.kinds >= CLASSES:
        return vote.delta
    return max(vote.delta, FEW_ROWS / max(1, scale.samples))


def _powerless(given: int, enough: int | None) -> Doubt:
    """Return the reason why the original is too near, with how many more retrained models would settle it."""
    if enough is None:
        return Doubt("original_too_near")
    if enough == given + 1:
        return Doubt("one_more_retrained_settles")
    return Doubt("more_retrained_settle", {"more": enough - given})


def half_width(pooled: float, known: float, k: int, votes: int) -> float:
    """Return half the width of the band around k retrained models, without the margin."""
    return _quantile(known + k - 1, votes) * pooled * math.sqrt(1 + 1 / k)


@cache
def _quantile(degrees: float, votes: int) -> float:
    """Return the quantile of Student's t that keeps all primary readings together at `LEVEL`."""
    from scipy.stats import t

    return float(t.ppf(1 - LEVEL / (2 * votes), degrees))


def _broken(unlearned: Sequence[Reading], original: Sequence[Reading]) -> Doubt | None:
    """Return why a reading that the retrained models have cannot be had of the unlearned model, where that tells it.

    The training that measures it failed: its loss was no number, or (a remark) it could not begin, for want of a head
    that can be trained, say. Or its features or outputs are not finite where the original's are. Not to count either
    would be a way to hide: one channel that overflows would take every layer from the judge's sight.
    """
    reasons = [doubt.values.get("reason") for r in unlearned for doubt in r.doubts if doubt.code == "unknown"]
    codes = {reason.code for reason in reasons if isinstance(reason, Doubt)}
    if codes & set(TRAINING_FAILED):
        return Doubt("training_failed_here")
    known = bool(original) and all(r.value is not None for r in original)
    return Doubt("not_finite_here") if known and codes & set(NOT_FINITE) else None


def _open(judged: Sequence[Judged], *families: Family) -> list[Doubt]:
    """Return the reason why each reading of these families is unknown."""
    reasons = [
        Doubt("reading_unresolved", {"reading": j.vote.key, "reason": j.why})
        for j in judged
        if j.vote.family in families and j.why is not None
    ]
    return reasons or [Doubt("family_not_measured")]
