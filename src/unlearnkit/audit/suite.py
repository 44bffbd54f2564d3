"""The registry of metrics, and audit(): Evidence -> Audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from unlearnkit.audit.accuracy import PARTS as ACCURACY_PARTS
from unlearnkit.audit.accuracy import accuracy, balanced_accuracy
from unlearnkit.audit.agreement import PARTS as AGREEMENT_PARTS
from unlearnkit.audit.agreement import output_agreement
from unlearnkit.audit.attacks import few_shot_recovery, fine_tune_recovery
from unlearnkit.audit.class_membership import PARTS as CLASS_PARTS
from unlearnkit.audit.class_membership import class_membership
from unlearnkit.audit.collateral import PARTS as COLLATERAL_PARTS
from unlearnkit.audit.collateral import collateral
from unlearnkit.audit.cost import cost
from unlearnkit.audit.evidence import Evidence, Metric, Want
from unlearnkit.audit.histograms import PARTS as HISTOGRAM_PARTS
from unlearnkit.audit.histograms import histograms
from unlearnkit.audit.membership import PARTS as MEMBERSHIP_PARTS
from unlearnkit.audit.membership import SVC_PARTS, sample_membership, svc_membership
from unlearnkit.audit.outputs import PARTS as OUTPUT_PARTS
from unlearnkit.audit.outputs import prediction_distribution
from unlearnkit.audit.reading import Audit, Reading
from unlearnkit.audit.relearn import relearn_time
from unlearnkit.audit.representation import PARTS as REPRESENTATION_PARTS
from unlearnkit.audit.representation import knn_recovery, probe_recovery, prototype_recovery
from unlearnkit.audit.rmia import rmia_membership
from unlearnkit.audit.similarity import cka_original, cka_retrained, information_difference
from unlearnkit.audit.u_lira import PARTS as U_LIRA_PARTS
from unlearnkit.audit.u_lira import u_lira_membership
from unlearnkit.audit.verdict import judge_all, verdict
from unlearnkit.audit.weights import weight_distance
from unlearnkit.audit.zrf import PARTS as ZRF_PARTS
from unlearnkit.audit.zrf import zrf
from unlearnkit.runlog import Progress, Silent
from unlearnkit.split import Part

STAND_INS = "measured on stand-ins of another origin, not on the forgotten data"
FEATURES: frozenset[Want] = frozenset({"outputs", "features"})

METRICS: dict[str, Metric] = {
    "accuracy": Metric(fn=accuracy, wants=frozenset({"outputs"}), parts=frozenset(ACCURACY_PARTS)),
    "balanced_accuracy": Metric(fn=balanced_accuracy, wants=frozenset({"outputs"}), parts=frozenset(ACCURACY_PARTS)),
    "collateral": Metric(fn=collateral, wants=frozenset({"outputs"}), parts=frozenset(COLLATERAL_PARTS)),
    "prediction_distribution": Metric(
        fn=prediction_distribution, wants=frozenset({"outputs"}), parts=frozenset(OUTPUT_PARTS)
    ),
    "histograms": Metric(fn=histograms, wants=frozenset({"outputs"}), parts=frozenset(HISTOGRAM_PARTS)),
    "output_agreement": Metric(fn=output_agreement, wants=frozenset({"outputs"}), parts=frozenset(AGREEMENT_PARTS)),
    "zrf": Metric(fn=zrf, wants=frozenset({"outputs", "random"}), parts=frozenset(ZRF_PARTS)),
    "sample_membership": Metric(fn=sample_membership, wants=frozenset({"outputs"}), parts=frozenset(MEMBERSHIP_PARTS)),
    "svc_membership": Metric(fn=svc_membership, wants=frozenset({"outputs"}), parts=frozenset(SVC_PARTS)),
    "rmia_membership": Metric(fn=rmia_membership, wants=frozenset({"outputs"}), parts=frozenset(MEMBERSHIP_PARTS)),
    "u_lira_membership": Metric(
        fn=u_lira_membership, wants=frozenset({"outputs", "shadows"}), parts=frozenset(U_LIRA_PARTS)
    ),
    "class_membership": Metric(fn=class_membership, wants=frozenset({"outputs"}), parts=frozenset(CLASS_PARTS)),
    "probe_recovery": Metric(fn=probe_recovery, wants=FEATURES, parts=frozenset(REPRESENTATION_PARTS)),
    "knn_recovery": Metric(fn=knn_recovery, wants=FEATURES, parts=frozenset(REPRESENTATION_PARTS)),
    "prototype_recovery": Metric(fn=prototype_recovery, wants=FEATURES, parts=frozenset(REPRESENTATION_PARTS)),
    "cka_original": Metric(fn=cka_original, wants=FEATURES, parts=frozenset(REPRESENTATION_PARTS)),
    "cka_retrained": Metric(fn=cka_retrained, wants=FEATURES, parts=frozenset(REPRESENTATION_PARTS)),
    "information_difference": Metric(fn=information_difference, wants=FEATURES, parts=frozenset(REPRESENTATION_PARTS)),
    "weight_distance": Metric(fn=weight_distance, wants=frozenset({"weights"})),
    "relearn_time": Metric(fn=relearn_time, wants=frozenset({"relearn"})),
    "few_shot_recovery": Metric(fn=few_shot_recovery, wants=frozenset({"attacks"})),
    "fine_tune_recovery": Metric(fn=fine_tune_recovery, wants=frozenset({"attacks"})),
    "cost": Metric(fn=cost, wants=frozenset({"cost"})),
}

# what trains a copy of every model, which takes most of an audit's time
TRAINING: frozenset[Want] = frozenset({"relearn", "attacks"})
QUICK = {name: metric for name, metric in METRICS.items() if not metric.wants & TRAINING}
# what says something without a retrained model. It can show that the class is still there: a probe that finds it as
# easily as in the original, members that stand out, an attack that brings it back. It cannot show that it is gone: how
# much of a class a model knows that never saw it, only such a model tells.
RETRAIN_FREE = frozenset(METRICS) - {"output_agreement", "rmia_membership", "u_lira_membership", "cka_retrained"}


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
