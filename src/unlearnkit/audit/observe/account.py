"""Keeps account of what each part of an audit costs: its seconds, and the samples that it passes through the models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from unlearnkit.audit.reading import Spent, Work
from unlearnkit.runtime.runlog import RunLog


@dataclass(frozen=True)
class Account:
    """What each part of gathering the evidence has cost so far.

    Args:
        log: whose clock and meter are read.
    """

    log: RunLog
    spent: dict[Work, Spent] = field(default_factory=dict)

    @contextmanager
    def of(self, work: Work, model: nn.Module) -> Iterator[None]:
        """Add to a part what the `with` block costs; samples count that pass through `model` or a copy made there."""
        self.log.meter.attach(model)
        began = self.log.mark()
        try:
            yield
        finally:
            cost = self.log.since(began)
            self.log.meter.detach(model)
            added = Spent(cost.seconds, cost.samples_forward, cost.samples_backward)
            self.spent[work] = self.spent.get(work, Spent(0.0)) + added
