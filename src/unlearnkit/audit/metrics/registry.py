"""The registry of metrics: every metric by its name, with what it wants observed and the parts it reads."""

from __future__ import annotations

from unlearnkit.audit.evidence import Metric, Want
from unlearnkit.audit.metrics.accuracy import PARTS as ACCURACY_PARTS
from unlearnkit.audit.metrics.accuracy import accuracy, balanced_accuracy
from unlearnkit.audit.metrics.agreement import PARTS as AGREEMENT_PARTS
from unlearnkit.audit.metrics.agreement import output_agreement
from unlearnkit.audit.metrics.attacks import few_shot_recovery, fine_tune_recovery
from unlearnkit.audit.metrics.class_membership import PARTS as CLASS_PARTS
from unlearnkit.audit.metrics.class_membership import class_membership
from unlearnkit.audit.metrics.collateral import PARTS as COLLATERAL_PARTS
from unlearnkit.audit.metrics.collateral import collateral
from unlearnkit.audit.metrics.cost import cost
from unlearnkit.audit.metrics.histograms import PARTS as HISTOGRAM_PARTS
from unlearnkit.audit.metrics.histograms import histograms
from unlearnkit.audit.metrics.membership import PARTS as MEMBERSHIP_PARTS
from unlearnkit.audit.metrics.membership import SVC_PARTS, sample_membership, svc_membership
from unlearnkit.audit.metrics.outputs import PARTS as OUTPUT_PARTS
from unlearnkit.audit.metrics.outputs import prediction_distribution
from unlearnkit.audit.metrics.relearn import relearn_time
from unlearnkit.audit.metrics.representation import PARTS as REPRESENTATION_PARTS
from unlearnkit.audit.metrics.representation import knn_recovery, probe_recovery, prototype_recovery
from unlearnkit.audit.metrics.rmia import rmia_membership
from unlearnkit.audit.metrics.similarity import cka_original, cka_retrained, information_difference
from unlearnkit.audit.metrics.u_lira import PARTS as U_LIRA_PARTS
from unlearnkit.audit.metrics.u_lira import u_lira_membership
from unlearnkit.audit.metrics.weights import weight_distance
from unlearnkit.audit.metrics.zrf import PARTS as ZRF_PARTS
from unlearnkit.audit.metrics.zrf import zrf

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

# the metrics that give the primary readings
PRIMARY_METRICS = (
    "accuracy",
    "prediction_distribution",
    "output_agreement",
    "sample_membership",
    "class_membership",
    "probe_recovery",
    "relearn_time",
)
