"""Says that an audit of rows has nothing to find, where the original knows them hardly better than other models."""

from __future__ import annotations

from collections.abc import Sequence

from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.reading import Reading
from unlearnkit.audit.verdict import Judged
from unlearnkit.split import Part

TOO_NEAR = ("original_too_near", "one_more_retrained_settles", "more_retrained_settle")
FAMILIES = ("membership", "outputs")  # that a pass on rows needs


def without_power(readings: Sequence[Reading], judged: Sequence[Judged]) -> tuple[Doubt, ...]:
    """Return the reason in people's words; none where membership or outputs could tell the original.

    Args:
        readings: all readings of the audit.
        judged: the judgements of those that vote.
    """
    asked = [each for each in judged if each.vote.family in FAMILIES]
    if not asked or not all(each.why is not None and each.why.code in TOO_NEAR for each in asked):
        return ()
    found = [r for r in readings if (r.metric, r.part) == ("accuracy", Part.FORGET_TRAIN.value) and r.value is not None]
    original = next((r for r in found if r.model == "original"), None)
    retrained = [r.value for r in found if r.model == "retrained" and r.value is not None]
    if original is None or original.value is None or original.samples is None or not retrained:
        return ()
    known = {"n": original.samples, "original": original.value, "retrained": sum(retrained) / len(retrained)}
    return (Doubt("rows_without_power", known),)
