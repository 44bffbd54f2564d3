"""Cuts short what an audit trains: relearning, return, few shots and probes have tests of their own; and no fit twice.

What the readings are worth is held where they are measured at length: in `audit/`.
"""

from __future__ import annotations

import pytest

import unlearnkit.audit.observe.attacking as attacking
import unlearnkit.audit.observe.relearning as relearning
import unlearnkit.audit.observe.returning as returning
import unlearnkit.audit.observe.scales as scales
from remembered import remember_fits
from unlearnkit.audit.metrics import classifiers


def shorten(patch: pytest.MonkeyPatch) -> None:
    """Three steps of each training, at one rate and of one shot, ten of a probe; all readings are there, and repeat."""
    patch.setattr(relearning, "measuring_steps", lambda cap: [1, 3])
    patch.setattr(relearning, "FIT_STEPS", 3)
    patch.setattr(attacking, "FEW_SHOT_STEPS", 3)
    patch.setattr(attacking, "SHOTS", attacking.SHOTS[:1])
    patch.setattr(returning, "LENGTHS", (1, 3))
    patch.setattr(returning, "RATES", returning.RATES[-1:])
    patch.setattr(scales, "STATISTICS", 100)
    patch.setattr(classifiers, "STEPS", 10)
    remember_fits(patch)
