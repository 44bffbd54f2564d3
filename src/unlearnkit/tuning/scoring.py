"""Scores a trial by the retained accuracy it keeps and the forgotten classes it still knows.

Shapes: n samples, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn

from unlearnkit.data.samples import TensorSamples
from unlearnkit.data.view import DataView, PartSamples, Samples
from unlearnkit.errors import NonFiniteLossError
from unlearnkit.request import ResolvedRequest
from unlearnkit.runtime.randomness import isolated_randomness
from unlearnkit.runtime.runlog import RunLog
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part
from unlearnkit.training.predict import predict
from unlearnkit.tuning.inversion import invert

LOOKED_AT = 1000  # forget samples judged by, at most
INVERTED, INVERTED_TOGETHER, FEWEST = 32, 512, 4  # images of a forgotten class, of all, of a class at the least


class Signal(StrEnum):
    """The images by which forgetting is scored.

    `samples`: training samples of the classes to forget. Only the outputs are scored: a class that is still in the
    features, and samples that stand out by a loss far above chance, go unnoticed.
    `remade`: images that the original takes for those classes, made by model inversion from retained
    validation images (`inversion.py`). No forgotten sample is read. This shows less: whether the model still responds
    to the patterns by which *the original* recognised the class.
    """

    SAMPLES = "samples"
    INVERTED = "remade"  # the value is part of the files that a search writes

    @property
    def parts(self) -> frozenset[Part]:
        """The parts of the data that the judge reads."""
        return frozenset({Part.RETAIN_VAL} | ({Part.FORGET_TRAIN} if self is Signal.SAMPLES else set()))


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the judge measured on one model.

    Args:
        retained: accuracy on the retained validation samples, in [0, 1].
        left: what is left of the classes to forget, in [0, 1]; 0 is the target.
        recognised: share of the images of those classes that are given to one of them.
        mass: mean probability that these images' outputs give to those classes.
        kept: for `remade`, how well inverted images of retained classes are still recognised, in [0, 1].
    """

    retained: float
    left: float
    recognised: float
    mass: float
    kept: float | None = None

    def score(self, before: float) -> float:
        """Retained accuracy gained since `before`, less what is left of the classes; both have the same weight."""
        return self.retained - before - self.left


class Judge:
    """Scores every model of a search on the same retained validation samples and the same forgotten images.

        score = A(unlearned) - A(original) - left

    A is the accuracy on `retain_val`; the original's is taken with the forgotten outputs masked, as its task is then
    as easy as a retrained model's. `left` is, with G the classes to forget now or earlier and q the softmax,

        samples:  s(forget samples)                            s(X) = mean over X of ([argmax q in G] + q(G)) / 2
        remade:   min(1, s(inverted as forgotten) / kept)      kept = mean of ([argmax q = y] + q_y) / 2 over images
                                                               inverted as retained classes

    Its target is 0: a model retrained without a class has no reason ever to choose it. The average of the hard share
    and the soft mass leads a search where one of them does not move. A model that no longer recognises the
    inverted images of retained classes shows nothing by failing on the forgotten ones, hence the quotient; where kept
    is 0, left is 1. Every model is judged under the same seed, so that data which is random when it is read is the same
    for each.

    Args:
        original: on the run's device, metered by the log.
        view: allows `signal.parts`.
        request: the classes.
        signal: what forgetting is judged by.
        seed: of the draws.
        runtime: device, precision.
        log: where the judge's own cost goes.

    Raises:
        NonFiniteLossError: the original's outputs are not finite; `judge` raises it of any other model.
    """

    def __init__(
        self,
        original: nn.Module,
        view: DataView,
        request: ResolvedRequest,
        *,
        signal: Signal,
        seed: int,
        runtime: Runtime,
        log: RunLog,
    ) -> None:
        self._gone = torch.tensor([*request.forget, *request.already_forgotten])
        self._view, self._seed, self._runtime, self._log = view, seed, runtime, log
        self._validation = view.part(Part.RETAIN_VAL)
        self._forgotten: Samples
        self._retained: Samples | None = None
        with isolated_randomness(seed) as generator, view.seeded_reads(seed):
            if signal is Signal.SAMPLES:
                samples = view.part(Part.FORGET_TRAIN)
                self._forgotten = samples.subset(torch.randperm(len(samples), generator=generator)[:LOOKED_AT])
            else:
                count = max(FEWEST, min(INVERTED, INVERTED_TOGETHER // len(request.forget)))
                forget = torch.tensor(request.forget).repeat_interleave(count)
                retain = torch.tensor(request.retained).repeat(-(-len(forget) // len(request.retained)))[: len(forget)]
                targets = torch.cat([forget, retain])
                starts = _starts(self._validation, targets, generator)
                images = invert(original, starts, targets, generator=generator, runtime=runtime, log=log)
                self._forgotten = TensorSamples(images[: len(forget)], forget)
                self._retained = TensorSamples(images[len(forget) :], retain)
        self.before = self.judge(original, masked=True)

    def judge(self, model: nn.Module, *, masked: bool = False) -> Judged:
        """Judge a model on the run's device; `masked` leaves the forgotten outputs out of the retained accuracy.

        Raises:
            NonFiniteLossError: an output is no probability.
        """
        with (
            isolated_randomness(self._seed),
            self._view.seeded_reads(self._seed),
            self._log.stage("judge", 1) as stage,
        ):
            logits = self._logits(model, self._validation)
            if masked:
                logits[:, self._gone] = -torch.inf
            retained = float((logits.argmax(dim=1) == self._validation.labels).double().mean())
            outputs = self._logits(model, self._forgotten).double().softmax(dim=1)
            recognised = float(torch.isin(outputs.argmax(dim=1), self._gone).double().mean())
            mass = float(outputs[:, self._gone].sum(dim=1).clamp(max=1).mean())
            remaining, kept = (recognised + mass) / 2, None
            if self._retained is not None:
                kept = _known(self._logits(model, self._retained), self._retained.labels)
                remaining = min(1.0, remaining / kept) if kept else 1.0
            stage.advance()
        return Judged(retained=retained, left=remaining, recognised=recognised, mass=mass, kept=kept)

    def _logits(self, model: nn.Module, samples: Samples) -> Tensor:
        """Return logits (n, K); refuse those whose softmax is not finite, as very large weights can give."""
        logits = predict(model, samples, self._runtime)
        if not logits.softmax(dim=1).isfinite().all():
            raise NonFiniteLossError(
                "Expected finite outputs, but the model gives NaN or infinity; lower the learning rates."
            )
        return logits


def _known(logits: Tensor, labels: Tensor) -> float:
    """Return the mean over images of half of [argmax q = y] and half of q_y, in [0, 1]."""
    outputs = logits.double().softmax(dim=1)
    right = (outputs.argmax(dim=1) == labels).double()
    return float((right + outputs[torch.arange(len(labels)), labels]).mean() / 2)


def _starts(samples: PartSamples, targets: Tensor, generator: torch.Generator) -> Tensor:
    """Draw images (n, C, H, W) of `samples`, each of another class than its target if there is one."""
    allowed = (samples.labels[None, :] != targets[:, None]).double()
    allowed[allowed.sum(dim=1) == 0] = 1.0
    return samples.images(torch.multinomial(allowed, 1, generator=generator).flatten())


def as_numbers(judged: Judged) -> dict[str, Any]:
    """Return what was measured in a form that JSON can hold."""
    return {"retained": judged.retained, "left": judged.left} | {
        key: value for key in ("recognised", "mass", "kept") if (value := getattr(judged, key)) is not None
    }
