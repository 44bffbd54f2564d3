"""Reports how much of the forgotten classes comes back when a model is trained on retained samples alone."""

from __future__ import annotations

from unlearnkit.audit.doubts import Doubt, because, size_doubts
from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metric import EVERY_KIND, ROWS, Metric, Vote
from unlearnkit.audit.metrics.accuracy import SMALL
from unlearnkit.audit.reading import Reading, wilson
from unlearnkit.split import Part


def return_recovery(evidence: Evidence) -> list[Reading]:
    """Measure accuracy on forgotten test data after training on retained data alone: the class may come back by itself.

    `return_recovery` in [0, 1] with Wilson's interval: the largest over four rates, two lengths, and no step at all but
    BatchNorm's statistics estimated anew from retained data, where all further training begins,

        value = max over (rate, steps) of  forgotten test samples recognised afterwards / forgotten test samples;

    its series is the accuracy by steps and rate, from 0 steps on. Training: the model's own head, batches of 24, every
    step a share of each tensor's norm, so that scales play no part (`observe/returning.py`). Target: the retrained
    model's, which has nothing that could come back.

    Of rows and subclasses the samples are those to forget themselves, forget_train.

    Source: as a test of unlearning, arXiv 2505.22310; rates relative to the norms and the maximum over them are ours.

    >>> from unlearnkit.audit.evidence import Evidence, Returned, Subject
    >>> found = Returned(before=0.0, after={(0.001, 25): 0.1, (0.01, 25): 0.5}, samples=200)
    >>> evidence = Evidence.of(Subject(name="unlearned", returned=found), classes=["cat", "dog"], forget=["dog"])
    >>> [(r.value, r.series) for r in return_recovery(evidence)]
    [(0.5, {'0': 0.0, '25 x 0.001': 0.1, '25 x 0.01': 0.5})]
    """
    part = Part.FORGET_TRAIN if evidence.request.kinds & ROWS else Part.FORGET_TEST
    readings = []
    for subject in evidence.subjects:
        found = subject.returned
        reason = subject.return_failure or Doubt("needs_forgotten_samples")
        value = None if found is None else max(found.before, *found.after.values())
        readings.append(
            Reading(
                metric="return_recovery",
                model=subject.name,
                replicate=subject.replicate,
                part=part.value,
                value=value,
                unit="fraction",
                target="match_retrain",
                interval=None
                if found is None or value is None
                else wilson(round(value * found.samples), found.samples),
                samples=None if found is None else found.samples,
                series=None
                if found is None
                else {
                    "0": found.before,
                    **{f"{steps} x {rate:g}": accuracy for (rate, steps), accuracy in found.after.items()},
                },
                doubts=(because(reason),) if found is None else tuple(size_doubts(found.samples, None, SMALL)),
            )
        )
    return readings


RETURN_RECOVERY = Metric(
    fn=return_recovery,
    readings=("return_recovery",),
    wants=frozenset({"return"}),
    votes=(
        Vote(
            metric="return_recovery",
            part=Part.FORGET_TEST,
            family="relearn",
            scale="proportion",
            delta=0.05,
            fault="high",
        ),
        Vote(
            metric="return_recovery",
            part=Part.FORGET_TRAIN,
            family="relearn",
            scale="proportion",
            delta=0.05,
            fault="high",
            kinds=ROWS,
        ),
    ),
    kinds=EVERY_KIND,
)
