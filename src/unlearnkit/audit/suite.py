"""The registry of metrics, and audit(): Evidence -> Audit."""

from __future__ import annotations

from collections.abc import Mapping

from unlearnkit.audit.accuracy import PARTS as ACCURACY_PARTS
from unlearnkit.audit.accuracy import accuracy, balanced_accuracy
from unlearnkit.audit.cost import cost
from unlearnkit.audit.evidence import Evidence, Metric
from unlearnkit.audit.outputs import PARTS as OUTPUT_PARTS
from unlearnkit.audit.outputs import prediction_distribution
from unlearnkit.audit.reading import Audit, Verdict
from unlearnkit.audit.relearn import relearn_time
from unlearnkit.audit.weights import weight_distance

METRICS: dict[str, Metric] = {
    "accuracy": Metric(fn=accuracy, wants=frozenset({"outputs"}), parts=frozenset(ACCURACY_PARTS)),
    "balanced_accuracy": Metric(fn=balanced_accuracy, wants=frozenset({"outputs"}), parts=frozenset(ACCURACY_PARTS)),
    "prediction_distribution": Metric(
        fn=prediction_distribution, wants=frozenset({"outputs"}), parts=frozenset(OUTPUT_PARTS)
    ),
    "weight_distance": Metric(fn=weight_distance, wants=frozenset({"weights"})),
    "relearn_time": Metric(fn=relearn_time, wants=frozenset({"relearn"})),
    "cost": Metric(fn=cost, wants=frozenset({"cost"})),
}


def audit(evidence: Evidence, metrics: Mapping[str, Metric] = METRICS) -> Audit:
    """Apply the metrics to the evidence.

    The verdict is *unknown*: accuracy, outputs, weights and relearn time alone cannot tell an unlearned model from
    one that hides the class (a mask of outputs passes on accuracy), so no pass and no fail is given on them.
    """
    readings = tuple(reading for metric in metrics.values() for reading in metric.fn(evidence))
    retrained = len(evidence.named("retrained"))
    missing = "no membership and no representation metric has been applied"
    if retrained < 3:
        missing = f"a verdict needs three retrained models and {retrained} came; {missing}"
    return Audit(readings=readings, verdict=Verdict(status="unknown", why=missing))
