"""Computes histograms over samples of a model's loss and of the entropy of its predictions.

A mean hides what its samples do: half of them at 0 and half at 10 nats have the mean of all at 5. The bins are the same
for every model and part, so that the histograms can be laid over each other; they are aggregates, and no sample can be
found in them.

Shapes: n samples, K classes, B bins.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from unlearnkit.audit.doubts import no_samples, size_doubts, unknown
from unlearnkit.audit.evidence import Evidence, Outputs
from unlearnkit.audit.metric import EVERY_KIND, OUTPUTS, Metric
from unlearnkit.audit.metrics.accuracy import SMALL
from unlearnkit.audit.metrics.agreement import mean_reading
from unlearnkit.audit.metrics.membership import entropy, loss, usable
from unlearnkit.audit.reading import Reading
from unlearnkit.split import Part

PARTS = (Part.FORGET_TRAIN, Part.FORGET_TEST, Part.RETAIN_TEST)
LOSS_EDGES = tuple(float(edge) for edge in range(21))  # nats; a model that guesses among a million classes is at 13.8
ENTROPY_BINS = 20


def entropy_edges(classes: int) -> tuple[float, ...]:
    """Lower edges of the `ENTROPY_BINS` bins of equal width that divide the range of the entropy, 0 to log K."""
    return tuple(math.log(classes) * i / ENTROPY_BINS for i in range(ENTROPY_BINS))


def shares(values: Tensor, edges: tuple[float, ...]) -> list[float]:
    """Share of the values in each bin: (n,) -> B numbers that add up to 1.

    Bin i holds edges[i] <= v < edges[i + 1]; the last one is open and holds all from its edge to infinity.

    Args:
        values: (n,) floating, none below edges[0].
        edges: B lower edges, ascending.
    """
    bins = torch.bucketize(values, torch.tensor(edges, dtype=values.dtype), right=True) - 1
    return (torch.bincount(bins, minlength=len(edges)).double() / len(values)).tolist()


def histograms(evidence: Evidence) -> list[Reading]:
    """Return mean and histogram of the loss and of the entropy of predictions, on forgotten and retained data.

    `loss` is the mean of the cross-entropy -log p_y, from 0 up, `output_entropy` that of -sum p_k log p_k, from 0 to
    log K; both in nats. The series is the share of samples by bin, named by the bin's lower edge (see `shares`): of the
    loss 1 nat wide and open from 20, of the entropy 20 bins from 0 to log K. The interval is that of the mean over
    samples (normal, 95 %). Where a model masks a class its loss is infinite: the histogram stands, its mean is unknown.
    Target: what a retrained model does; of forgotten data it is neither sure nor wholly undecided.

    Sources of the two scores: `membership.loss` and `membership.entropy`.

    >>> from unlearnkit.audit.evidence import Evidence, Outputs, Subject
    >>> seen = Outputs.of(logits=[[0.0, 0.0], [8.0, 0.0]], labels=[1, 1])
    >>> model = Subject(name="unlearned", outputs={Part.FORGET_TEST: seen})
    >>> readings = histograms(Evidence.of(model, classes=["cat", "dog"], forget=["dog"]))
    >>> [(r.metric, round(r.value, 3), [k for k, share in r.series.items() if share]) for r in readings if r.value]
    [('loss', 4.347, ['0', '8']), ('output_entropy', 0.348, ['0', '0.65849'])]
    """
    edges = {"loss": LOSS_EDGES, "output_entropy": entropy_edges(len(evidence.request.classes))}
    readings = []
    for subject in evidence.subjects:
        for part in PARTS:
            for name in edges:
                base = Reading(
                    metric=name,
                    model=subject.name,
                    replicate=subject.replicate,
                    part=part.value,
                    value=None,
                    unit="nats",
                    target="match_retrain",
                    doubts=(no_samples(part.value),),
                )
                outputs = subject.outputs.get(part)
                readings.append(base if outputs is None else _measured(base, outputs, edges[name]))
    return readings


def _measured(base: Reading, outputs: Outputs, edges: tuple[float, ...]) -> Reading:
    if not usable(outputs.logits):
        return replace(base, doubts=(unknown("outputs_not_finite", {"part": str(base.part)}),))
    n, most = len(outputs.labels), outputs.sampled_from
    values = loss(outputs.logits, outputs.labels) if base.metric == "loss" else entropy(outputs.logits)
    doubts = size_doubts(n, most, SMALL)
    series = dict(zip((f"{edge:.6g}" for edge in edges), shares(values, edges), strict=True))
    masked = int(values.isinf().sum())
    if masked:
        doubts.insert(0, unknown("loss_infinite", {"masked": masked, "n": n}))
        return replace(base, series=series, samples=n, doubts=tuple(doubts))
    return mean_reading(replace(base, series=series, doubts=tuple(doubts)), values)


HISTOGRAMS = Metric(
    fn=histograms, readings=("loss", "output_entropy"), wants=OUTPUTS, parts=frozenset(PARTS), kinds=EVERY_KIND
)
