"""Applies the metrics to the evidence and judges the primary readings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metric import CLASSES, ROWS, TRAINING, Metric
from unlearnkit.audit.metrics.registry import METRICS, votes_for
from unlearnkit.audit.prior import Prior
from unlearnkit.audit.reading import Audit, Reading, Spent, Work
from unlearnkit.audit.remaining import not_forgotten
from unlearnkit.audit.row_power import without_power
from unlearnkit.audit.verdict import Judged, judge_all, verdict
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.split import Part

STAND_INS = Doubt("stand_ins")


def audit(
    evidence: Evidence,
    metrics: Mapping[str, Metric] = METRICS,
    *,
    priors: Mapping[str, Prior] | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Apply the metrics to the evidence, and judge the primary readings (see `verdict`).

    Metrics and votes that are not made for what was asked for (`Metric.kinds`, `Vote.kinds`) are left out. What banks
    say of classes says nothing of rows, whose readings have no prior. A request for classes and rows is not judged.

    Args:
        evidence: what was gathered.
        metrics: which metrics.
        priors: spreads of the primary readings over retrained models, from a bank or from all of them.
        progress: where progress is shown.
    """
    progress = progress or Silent()
    kinds = evidence.request.kinds
    metrics = {name: metric for name, metric in metrics.items() if kinds <= metric.kinds}
    progress.start("audit metrics", len(metrics))
    readings: list[Reading] = []
    spent = dict(evidence.spent)
    for name, metric in metrics.items():
        began = time.perf_counter()
        found = metric.fn(evidence)
        work: Work = "features" if "features" in metric.wants else "readings"
        spent[work] = spent.get(work, Spent(0.0)) + Spent(time.perf_counter() - began)
        if evidence.tier == "E1" and (metric.wants & {*TRAINING, "random"} or any(p.forgotten for p in metric.parts)):
            found = [r if _retained(r) else replace(r, doubts=(*r.doubts, STAND_INS)) for r in found]
        readings += found
        progress.advance(name)
    progress.finish()
    # all of the registry, whether they were measured or not, and those of metrics that are not in it
    given = [vote for metric in metrics.values() for vote in metric.votes if kinds <= vote.kinds]
    votes = tuple(dict.fromkeys([*votes_for(kinds), *given]))
    if priors is not None:
        known = {vote.key for vote in votes if vote.kinds >= CLASSES}
        priors = {key: prior for key, prior in priors.items() if key in known}
    judged = judge_all(readings, priors, votes)
    by_key: dict[tuple[str, str | None], Judged] = {(j.vote.metric, j.vote.part): j for j in judged}
    for i, reading in enumerate(readings):
        judgement = by_key.get((reading.metric, reading.part))
        if judgement is not None and reading.model == "unlearned":
            why = () if judgement.why is None else (Doubt("unresolved", {"reason": judgement.why}),)
            readings[i] = replace(
                reading,
                band=judgement.band,
                verdict=judgement.status,
                gap=judgement.gap,
                doubts=(*reading.doubts, *why),
            )
    joined = verdict(judged, forgotten_data=evidence.tier != "E0", rows=bool(kinds & ROWS))
    if kinds & ROWS and joined.status == "unknown":
        joined = replace(joined, why=(*without_power(readings, judged), *joined.why))
    if kinds & ROWS and kinds & CLASSES:
        joined = replace(joined, status="unknown", why=(Doubt("mixed_request"),))
    if evidence.tier == "E1":
        joined = replace(joined, why=(*joined.why, Doubt("judged_on_stand_ins")))
    return Audit(
        readings=tuple(readings),
        verdict=joined,
        tier=evidence.tier,
        votes=tuple(vote.key for vote in votes),
        notices=not_forgotten(readings, len(evidence.request.classes), rows=bool(kinds & ROWS)),
        spent=spent,
    )


def _retained(reading: Reading) -> bool:
    """Return whether a reading is about retained data alone."""
    return reading.part is not None and not Part(reading.part).forgotten
