"""Finds out whether the unlearned model plainly did not forget, from readings that every audit has."""

from __future__ import annotations

from collections.abc import Sequence

from unlearnkit.audit.doubts import Doubt
from unlearnkit.audit.reading import Reading
from unlearnkit.split import Part

MARGIN = 0.1  # of accuracy on the forgotten classes, above models that do not know them


def not_forgotten(readings: Sequence[Reading], classes: int, *, rows: bool = False) -> tuple[Doubt, ...]:
    """Return the notices that say so; none where the model forgot, or where nothing was measured that could tell.

    Accuracy on the forgotten classes is far too high where even the lower end of its 95 % interval lies more than
    `MARGIN` above that of every retrained model, or without retrained models above chance, 1/K. Held-out samples (or
    their stand-ins) are asked before training samples. Where no sample is left, weights that are exactly those of the
    original say it too.

    Args:
        readings: all readings of the audit.
        classes: K, the number of classes.
        rows: whether rows or subclasses were to be forgotten, which models that never saw them may well name rightly:
            without retrained models no accuracy on them is too high.
    """
    found = []
    for part in (Part.FORGET_TEST, Part.FORGET_TRAIN):
        group = [r for r in readings if (r.metric, r.part) == ("accuracy", part.value) and r.value is not None]
        measured = next((r for r in group if r.model == "unlearned"), None)
        if measured is None or measured.value is None:
            continue
        retrained = [r.value for r in group if r.model == "retrained" and r.value is not None]
        if rows and not retrained:
            continue
        limit = max(retrained, default=1 / classes)
        low = measured.interval[0] if measured.interval is not None else measured.value
        if low > limit + MARGIN:
            known = {"accuracy": measured.value}
            found.append(
                Doubt("not_forgotten_retrained", {**known, "retrained": limit})
                if retrained
                else Doubt("not_forgotten_chance", {**known, "chance": limit})
            )
        break
    distances = [r.value for r in readings if (r.metric, r.model) == ("weight_distance", "unlearned")]
    if distances and distances[0] == 0:
        found.append(Doubt("weights_unchanged"))
    return tuple(found)
