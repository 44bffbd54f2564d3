"""Audits an unlearned model: tests whether it can be told from a model retrained without the classes."""

from __future__ import annotations

from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metric import Metric, Vote
from unlearnkit.audit.metrics.registry import METRICS, QUICK, RETRAIN_FREE
from unlearnkit.audit.observe.gather import gather
from unlearnkit.audit.reading import Audit, Reading, Verdict
from unlearnkit.audit.suite import audit

__all__ = [
    "METRICS",
    "QUICK",
    "RETRAIN_FREE",
    "Audit",
    "Doubt",
    "Evidence",
    "Metric",
    "Reading",
    "Verdict",
    "Vote",
    "audit",
    "gather",
]
