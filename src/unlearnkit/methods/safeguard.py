"""Tests after a run whether the retained classes are recognised as well as before, and says what the samples show."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from unlearnkit.errors import ConfigError
from unlearnkit.methods.masked_original import MaskedOriginal
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.training.predict import predict

TOLERANCE = 0.02  # accuracy that may be lost, as a fraction
ONE_SIDED_95 = 1.6448536269514722  # quantile of the normal distribution
LOST = "retained_accuracy_lost"  # the code of a record that says that more is lost than may be


def safeguard(
    original: MaskedOriginal, unlearned: nn.Module, *, tolerance: float, runtime: Runtime
) -> dict[str, Any] | None:
    """Compare retained validation accuracy with the original's, whose forgotten outputs are removed.

    Args:
        original: the model before, with the validation samples.
        unlearned: the model after, on the run's device.
        tolerance: accuracy that may be lost, as a fraction.
        runtime: device and precision.

    Returns:
        what was found, as a doubt of `unlearnkit.audit.doubts` (code and values); None without validation samples.
        The code is `retained_accuracy_kept` where a larger loss than the tolerance is ruled out (one-sided, 95 %),
        `retained_accuracy_lost` where a larger loss is shown, `retained_accuracy_by_heart` where it would be shown if
        the original did not know these samples as those that it was trained on, else `retained_accuracy_open`. `bound`
        is the largest loss that is not ruled out, where a larger loss than the tolerance is shown the smallest.
    """
    validation = original.validation
    if not len(validation):
        return None
    was_right_N = original.logits.argmax(dim=1) == validation.labels
    is_right_N = predict(unlearned, validation, runtime).argmax(dim=1) == validation.labels
    n, lost, won = len(validation), int((was_right_N & ~is_right_N).sum()), int((is_right_N & ~was_right_N).sum())
    most, least = largest_loss(lost, won, n), -largest_loss(won, lost, n)
    if least > tolerance:
        code, bound = "retained_accuracy_by_heart" if original.by_heart else LOST, least
    else:
        code, bound = "retained_accuracy_kept" if most <= tolerance else "retained_accuracy_open", most
    return {
        "code": code,
        "values": {
            "before": float(was_right_N.float().mean()),
            "after": float(is_right_N.float().mean()),
            "n": n,
            "bound": bound,
            "tolerance": tolerance,
        },
    }


def check_tolerance(tolerance: float | None) -> None:
    """Refuse a tolerance that is no fraction of the samples.

    Raises:
        ConfigError: it is not in [0, 1).
    """
    if tolerance is not None and not 0 <= tolerance < 1:
        raise ConfigError(
            f"Expected a tolerance from 0 to below 1, a fraction of the accuracy, but got {tolerance}; "
            f"{TOLERANCE} is the default."
        )


def largest_loss(lost: int, won: int, n: int, z: float = ONE_SIDED_95) -> float:
    """Return the upper bound on the accuracy lost between two models that answered the same samples.

    It is the largest difference D that the score test of paired proportions does not reject: the root of

        (lost - won - n D) / sqrt(n (2 q + D (1 - D))) = -z,

    q the most likely probability of a sample that is won, given D:

        q = (sqrt(B^2 - 8 n C) - B) / (4 n),   B = (2 n - lost + won) D - lost - won,   C = -won D (1 - D).

    A loss of `tolerance` or more is ruled out where the bound is below it (non-inferiority).

    Args:
        lost: samples that the first model alone got right.
        won: samples that the second model alone got right.
        n: all samples, more than 0.
        z: quantile of the normal distribution; the default is one-sided, 95 %.

    Returns:
        the bound, in [-1, 1].

    Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design", Statistics in Medicine 17 (1998), 891-908.

    >>> round(largest_loss(0, 0, 100), 4), round(largest_loss(5, 1, 100), 4)
    (0.0263, 0.0907)
    """

    def above(difference: float) -> float:
        b = (2 * n - lost + won) * difference - lost - won
        c = -won * difference * (1 - difference)
        q = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        spread = n * (2 * q + difference * (1 - difference))
        return lost - won - n * difference + z * math.sqrt(max(0.0, spread))

    low, high = min(1.0, (lost - won) / n + 1e-9), 1.0  # where nothing differs, the difference itself is a root too
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) > 0 else (low, middle)
    return high
