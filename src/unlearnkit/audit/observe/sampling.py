"""Draws the samples that an audit uses: the same for every model, stratified by class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from unlearnkit.audit.evidence import Tier
from unlearnkit.data import AccessLog, DataView, ImageData, PartSamples
from unlearnkit.data.samples import per_class
from unlearnkit.errors import ConfigError, DataError
from unlearnkit.split import Part, Split


class StandIns(DataView):
    """A view whose forgotten parts come from a second data set, for data that no longer holds those classes.

    What is read of the other data is not counted in `log`: nobody's deleted sample is among it.

    Args:
        view: the data's own view.
        others: data under the same class list, with samples of all the forgotten classes.

    Raises:
        ConfigError: the data still has samples of the forgotten classes.
        DataError: the other data lacks one of the classes, or comes in another shape.
    """

    def __init__(self, view: DataView, others: ImageData) -> None:
        super().__init__(view._data, view.split, view.parts, reader=view.reader, log=view.log, device=view.device)
        request = view.split.request
        forgotten_samples = sum(len(view.split[part]) for part in (Part.FORGET_TRAIN, Part.FORGET_TEST))
        if forgotten_samples:
            raise ConfigError(
                f"Expected data without the forgotten classes where stand-ins are given, but it has "
                f"{forgotten_samples} samples of them; leave --audit-data out, and the audit uses those samples."
            )
        rows = {part: torch.empty(0, dtype=torch.int64) for part in Part}
        for part in (Part.FORGET_TRAIN, Part.FORGET_TEST):
            labels = others.labels(part.side)
            rows[part] = torch.nonzero(torch.isin(labels, torch.tensor(request.forget))).flatten()
        known = set(others.labels("test")[rows[Part.FORGET_TEST]].tolist())
        missing = [request.classes[k] for k in request.forget if k not in known]
        if missing:
            raise DataError(
                f"Expected stand-ins for every forgotten class, but {others.source} has no test samples of "
                f"{', '.join(map(repr, missing))}; give data whose classes have the same names."
            )
        others.fix_shape(int(rows[Part.FORGET_TRAIN][0]) if len(rows[Part.FORGET_TRAIN]) else 0)
        if others.shape != view.shape:
            raise DataError(
                f"Expected stand-ins of shape {view.shape}, as the data's images, but they are {others.shape}; "
                "resize both with --image-size."
            )
        split = Split(request=request, rows=rows, excluded={})
        self._others = DataView(
            others, split, frozenset(Part), reader=view.reader, log=AccessLog(others), device=view.device
        )

    @contextmanager
    def seeded_reads(self, seed: int) -> Iterator[None]:
        """Seed the random reads of both data sets; see `DataView.seeded_reads`."""
        with super().seeded_reads(seed), self._others.seeded_reads(seed):
            yield

    def part(self, part: Part) -> PartSamples:
        """Return the samples of a part; those of forgotten parts come from the second data set."""
        return self._others.part(part) if part.forgotten else super().part(part)


def tier_of(view: DataView) -> Tier:
    """Return the tier of evidence that a view's data allows; see `Evidence`."""
    if isinstance(view, StandIns):
        return "E1"
    if len(view.part(Part.FORGET_TRAIN)):
        return "E3"
    return "E2" if len(view.part(Part.FORGET_TEST)) else "E0"


def chosen_samples(
    view: DataView, parts: frozenset[Part], images: int | None, generator: torch.Generator
) -> dict[Part, PartSamples]:
    """Draw about `images` samples of the parts together (None: all), every class with its share of its part.

    The parts get the same number each; what a small part leaves over goes to the others. Parts without samples are
    left out.
    """
    whole = {part: view.part(part) for part in sorted(parts)}
    counts = shared_out({part: len(samples) for part, samples in whole.items()}, images)
    return {
        part: samples.subset(stratified(samples.labels, counts[part], generator))
        for part, samples in whole.items()
        if len(samples)
    }


def shared_out(sizes: Mapping[Part, int], total: int | None) -> dict[Part, int]:
    """Divide `total` evenly among parts of these sizes; no part gets more than it has."""
    if total is None:
        return dict(sizes)
    shares: dict[Part, int] = {}
    for i, part in enumerate(sorted(sizes, key=lambda p: sizes[p])):  # the small ones first: they leave something
        shares[part] = min(sizes[part], (total - sum(shares.values())) // (len(sizes) - i))
    return shares


def stratified(labels: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return positions of at most about `most` samples, the same share of every class, in ascending order."""
    if len(labels) <= most:
        return torch.arange(len(labels))
    chosen = []
    for class_id in labels.unique().tolist():
        positions = torch.nonzero(labels == class_id).flatten()
        count = max(1, round(most * len(positions) / len(labels)))
        chosen.append(positions[per_class(torch.zeros(len(positions), dtype=torch.int64), count, generator)])
    return torch.cat(chosen).sort().values
