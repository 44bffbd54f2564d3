"""Cuts short what an audit trains: relearning, few-shot recovery and fine-tuning have tests of their own.

What the readings are worth is held where they are measured at length: in `audit/` and by the demo's run.
"""

from __future__ import annotations

import pytest

import unlearnkit.audit.observe.attacking as attacking
import unlearnkit.audit.observe.relearning as relearning


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Three steps of each training; all readings are there, and repeat themselves."""
    patch.setattr(relearning, "measuring_steps", lambda cap: [1, 3])
    patch.setattr(attacking, "FEW_SHOT_STEPS", 3)
    patch.setattr(attacking, "FINE_TUNE_STEPS", 3)
