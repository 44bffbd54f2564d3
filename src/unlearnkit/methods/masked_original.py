"""Holds the original without its forgotten outputs, and tells whether it was trained on the validation samples."""

from __future__ import annotations

import copy
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unlearnkit.data.access import AccessLog
from unlearnkit.data.images import ImageData
from unlearnkit.data.view import DataView, PartSamples
from unlearnkit.runtime.runtime import Runtime
from unlearnkit.split import Part, Split
from unlearnkit.training.predict import predict

NO_ACCIDENT, AS_WELL = 0.01, 0.05  # of the two rank tests in `known_by_heart`
UNSEEN = 4  # test samples for each validation sample, at most


class MaskedOriginal:
    """The model before a run, with the outputs of forgotten classes removed, and the retained samples to judge it by.

    Without these outputs its task is as easy as a retrained model's. Reads are counted as the safeguard's.

    Args:
        model: the model before; a copy of it runs when it is first needed.
        data: images and labels.
        split: the parts.
        runtime: device and precision.
        access: where reads are counted.
    """

    def __init__(self, model: nn.Module, data: ImageData, split: Split, *, runtime: Runtime, access: AccessLog) -> None:
        self._model, self._runtime = model, runtime
        self._gone = [*split.request.forget, *split.request.already_forgotten]
        parts = frozenset({Part.RETAIN_VAL, Part.RETAIN_TRAIN, Part.RETAIN_TEST})
        self._view = DataView(data, split, parts, reader="safeguard", log=access, device=runtime.device)

    @cached_property
    def validation(self) -> PartSamples:
        """The retained validation samples."""
        return self._view.part(Part.RETAIN_VAL)

    @cached_property
    def logits(self) -> Tensor:
        """Its logits (N, K) on the validation samples; those of forgotten classes are minus infinity."""
        return self._answers(self.validation)

    @cached_property
    def by_heart(self) -> bool:
        """Whether it seems to have been trained on the validation samples; see `known_by_heart`."""
        train, test = self._view.part(Part.RETAIN_TRAIN), self._view.part(Part.RETAIN_TEST)
        if not min(len(self.validation), len(train), len(test)):
            return False
        losses = F.cross_entropy(self.logits, self.validation.labels, reduction="none")
        seen, unseen = (
            F.cross_entropy(self._answers(part), part.labels, reduction="none")
            for part in (drawn_like(self.validation, train, 1), drawn_like(self.validation, test, UNSEEN))
        )
        return known_by_heart(losses, seen, unseen)

    def _answers(self, samples: PartSamples) -> Tensor:
        logits_NK = predict(self._network, samples, self._runtime).float()
        logits_NK[:, self._gone] = -torch.inf
        return logits_NK

    @cached_property
    def _network(self) -> nn.Module:
        return self._runtime.weights(copy.deepcopy(self._model))


def known_by_heart(losses: Tensor, seen: Tensor, unseen: Tensor) -> bool:
    """Return whether a model seems to have been trained on samples that it was not meant to have seen.

    It has, where its losses on them are smaller than on samples that it has not seen (rank test of Mann and Whitney,
    one-sided, 1 %), and are not larger than on samples that it was trained on (5 %). What it gets right among them is
    then no measure of what it gets right elsewhere. A model that has learned nothing by heart is never told so.

    Args:
        losses: of the model on the samples in question, (n,).
        seen: of the model on samples that it was trained on.
        unseen: of the model on test samples.

    Source: the attack by loss of S. Yeom, I. Giacomelli, M. Fredrikson, S. Jha, "Privacy Risk in Machine Learning",
    CSF 2018 (arXiv 1709.01604), on many samples at once.

    >>> seen = torch.linspace(0, 1, 100)
    >>> known_by_heart(seen, seen, seen + 0.5), known_by_heart(seen + 0.5, seen, seen + 0.5)
    (True, False)
    """
    from scipy.stats import mannwhitneyu  # a second to load, and rarely needed

    if mannwhitneyu(losses.numpy(), unseen.numpy(), alternative="less").pvalue >= NO_ACCIDENT:
        return False
    return bool(mannwhitneyu(losses.numpy(), seen.numpy(), alternative="greater").pvalue >= AS_WELL)


def drawn_like(samples: PartSamples, others: PartSamples, times: int) -> PartSamples:
    """Return `times` as many of `others`, class by class, as there are of `samples`, spread over their order."""
    chosen = []
    for k in samples.labels.unique().tolist():
        places, count = (others.labels == k).nonzero().flatten(), times * int((samples.labels == k).sum())
        if len(places):
            chosen.append(places[torch.linspace(0, len(places) - 1, min(count, len(places))).long()])
    return others.subset(torch.cat(chosen) if chosen else torch.zeros(0, dtype=torch.int64))
