"""Tunes a method's settings under a budget of trials, without test data and without a retrained model."""

from __future__ import annotations

from unlearnkit.tuning.tune import Trial, Tuned, check_tunable, tune

__all__ = ["Trial", "Tuned", "check_tunable", "tune"]
