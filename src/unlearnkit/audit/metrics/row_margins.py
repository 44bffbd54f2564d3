"""Measures how far a model's margins on forgotten rows are from those of the retrained models, row by row.

Shapes: n rows, K classes.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from unlearnkit.audit.doubts import Doubt, is_unknown, size_doubts, unknown
from unlearnkit.audit.evidence import Evidence
from unlearnkit.audit.metric import EVERY_KIND, OUTPUTS, ROWS, Metric, Vote
from unlearnkit.audit.metrics.accuracy import SMALL
from unlearnkit.audit.metrics.agreement import mean_reading
from unlearnkit.audit.metrics.membership import logit_confidence, unmeasured
from unlearnkit.audit.reading import Reading
from unlearnkit.split import Part

PARTS = (Part.FORGET_TRAIN,)
MOST = 30.0  # log-odds beyond which a margin counts as this: float32 knows no difference there


def row_margins(evidence: Evidence) -> list[Reading]:
    """Measure the distance of margins on forgotten training samples to those of the retrained models.

    `margin_distance`, from 0 up, in log-odds: with phi = log p_y - log(1 - p_y) the margin of a sample, cut off at 30
    to either side, the mean over samples and (other) retrained models of |phi(x) - phi_r(x)|. The interval is that of
    the mean over samples (normal, 95 %). Target: the distance that a retrained model has to the others, which is not 0:
    training with another seed moves every margin.

    Source: margins of single samples, compared with those of retrained models, as in KLOM (K. Georgiev et al.,
    "Attribute-to-Delete: Machine Unlearning via Datamodel Matching", arXiv 2410.23232), which compares the
    distributions of a sample's margin over many unlearned and many retrained models by their divergence. Here one
    unlearned model is judged, and one value has no distribution: the distance is ours.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> seen = {name: Outputs.of([[0.0, z]], [1]) for name, z in (("unlearned", 5.0), ("retrained", 2.0))}
    >>> models = [Subject(name=name, outputs={Part.FORGET_TRAIN: outputs}) for name, outputs in seen.items()]
    >>> [r.value for r in row_margins(Evidence.of(*models, classes=["cat", "dog"], forget=["dog"]))]
    [3.0, None]
    """
    readings = []
    for subject in evidence.subjects:
        base = replace(
            unmeasured(subject, "margin_distance", PARTS),
            part=Part.FORGET_TRAIN.value,
            unit="log-odds",
        )
        others = [s for s in evidence.named("retrained") if s is not subject]
        if not is_unknown(base.doubts):
            if not others:
                base = replace(base, doubts=(unknown("no_other_retrained"),))
            elif any(is_unknown(unmeasured(other, base.metric, PARTS).doubts) for other in others):
                base = replace(base, doubts=(unknown("reference_unusable"),))
        if is_unknown(base.doubts):
            readings.append(base)
            continue
        own, *theirs = (
            logit_confidence(s.outputs[PARTS[0]].logits, s.outputs[PARTS[0]].labels).clamp(-MOST, MOST)
            for s in (subject, *others)
        )
        distance = torch.stack([(own - other).abs() for other in theirs]).mean(dim=0)
        doubts = [*base.doubts, *size_doubts(len(own), None, SMALL)]
        if len(others) == 1:
            doubts.append(Doubt("one_retrained"))
        readings.append(mean_reading(replace(base, doubts=tuple(doubts)), distance))
    return readings


# a model nearer to the retrained ones than they are to each other is no worse than they are
ROW_MARGINS = Metric(
    fn=row_margins,
    readings=("margin_distance",),
    wants=OUTPUTS,
    parts=frozenset(PARTS),
    kinds=EVERY_KIND,
    votes=(
        Vote(
            metric="margin_distance",
            part=Part.FORGET_TRAIN,
            family="outputs",
            scale="distance",
            delta=0.25,
            fault="high",
            pairwise=True,
            kinds=ROWS,
        ),
    ),
    retrain_free=False,
)
