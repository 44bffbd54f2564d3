"""Holds estimators beside networks that forget rows of the data they were fitted to, with scikit-learn's interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnkit.classic.base import Unlearner
from unlearnkit.classic.forest import DareForestClassifier
from unlearnkit.classic.kmeans import DCKMeans, QKMeans
from unlearnkit.classic.naive_bayes import SummedNaiveBayes
from unlearnkit.classic.ridge import SummedRidge

if TYPE_CHECKING:
    from unlearnkit.classic.logistic import CertifiedLogisticRegression

__all__ = [
    "CertifiedLogisticRegression",
    "DCKMeans",
    "DareForestClassifier",
    "QKMeans",
    "SummedNaiveBayes",
    "SummedRidge",
    "Unlearner",
]


def __getattr__(name: str) -> type[Unlearner]:
    """Import the logistic regression when it is first asked for: its mathematics lie beside methods that load torch."""
    if name == "CertifiedLogisticRegression":
        from unlearnkit.classic.logistic import CertifiedLogisticRegression

        return CertifiedLogisticRegression
    raise AttributeError(f"module 'unlearnkit.classic' has no attribute {name!r}")
