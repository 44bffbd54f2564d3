"""The registry of metrics, and audit(): Evidence -> Audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from unlearnkit.audit.evidence import Evidence, Metric
from unlearnkit.audit.metrics.registry import METRICS, TRAINING
from unlearnkit.audit.reading import Audit, Reading
from unlearnkit.audit.verdict import judge_all, verdict
from unlearnkit.runtime.progress import Progress, Silent
from unlearnkit.split import Part

STAND_INS = "measured on stand-ins of another origin, not on the forgotten data"


def audit(
    evidence: Evidence,
    metrics: Mapping[str, Metric] = METRICS,
    *,
    priors: Mapping[str, float] | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Apply the metrics to the evidence, and judge the primary readings (see `verdict`).

    Args:
        evidence: what was gathered.
        metrics: which metrics.
        priors: standard deviations of the primary readings over retrained models of a near setting, from a bank.
        progress: where progress is shown.
    """
    progress = progress or Silent()
    progress.start("audit metrics", len(metrics))
    readings: list[Reading] = []
    for name, metric in metrics.items():
        found = metric.fn(evidence)
        if evidence.tier == "E1" and (metric.wants & {*TRAINING, "random"} or any(p.forgotten for p in metric.parts)):
            found = [r if _retained(r) else replace(r, doubts=(*r.doubts, STAND_INS)) for r in found]
        readings += found
        progress.advance(name)
    progress.finish()
    judged = judge_all(readings, priors)
    by_key = {(j.primary.metric, j.primary.part): j for j in judged}
    for i, reading in enumerate(readings):
        judgement = by_key.get((reading.metric, reading.part))
        if judgement is not None and reading.model == "unlearned":
            doubts = (*reading.doubts, f"not resolved: {judgement.why}") if judgement.why else reading.doubts
            readings[i] = replace(
                reading, band=judgement.band, verdict=judgement.status, gap=judgement.gap, doubts=doubts
            )
    joined = verdict(judged, forgotten_data=evidence.tier != "E0")
    if evidence.tier == "E1":
        joined = replace(joined, why=f"{joined.why}; judged on stand-ins, not on the forgotten data")
    return Audit(readings=tuple(readings), verdict=joined, tier=evidence.tier)


def _retained(reading: Reading) -> bool:
    """Whether a reading is of retained data alone."""
    return reading.part is not None and not Part(reading.part).forgotten
