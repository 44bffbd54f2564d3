"""Registers every metric by its name, and derives from them what the verdict and the banks compare."""

from __future__ import annotations

from unlearnkit.audit.metric import CLASSES, TRAINING, Kind, Metric, Vote
from unlearnkit.audit.metrics.accuracy import ACCURACY, BALANCED_ACCURACY
from unlearnkit.audit.metrics.agreement import OUTPUT_AGREEMENT
from unlearnkit.audit.metrics.attacks import FEW_SHOT_RECOVERY
from unlearnkit.audit.metrics.class_membership import CLASS_MEMBERSHIP
from unlearnkit.audit.metrics.collateral import COLLATERAL
from unlearnkit.audit.metrics.cost import COST
from unlearnkit.audit.metrics.histograms import HISTOGRAMS
from unlearnkit.audit.metrics.lira import LIRA_MEMBERSHIP
from unlearnkit.audit.metrics.membership import SAMPLE_MEMBERSHIP, SVC_MEMBERSHIP
from unlearnkit.audit.metrics.outputs import PREDICTION_DISTRIBUTION
from unlearnkit.audit.metrics.relearn import RELEARN_TIME
from unlearnkit.audit.metrics.representation import CLASS_RECOVERY, KNN_RECOVERY
from unlearnkit.audit.metrics.return_recovery import RETURN_RECOVERY
from unlearnkit.audit.metrics.rmia import RMIA_MEMBERSHIP
from unlearnkit.audit.metrics.row_margins import ROW_MARGINS
from unlearnkit.audit.metrics.similarity import CKA_ORIGINAL, CKA_RETRAINED, INFORMATION_DIFFERENCE
from unlearnkit.audit.metrics.u_lira import U_LIRA_MEMBERSHIP
from unlearnkit.audit.metrics.weights import WEIGHT_DISTANCE
from unlearnkit.audit.metrics.zrf import ZRF

METRICS: dict[str, Metric] = {
    "accuracy": ACCURACY,
    "balanced_accuracy": BALANCED_ACCURACY,
    "collateral": COLLATERAL,
    "prediction_distribution": PREDICTION_DISTRIBUTION,
    "histograms": HISTOGRAMS,
    "output_agreement": OUTPUT_AGREEMENT,
    "row_margins": ROW_MARGINS,
    "zrf": ZRF,
    "sample_membership": SAMPLE_MEMBERSHIP,
    "svc_membership": SVC_MEMBERSHIP,
    "rmia_membership": RMIA_MEMBERSHIP,
    "lira_membership": LIRA_MEMBERSHIP,
    "u_lira_membership": U_LIRA_MEMBERSHIP,
    "class_membership": CLASS_MEMBERSHIP,
    "class_recovery": CLASS_RECOVERY,
    "knn_recovery": KNN_RECOVERY,
    "cka_original": CKA_ORIGINAL,
    "cka_retrained": CKA_RETRAINED,
    "information_difference": INFORMATION_DIFFERENCE,
    "weight_distance": WEIGHT_DISTANCE,
    "return_recovery": RETURN_RECOVERY,
    "relearn_time": RELEARN_TIME,
    "few_shot_recovery": FEW_SHOT_RECOVERY,
    "cost": COST,
}

QUICK = {name: metric for name, metric in METRICS.items() if not metric.wants & TRAINING}

# what says something without a retrained model. It can show that the class is still there: a probe that finds it as
# easily as in the original, members that stand out, an attack that brings it back. It cannot show that it is gone: how
# much of a class a model knows that never saw it, only such a model tells.
RETRAIN_FREE = frozenset(name for name, metric in METRICS.items() if metric.retrain_free)


def votes_for(kinds: frozenset[Kind]) -> tuple[Vote, ...]:
    """Return the readings that vote on a request of these kinds, whatever a model's results are."""
    return tuple(vote for metric in METRICS.values() for vote in metric.votes if kinds <= vote.kinds)


# those that vote on requests for classes, which banks hold, and the metrics that give them
PRIMARY: tuple[Vote, ...] = votes_for(CLASSES)
PRIMARY_METRICS = tuple(name for name, metric in METRICS.items() if any(v.kinds >= CLASSES for v in metric.votes))
