"""Measures accuracy on retained and forgotten data, over all classes and for each class."""

from __future__ import annotations

from dataclasses import replace

from unlearnkit.audit.doubts import no_samples, size_doubts
from unlearnkit.audit.evidence import Evidence, Outputs
from unlearnkit.audit.metric import EVERY_KIND, OUTPUTS, ROWS, Metric, Vote
from unlearnkit.audit.reading import Reading, wilson
from unlearnkit.split import Part

PARTS = (Part.RETAIN_TRAIN, Part.FORGET_TRAIN, Part.RETAIN_TEST, Part.FORGET_TEST)
SMALL = 100  # samples below which an accuracy is doubted


def accuracy(evidence: Evidence) -> list[Reading]:
    """Share of samples whose largest logit is their label's: mean of [argmax f(x) = y].

    Range [0, 1]. The interval is Wilson's. The series is the accuracy per class (by name). Target: at least the
    retrained model's on retained data, the retrained model's on forgotten data. The pooled value weighs every sample
    alike; `balanced_accuracy` weighs every class alike.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> seen = Outputs.of(logits=[[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 2.0]], labels=[0, 1, 1, 1])
    >>> model = Subject(name="unlearned", outputs={Part.FORGET_TEST: seen})
    >>> readings = accuracy(Evidence.of(model, classes=["cat", "dog"], forget=["dog"]))
    >>> [(r.part, r.value, r.doubts) for r in readings if r.value is not None]
    [('forget_test', 0.75, (Doubt(code='small_sample', values={'n': 4}),))]
    """
    readings = []
    for subject in evidence.subjects:
        for part in PARTS:
            unknown = Reading(
                metric="accuracy",
                model=subject.name,
                replicate=subject.replicate,
                part=part.value,
                value=None,
                unit="fraction",
                target="match_retrain" if part.forgotten else "higher",
                doubts=(no_samples(part.value),),
            )
            measured = part in subject.outputs
            readings.append(_measured(unknown, subject.outputs[part], evidence) if measured else unknown)
    return readings


def balanced_accuracy(evidence: Evidence) -> list[Reading]:
    """Mean over the classes that occur of the accuracy on each, mean over k of a_k; range [0, 1].

    On long-tailed data the figure to read. No interval and no series: those of `accuracy` are by class.

    Source: K. H. Brodersen et al., "The Balanced Accuracy and Its Posterior Distribution", ICPR 2010.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> seen = Outputs.of(logits=[[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 2.0]], labels=[0, 1, 1, 1])
    >>> model = Subject(name="unlearned", outputs={Part.FORGET_TEST: seen})
    >>> readings = balanced_accuracy(Evidence.of(model, classes=["cat", "dog"], forget=["dog"]))
    >>> [round(r.value, 3) for r in readings if r.value is not None]
    [0.833]
    """
    return [
        replace(
            reading,
            metric="balanced_accuracy",
            value=sum(reading.series.values()) / len(reading.series) if reading.series else None,
            interval=None,
            series=None,
        )
        for reading in accuracy(evidence)
    ]


def _measured(base: Reading, outputs: Outputs, evidence: Evidence) -> Reading:
    right = outputs.predictions == outputs.labels
    n = len(right)
    series = {
        evidence.request.classes[k]: float(right[outputs.labels == k].double().mean())
        for k in outputs.labels.unique().tolist()
    }
    return replace(
        base,
        value=float(right.double().mean()),
        interval=wilson(int(right.sum()), n),
        samples=n,
        series=series,
        doubts=tuple(size_doubts(n, outputs.sampled_from, SMALL)),
    )


ACCURACY = Metric(
    fn=accuracy,
    readings=("accuracy",),
    wants=OUTPUTS,
    parts=frozenset(PARTS),
    votes=(
        Vote(
            metric="accuracy",
            part=Part.RETAIN_TEST,
            family="accuracy",
            scale="proportion",
            delta=0.01,
            fault="low",
            powerless=True,
            kinds=EVERY_KIND,
        ),
        Vote(
            metric="accuracy",
            part=Part.FORGET_TEST,
            family="accuracy",
            scale="proportion",
            delta=0.01,
            powerless=True,
        ),
        # of rows it may be too high, as before, or too low, as after ascent: a retrained model knows most of them
        Vote(
            metric="accuracy",
            part=Part.FORGET_TRAIN,
            family="accuracy",
            scale="proportion",
            delta=0.02,
            kinds=ROWS,
        ),
    ),
    kinds=EVERY_KIND,
)
BALANCED_ACCURACY = Metric(
    fn=balanced_accuracy, readings=("balanced_accuracy",), wants=OUTPUTS, parts=frozenset(PARTS), kinds=EVERY_KIND
)
